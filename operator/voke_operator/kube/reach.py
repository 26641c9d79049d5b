"""How the API server is reached: by a kubeconfig with its plug-ins, or from a pod. Always verified."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

logging.getLogger("kubernetes.aio.config.kube_config").setLevel(logging.CRITICAL)  # it raises what it logs


class ConfigError(Exception):
    """How to reach the API server is not known, or not safe; a person must act."""


async def from_kubeconfig(path: Path | None = None, *, context: str | None = None) -> Configuration:
    """How ``kubectl`` would reach the cluster.

    Raises:
        ConfigError: the file is missing or broken, or it would not have the server's certificate verified.
    """
    configuration = _configuration()
    try:
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=None if path is None else str(path),
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except (ConfigException, OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        why = str(error) if isinstance(error, (ConfigException, OSError)) else "it is not a valid kubeconfig"
        raise ConfigError(
            f"{_called(path)} cannot be used: {why}"
        ) from None  # a parser's words may quote a key
    if not configuration.host.startswith("https://") or not configuration.verify_ssl:
        raise ConfigError(
            f"kubeconfig would talk to {configuration.host} without verifying it: give certificate-authority "
            "instead of insecure-skip-tls-verify, and an https:// server"
        )
    return configuration


def kubeconfig_namespace(path: Path | None = None, *, context: str | None = None) -> str:
    """The namespace that ``kubectl`` would take if it is not told any.

    Raises:
        ConfigError: the file is missing or broken, or has no such context.
    """
    try:
        contexts, active = list_kube_config_contexts(config_file=None if path is None else str(path))  # type: ignore[no-untyped-call]
        chosen = active if context is None else next(each for each in contexts if each["name"] == context)
        return str(chosen["context"].get("namespace") or "default")
    except StopIteration:
        raise ConfigError(f"{_called(path)} has no context {context}") from None
    except (ConfigException, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise ConfigError(f"{_called(path)} cannot be used: it is missing, or not valid") from None


def _called(path: Path | None) -> str:
    return "kubeconfig" if path is None else f"kubeconfig {path}"


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
