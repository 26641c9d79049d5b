"""Kubeconfigs as people have them, against a real API server: behind a path, by a proxy, with plug-ins, in several files."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import json
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from tests.cluster import front as fronts
from tests.cluster.control_plane import ControlPlane
from tests.cluster.front import NAME, PREFIX, Front
from tests.cluster.kube.made import plant, secret
from tests.support.loops import beside, until
from voke_operator.kube import errors, events
from voke_operator.kube.client import Client
from voke_operator.kube.objects import Objects
from voke_operator.kube.plugin import VERSIONS
from voke_operator.kube.reach import ConfigError, from_kubeconfig, kubeconfig_namespace
from voke_operator.kube.resources import PLANTS, SECRETS, SERVICES
from voke_operator.kube.sources import Scope, Sources
from voke_operator.names import OWNED

Json = dict[str, Any]
PLUGIN = f"""#!{sys.executable}
import json, os, pathlib, time
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as log:
    log.write(os.environ["KUBERNETES_EXEC_INFO"] + "\\n")
while (here / "slow").exists():
    time.sleep(0.02)
print(os.environ["SAYS"] if "SAYS" in os.environ else (here / "answer").read_text())
raise SystemExit(int(os.environ.get("ENDS", "0")))
"""


@pytest.fixture
async def front(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Front]:
    """Its kubeconfigs are in ``tmp_path``."""
    async with fronts.running(control_plane, tmp_path) as front:
        yield front


@pytest.fixture
def editor(control_plane: ControlPlane, namespace: str) -> Path:
    """A kubeconfig of somebody who may do everything in the namespace."""
    return account(control_plane, namespace, "editor")


def account(plane: ControlPlane, namespace: str, name: str) -> Path:
    kubeconfig = plane.service_account(namespace, name)
    plane.kubectl(
        *("create", "rolebinding", name, "-n", namespace, "--clusterrole=cluster-admin"),
        f"--serviceaccount={namespace}:{name}",
    )
    return kubeconfig


def token_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


class Plugin:
    """A log-in plug-in beside a kubeconfig; what it is to answer, and what it was told."""

    def __init__(self, directory: Path, version: str) -> None:
        self._version = version
        self._answer, self._asked = directory / "answer", directory / "asked"
        program = directory / "log-in"
        program.write_text(PLUGIN)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(self, *, until: float | None = None, **status: str) -> None:
        """The status of its next answers."""
        if until is not None:
            status["expirationTimestamp"] = f"{dt.datetime.fromtimestamp(until, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
        document = {"apiVersion": self._version, "kind": "ExecCredential", "status": status}
        self._answer.write_text(json.dumps(document))

    def is_broken(self) -> None:
        """From now on."""
        self._answer.write_text("broken")

    @property
    def told(self) -> list[Json]:
        """What each call was told."""
        return [json.loads(line) for line in self._asked.read_text().splitlines()]

    def user(self, **more: Any) -> Json:
        """Of a kubeconfig."""
        return {
            "exec": {"apiVersion": self._version, "command": "./log-in", "interactiveMode": "Never", **more}
        }


async def user_of(client: Client) -> str:
    """Whom the API server takes it for."""
    with pytest.raises(errors.ForbiddenError, match="system:serviceaccount:") as refusal:
        await client.get(SECRETS, "kube-system", "nothing")
    return str(refusal.value).split("system:serviceaccount:")[1].split('"')[0].rpartition(":")[2]


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.usefixtures("crds")
async def test_everything_that_is_asked_works_behind_a_path_and_by_a_proxy(
    front: Front, editor: Path, namespace: str, *, by_proxy: bool
) -> None:
    """Lists, server-side apply, our own watches and kopf's."""
    configuration = await from_kubeconfig(front.kubeconfig(editor, by_proxy=by_proxy))
    seen: list[str] = []
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "one", "labels": dict(OWNED)},
        "spec": {"clusterIP": "None", "ports": [{"port": 9100}]},
    }
    async with contextlib.aclosing(Client(configuration)) as client:
        made = await client.apply(SERVICES, service)
        assert (await client.apply(SERVICES, service))["metadata"]["resourceVersion"] == made["metadata"][
            "resourceVersion"
        ]
        await client.list(SECRETS, namespace)
        watch = client.watch(SERVICES, namespace, resource_version="0", seconds=5)
        async with contextlib.aclosing(watch):
            while (event := await anext(watch)).type == "BOOKMARK":
                pass
            assert event.object["metadata"]["name"] == "one"
        kopf = events.watch(configuration, [namespace], lambda event: seen.append(event.known.metadata.name))
        async with beside(kopf):
            front.plane.apply(plant(namespace, "roof"))
            await until(lambda: "roof" in seen)
    assert f"GET /api/v1/namespaces/{namespace}/secrets" in front.asked
    assert (front.proxied > 0) is by_proxy


