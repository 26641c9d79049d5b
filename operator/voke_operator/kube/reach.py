"""How the API server is reached: by a kubeconfig with its plug-ins, or from a pod. Always verified.

Kubeconfigs are read and merged by the Kubernetes client; where it differs from kubectl, kubectl's way is taken: the
first of several files says which context is the current one, a token's file and a plug-in are asked again, and what
a plug-in says is not lost.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from voke_operator.kube import plugin
from voke_operator.kube.plugin import Credential, PluginError

log = logging.getLogger(__name__)
logging.getLogger("kubernetes.aio.config.kube_config").setLevel(logging.CRITICAL)  # it raises what it logs

_LIFE: Final = 60.0
"""Seconds after which a token's file is read again, as in a pod."""
_USED: Final = 0.9
"""Share of a token's life after which another is asked for."""
_SPARED: Final = 2.0
"""Seconds for which nobody is asked for a token a second time, whatever came of the first."""


class ConfigError(Exception):
    """How to reach the API server is not known, or not safe; a person must act."""


async def from_kubeconfig(
    path: Path | None = None, *, context: str | None = None, wall_clock: Callable[[], float] = time.time
) -> Configuration:
    """How ``kubectl`` would reach the cluster. Tokens that end are replaced in time; certificates of plug-ins are not.

    Raises:
        ConfigError: the file is missing or broken, its plug-in fails, or it would not have the server verified.
    """
    configuration = _configuration()
    try:
        chosen = _choose(path, context)
        _see_that_it_is_safe(chosen)
        renewal = await asyncio.to_thread(_log_in, chosen, wall_clock)
        await chosen.loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except _FAULTS as error:
        raise ConfigError(f"{_called(path)} cannot be used: {_why(error)}") from None
    configuration.refresh_api_key_hook = renewal  # type: ignore[assignment]
    return configuration


def kubeconfig_namespace(path: Path | None = None, *, context: str | None = None) -> str:
    """The namespace that ``kubectl`` would take if it is not told any.

    Raises:
        ConfigError: the file is missing or broken, or has no such context.
    """
    try:
        return str(_choose(path, context).context.get("namespace") or "default")
    except _FAULTS as error:
        raise ConfigError(f"{_called(path)} cannot be used: {_why(error)}") from None


def refused(configuration: Configuration) -> None:
    """The server did not take the token (401): another is asked for before the next request."""
    if isinstance(configuration.refresh_api_key_hook, _Renewal):
        configuration.refresh_api_key_hook.refused()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A context of a kubeconfig, with what it refers to, as written there."""

    loader: KubeConfigLoader
    context: Mapping[str, Any]
    cluster: Mapping[str, Any]
    user: dict[str, Any]
    """Shared with the loader: what is put in here counts."""
    directories: tuple[Path, Path]
    """Of the files that say what the cluster and the user are."""


_FAULTS: Final = (
    ConfigException,
    PluginError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    yaml.YAMLError,
)


def _why(error: Exception) -> str:
    """A parser's words may quote a key."""
    return str(error) if isinstance(error, (ConfigException, PluginError, OSError)) else "it is not valid"


def _choose(path: Path | None, context: str | None) -> _Chosen:
    merged: Any = KubeConfigMerger(_where(path))  # type: ignore[no-untyped-call]
    if not merged.paths:
        raise ConfigException("there is no such file")
    named = [each.get("current-context") for each in merged.config_files.values()]
    name = context or next(filter(None, named), None)
    if name is None:
        raise ConfigException("it says of no context that it is the current one: name one")
    loader = KubeConfigLoader(merged.config, active_context=name, config_base_path=None)  # type: ignore[no-untyped-call]
    chosen = merged.config["contexts"].get_with_name(name)["context"].value
    cluster = merged.config["clusters"].get_with_name(chosen["cluster"])["cluster"]
    user = merged.config["users"].get_with_name(chosen["user"])["user"]
    directories = (Path(cluster.path).absolute().parent, Path(user.path).absolute().parent)
    return _Chosen(loader, chosen, cluster.value, user.value, directories)


def _see_that_it_is_safe(chosen: _Chosen) -> None:
    server, proxy = str(chosen.cluster["server"]), chosen.cluster.get("proxy-url")
    if not server.startswith("https://") or chosen.cluster.get("insecure-skip-tls-verify"):
        raise ConfigException(
            f"it would talk to {server} without verifying it. Give certificate-authority instead of "
            "insecure-skip-tls-verify, tls-server-name if the certificate is for another name, and an https:// server"
        )
    if proxy and not str(proxy).startswith(("http://", "https://")):
        raise ConfigException("its proxy-url is of a kind that is not spoken here: give an http:// proxy")
    if "as" in chosen.user:
        raise ConfigException(
            "its user impersonates another (as), which is not done here: name another context"
        )


def _log_in(chosen: _Chosen, wall_clock: Callable[[], float]) -> _Renewal | None:
    """Give the library a token or certificate instead of what makes or holds it; what asks for another."""
    ask = _asks(chosen, wall_clock)
    if ask is None:
        return None
    first = ask()
    for key in ("exec", "tokenFile"):
        chosen.user.pop(key, None)
    if first.certificate is not None:
        pem = (base64.b64encode(each.encode()).decode() for each in first.certificate)
        chosen.user["client-certificate-data"], chosen.user["client-key-data"] = pem
    if first.token is None:
        return None
    chosen.user["token"] = first.token
    return _Renewal(ask, first, wall_clock)


def _asks(chosen: _Chosen, wall_clock: Callable[[], float]) -> Callable[[], Credential] | None:
    of_cluster, of_user = chosen.directories
    if chosen.user.get("exec"):
        about = _told(chosen.cluster, of_cluster)
        return partial(plugin.ask, dict(chosen.user["exec"]), about, directory=of_user)
    if chosen.user.get("tokenFile"):
        return partial(_in_file, of_user / chosen.user["tokenFile"], wall_clock)
    return None


def _in_file(path: Path, wall_clock: Callable[[], float]) -> Credential:
    token = path.read_text().strip()
    if not token:
        raise PluginError(f"{path} holds no token")
    return Credential(token=token, ends=wall_clock() + _LIFE / _USED)


def _told(cluster: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """What a plug-in is told of the cluster."""
    kept = ("server", "tls-server-name", "certificate-authority-data", "proxy-url")
    about = {key: cluster[key] for key in kept if cluster.get(key)}
    if cluster.get("certificate-authority") and "certificate-authority-data" not in about:
        pem = (directory / cluster["certificate-authority"]).read_bytes()
        about["certificate-authority-data"] = base64.b64encode(pem).decode()
    extensions = {each["name"]: each["extension"] for each in cluster.get("extensions") or ()}
    config = extensions.get("client.authentication.k8s.io/exec")
    return about if config is None else {**about, "config": config}


class _Renewal:
    """A token that ends: called before each request, from any loop, it has the newest sent.

    Args:
        ask: Gives a token; it may take long, and fails with :class:`PluginError` or OSError.
        first: What it gave.
        wall_clock: Epoch seconds.
    """

    def __init__(
        self, ask: Callable[[], Credential], first: Credential, wall_clock: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._clock = wall_clock
        self._one_at_a_time = threading.Lock()
        self._asked = self._due = self._ends = 0.0
        """Epoch seconds: of the last question, of the next one, and until when the token counts."""
        self._keep(first)

    async def __call__(self, configuration: Configuration) -> None:
        now = self._clock()
        asked_already = self._one_at_a_time.locked() and now < self._ends  # nobody waits without need
        if now >= self._due and not asked_already:
            await asyncio.to_thread(self._renew)
        configuration.api_key["BearerToken"] = f"Bearer {self._token}"

    def refused(self) -> None:
        """What it gave is not taken any more."""
        self._due = min(self._due, self._asked + _SPARED)

    def _renew(self) -> None:
        with self._one_at_a_time:
            if self._clock() < self._due:
                return  # somebody else has asked meanwhile
            try:
                self._keep(self._ask())
            except (PluginError, OSError) as error:
                self._asked = self._clock()
                self._due = self._asked + _SPARED
                if self._asked >= self._ends:
                    raise ConfigException(f"no token for the API server: {error}") from None
                log.warning("no new token for the API server, the one before still counts: %s", error)

    def _keep(self, given: Credential) -> None:
        if given.token is None:
            raise PluginError("its log-in plug-in gives a certificate in place of a token: start anew")
        self._token, self._asked = given.token, self._clock()
        self._ends = float("inf") if given.ends is None else given.ends
        self._due = self._asked + max(_SPARED, (self._ends - self._asked) * _USED)


def _where(path: Path | None) -> str:
    """The file, or several with colons between them."""
    return str(path or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _called(path: Path | None) -> str:
    return f"kubeconfig {_where(path)}"


def in_cluster() -> Configuration:
    """How a pod reaches its cluster; the token is read again every minute.

    Raises:
        ConfigError: this is not a pod, or it has no service account's token.
    """
    configuration = _configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise ConfigError(
            f"not in a pod with a service account's token ({str(error).rstrip('.')}); "
            "from outside of the cluster, --kubeconfig says how to reach it"
        ) from error
    return configuration


def _configuration() -> Configuration:
    configuration = Configuration()
    # From Python 3.13 on, certificates without an authority key identifier would be refused. Many clusters have such;
    # kubectl and kubelet accept them. Chain, host name and time are verified all the same.
    configuration.disable_strict_ssl_verification = True
    return configuration