async def test_a_plugin_is_asked_again_before_its_token_ends_and_may_fail_as_long_as_that_counts(
    front: Front, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    first, second = (token_of(control_plane.service_account(namespace, name)) for name in ("first", "second"))
    plugin, now = Plugin(tmp_path, VERSIONS[0]), time.time()
    plugin.answers(token=first, until=now + 900)
    kubeconfig = front.kubeconfig(plugin.user(provideClusterInfo=True))
    async with contextlib.aclosing(
        Client(await from_kubeconfig(kubeconfig, wall_clock=lambda: now))
    ) as client:
        now += 800
        assert [await user_of(client) for _ in range(2)] == ["first", "first"]
        assert len(plugin.told) == 1, "it is asked once, as long as its token counts"
        plugin.is_broken()
        now += 50
        assert [await user_of(client) for _ in range(2)] == ["first", "first"]
        assert len(plugin.told) == 2, "it is left alone for a while"
        now += 50
        with pytest.raises(errors.UnavailableError, match=r"no token .*log-in prints no ExecCredential"):
            await user_of(client)
        plugin.answers(token=second, until=now + 900)
        now += 2
        users = await asyncio.gather(*(user_of(client) for _ in range(9)))
        assert users == ["second"] * 9
        assert len(plugin.told) == 4, "one asks for all"
    told = plugin.told[0]
    assert (told["apiVersion"], told["kind"]) == (VERSIONS[0], "ExecCredential")
    assert told["spec"]["interactive"] is False
    cluster = told["spec"]["cluster"]
    assert (cluster["server"], cluster["tls-server-name"]) == (f"https://{front.address}{PREFIX}/", NAME)
    assert cluster["certificate-authority-data"], "a file is read for it"


async def test_nobody_waits_for_a_slow_plugin_while_the_token_before_counts(
    front: Front, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    first, second = (token_of(control_plane.service_account(namespace, name)) for name in ("first", "second"))
    plugin, now, slow = Plugin(tmp_path, VERSIONS[0]), time.time(), tmp_path / "slow"
    plugin.answers(token=first, until=now + 900)
    kubeconfig = front.kubeconfig(plugin.user())
    async with contextlib.aclosing(
        Client(await from_kubeconfig(kubeconfig, wall_clock=lambda: now))
    ) as client:
        plugin.answers(token=second, until=now + 1800)
        slow.touch()
        now += 850
        asks = asyncio.create_task(user_of(client))
        await until(lambda: len(plugin.told) == 2)
        assert await user_of(client) == "first"
        assert not asks.done()
        slow.unlink()
        assert await asks == "second"


@pytest.mark.usefixtures("crds")
async def test_a_token_that_is_refused_is_asked_for_anew_by_the_client_and_by_kopf(
    front: Front, editor: Path, namespace: str, tmp_path: Path
) -> None:
    """It was withdrawn before its time; and this plug-in does not say when its tokens end."""
    first, second = token_of(editor), token_of(account(front.plane, namespace, "second"))
    plugin, now = Plugin(tmp_path, VERSIONS[0]), time.time()
    plugin.answers(token=first)
    configuration = await from_kubeconfig(front.kubeconfig(plugin.user()), wall_clock=lambda: now)
    objects = Objects(lambda *_: None)
    async with contextlib.aclosing(Client(configuration)) as client:
        sources = Sources(client, objects, scope=Scope((namespace,)), random=Random(1))
        async with beside(sources.run()):
            await sources.synced.wait()
            plugin.answers(token=second)
            now += 3600
            front.withdrawn.add(first)
            front.cut()
            front.plane.apply(plant(namespace, "roof"))
            await until(lambda: any(objects.all(PLANTS)))
        assert (await client.list(SECRETS, namespace)).items == []
    assert len(plugin.told) == 2
    gc.collect()  # tasks of kopf's that failed say so here, and not in another test


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_certificate_of_a_plugin_is_used(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, version: str
) -> None:
    plugin = Plugin(tmp_path, version)
    pem = [(control_plane.directory / f"admin.{each}").read_text() for each in ("crt", "key")]
    plugin.answers(clientCertificateData=pem[0], clientKeyData=pem[1])
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = plugin.user()
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    async with contextlib.aclosing(Client(await from_kubeconfig(tmp_path / "config"))) as client:
        await client.create(SECRETS, secret(namespace, "one"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"command": "no-such-plugin", "installHint": "Get it."},
            r"no-such-plugin cannot be run \(No such file or .*Get it",
        ),
        ({"env": [{"name": "ENDS", "value": "3"}]}, "ended with status 3"),
        ({"env": [{"name": "SAYS", "value": "secret"}]}, "prints no ExecCredential"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "needs a command and an apiVersion of"),
        ({"apiVersion": VERSIONS[1]}, "does not answer in client.authentication.k8s.io/v1beta1"),
    ],
)
async def test_a_plugin_that_gives_nothing_is_said_with_its_name(
    front: Front, tmp_path: Path, more: Json, says: str
) -> None:
    plugin = Plugin(tmp_path, VERSIONS[0])
    plugin.answers(token="x")
    with pytest.raises(ConfigError, match=says) as error:
        await from_kubeconfig(front.kubeconfig(plugin.user(**more)))
    assert "secret" not in str(error.value)


async def test_a_token_in_a_file_counts_without_its_line_end_and_is_read_every_minute(
    front: Front, editor: Path, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{token_of(editor)}\n")
    kubeconfig, now = front.kubeconfig({"tokenFile": "token"}), time.time()
    async with contextlib.aclosing(
        Client(await from_kubeconfig(kubeconfig, wall_clock=lambda: now))
    ) as client:
        assert (await client.list(SECRETS, namespace)).items == []
        (tmp_path / "token").write_text("another")
        assert (await client.list(SECRETS, namespace)).items == []
        now += 61
        with pytest.raises(errors.UnavailableError, match="401"):
            await client.list(SECRETS, namespace)


async def test_of_several_files_the_first_says_which_context_is_the_current_one(
    front: Front, editor: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As kubectl has it: otherwise a plan would be of another cluster than kubectl's."""
    one, two = front.kubeconfig(editor), front.kubeconfig(editor)
    (tmp_path / "without").write_text("apiVersion: v1\nkind: Config\ncurrent-context: ''\n")
    files = (tmp_path / "missing", tmp_path / "without", one, two)
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    said = front.plane.kubectl(
        *("config", "view", "--minify", "-o", "jsonpath={.contexts[0].context.namespace}"),
        kubeconfig=Path(os.environ["KUBECONFIG"]),
    )
    assert kubeconfig_namespace() == said.stdout == "in-front-0"
    assert kubeconfig_namespace(context="front-1") == "in-front-1"
    assert (await from_kubeconfig()).host == f"https://{front.address}{PREFIX}"
    with pytest.raises(ConfigError, match="front-9"):
        kubeconfig_namespace(context="front-9")


@pytest.mark.parametrize("content", [None, "", "current-context: [", "kind: Secret\ncurrent-context: one\n"])
async def test_a_kubeconfig_that_cannot_be_used_is_named_though_nobody_gave_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    given, usual = tmp_path / "given", tmp_path / ".kube" / "config"
    usual.parent.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for file in (given, usual):
        if content is not None:
            file.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(given))
    with pytest.raises(ConfigError, match=rf"^kubeconfig {given} cannot be used: "):
        await from_kubeconfig()
    monkeypatch.delenv("KUBECONFIG")
    with pytest.raises(ConfigError, match=rf"^kubeconfig {usual} cannot be used: "):
        kubeconfig_namespace()


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        ({"insecure_skip_tls_verify": True}, "without verifying it. Give certificate-authority instead"),
        ({"server": "http://127.0.0.1:1"}, "without verifying it"),
        ({"proxy_url": "socks5://127.0.0.1:1"}, "give an http:// proxy"),
    ],
)
async def test_a_way_that_is_not_safe_or_not_known_is_refused_before_anybody_is_asked(
    front: Front, tmp_path: Path, cluster: Json, says: str
) -> None:
    plugin = Plugin(tmp_path, VERSIONS[0])
    with pytest.raises(ConfigError, match=says):
        await from_kubeconfig(front.kubeconfig(plugin.user(), **cluster))
    assert not (tmp_path / "asked").exists()
    assert not front.asked


async def test_a_certificate_for_another_name_is_not_taken(
    front: Front, editor: Path, namespace: str
) -> None:
    kubeconfig = front.kubeconfig(editor, tls_server_name="other.example")
    async with contextlib.aclosing(Client(await from_kubeconfig(kubeconfig))) as client:
        with pytest.raises(errors.UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.list(SECRETS, namespace)
    assert not front.asked


async def test_whoever_impersonates_is_told_that_this_is_not_done(front: Front, editor: Path) -> None:
    with pytest.raises(ConfigError, match="impersonates"):
        await from_kubeconfig(front.kubeconfig({"token": token_of(editor), "as": "somebody"}))
