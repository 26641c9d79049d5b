"""The client against a real API server, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.kube.made import plant, secret
from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.reach import ConfigError, from_kubeconfig, in_cluster
from voke_operator.kube.resources import ALLOWED_SECRETS, PLANTS, PODS, SECRETS, SERVICES

MATERIAL = b"0123456789abcdef-never-to-be-seen"


async def test_what_is_created_is_read_back_whole_or_as_metadata_only(client: Client, namespace: str) -> None:
    made = await client.create(SECRETS, secret(namespace, "one", key=MATERIAL))
    assert await client.get(SECRETS, namespace, "one") == made
    metadata = await client.get_metadata(SECRETS, namespace, "one")
    assert metadata["metadata"]["uid"] == made["metadata"]["uid"]
    assert "data" not in metadata


async def test_creating_never_overwrites(client: Client, namespace: str) -> None:
    first = await client.create(SECRETS, secret(namespace, "one", key=b"first"))
    with pytest.raises(errors.AlreadyExistsError):
        await client.create(SECRETS, secret(namespace, "one", key=b"second"))
    assert await client.get(SECRETS, namespace, "one") == first


async def test_replacing_what_changed_meanwhile_is_a_conflict(client: Client, namespace: str) -> None:
    read = await client.create(SECRETS, secret(namespace, "one", key=b"first"))
    await client.replace(SECRETS, {**read, "data": {"key": "c2Vjb25k"}})
    with pytest.raises(errors.ConflictError):
        await client.replace(SECRETS, {**read, "data": {"key": "dGhpcmQ="}})
    assert (await client.get(SECRETS, namespace, "one"))["data"] == {"key": "c2Vjb25k"}


async def test_replacing_without_having_read_is_refused_before_it_is_sent(
    client: Client, namespace: str
) -> None:
    with pytest.raises(ValueError, match="no resourceVersion"):
        await client.replace(SECRETS, secret(namespace, "one"))


async def test_an_apply_leaves_what_others_set(client: Client, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "one", "labels": {"ours": "1"}},
        "spec": {"clusterIP": "None", "ports": [{"port": 9100}]},
    }
    made = await client.apply(SERVICES, service)
    version = made["metadata"]["resourceVersion"]
    patched = await client.patch(
        SERVICES, namespace, "one", {"metadata": {"labels": {"theirs": "2"}}}, resource_version=version
    )
    assert patched["metadata"]["labels"] == {"ours": "1", "theirs": "2"}
    again = await client.apply(SERVICES, service)
    assert again["metadata"]["labels"] == {"ours": "1", "theirs": "2"}
    assert again["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]


@pytest.mark.usefixtures("crds")
async def test_status_is_written_to_the_object_as_it_was_read_and_to_nothing_else(
    client: Client, namespace: str
) -> None:
    made = await client.create(PLANTS, plant(namespace, "roof"))
    version = made["metadata"]["resourceVersion"]
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"conditions": [ready], "devices": "1/1"}
    seen = await client.patch_status(PLANTS, namespace, "roof", status, resource_version=version)
    assert (seen["status"]["devices"], seen["spec"]) == ("1/1", made["spec"])
    assert [condition["type"] for condition in seen["status"]["conditions"]] == ["Ready"]
    assert seen["metadata"]["generation"] == made["metadata"]["generation"]
    with pytest.raises(errors.ConflictError):
        await client.patch_status(PLANTS, namespace, "roof", {"devices": "0/1"}, resource_version=version)


async def test_a_pod_is_annotated_through_its_status(client: Client, namespace: str) -> None:
    pod = {
        "metadata": {"namespace": namespace, "name": "one"},
        "spec": {"containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": False},
    }
    await client.create(PODS, pod)
    await client.annotate_pod(namespace, "one", {"voke.lovinka.com/bundle-generation": "7"})
    annotations = (await client.get_metadata(PODS, namespace, "one"))["metadata"]["annotations"]
    assert annotations == {"voke.lovinka.com/bundle-generation": "7"}


async def test_another_object_of_the_same_name_is_not_deleted(client: Client, namespace: str) -> None:
    first = await client.create(SECRETS, secret(namespace, "one"))
    await client.delete(SECRETS, namespace, "one", uid=first["metadata"]["uid"])
    second = await client.create(SECRETS, secret(namespace, "one"))
    with pytest.raises(errors.ConflictError):
        await client.delete(SECRETS, namespace, "one", uid=first["metadata"]["uid"])
    uid = second["metadata"]["uid"]
    with pytest.raises(errors.ConflictError):
        await client.delete(SECRETS, namespace, "one", uid=uid, resource_version="1")
    await client.delete(SECRETS, namespace, "one", uid=uid)
    with pytest.raises(errors.NotFoundError):
        await client.get(SECRETS, namespace, "one")


async def test_a_list_is_read_page_by_page_and_holds_what_is_selected(client: Client, namespace: str) -> None:
    for number in range(5):
        await client.create(SECRETS, secret(namespace, f"ours-{number}"))
    await client.create(SECRETS, secret(namespace, "theirs", labels={}))
    await client.create(SECRETS, secret(namespace, "allowed", labels={"voke.lovinka.com/allow": "true"}))
    pages = [page async for page in client.pages(SECRETS, namespace, page=2, metadata_only=True)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert len({page.resource_version for page in pages}) == 1
    assert all("data" not in item for page in pages for item in page.items)
    allowed = await client.list(ALLOWED_SECRETS, namespace)
    assert [item["metadata"]["name"] for item in allowed.items] == ["allowed"]


async def test_a_watch_tells_of_what_happened_since_a_list(client: Client, namespace: str) -> None:
    since = (await client.list(SECRETS, namespace)).resource_version
    made = await client.create(SECRETS, secret(namespace, "one", key=b"1"))
    await client.replace(SECRETS, {**made, "data": {}})
    await client.delete(SECRETS, namespace, "one", uid=made["metadata"]["uid"])
    seen = [
        event
        async for event in client.watch(
            SECRETS, namespace, resource_version=since, metadata_only=True, seconds=1
        )
    ]
    assert [event.type for event in seen if event.type != "BOOKMARK"] == ["ADDED", "MODIFIED", "DELETED"]
    assert all("data" not in event.object for event in seen)


async def test_a_watch_from_a_version_that_is_gone_says_so(
    faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    for in_stream in (False, True):
        faulty.add(verb="watch", code=410, in_stream=in_stream)
        with pytest.raises(errors.GoneError):
            async for _ in unlucky.watch(SECRETS, namespace, resource_version="1", seconds=5):
                pass


@pytest.mark.parametrize(
    ("fault", "kind", "retry_after"),
    [
        ({"code": 429, "retry_after": 7}, errors.ThrottledError, 7.0),
        ({"code": 429}, errors.ThrottledError, None),
        ({"code": 503, "retry_after": 2}, errors.UnavailableError, 2.0),
        ({"code": 500, "body": "<html>a proxy's page</html>"}, errors.UnavailableError, None),
        ({"code": 200, "body": "<html>a captive portal</html>"}, errors.UnavailableError, None),
        ({"code": 401, "reason": "Unauthorized"}, errors.UnavailableError, None),
        ({"code": 409}, errors.ConflictError, None),
        ({"code": 409, "reason": "AlreadyExists"}, errors.AlreadyExistsError, None),
        ({"code": 410}, errors.GoneError, None),
        ({"code": 403, "reason": "Forbidden"}, errors.ForbiddenError, None),
        ({"code": 422, "reason": "Invalid"}, errors.InvalidError, None),
        ({"code": 400, "body": "[]"}, errors.InvalidError, None),
        ({"lose_answer": True}, errors.UnavailableError, None),
    ],
)
async def test_an_answer_is_typed_by_what_is_to_be_done(
    *,
    faulty: FaultyApi,
    unlucky: Client,
    namespace: str,
    fault: dict[str, Any],
    kind: type[errors.KubeError],
    retry_after: float | None,
) -> None:
    faulty.add(verb="create", resource="secrets", **fault)
    with pytest.raises(kind, match=f"^create secrets in {namespace}") as caught:
        await unlucky.create(SECRETS, secret(namespace, "one", key=MATERIAL))
    assert type(caught.value) is kind
    assert getattr(caught.value, "retry_after", None) == retry_after


async def test_a_server_that_is_away_or_hangs_is_unavailable(faulty: FaultyApi, namespace: str) -> None:
    unlucky = Client(await from_kubeconfig(faulty.kubeconfig), timeout=2.0)
    async with faulty.away():
        with pytest.raises(errors.UnavailableError, match="ClientConnectorError"):
            await unlucky.get(SECRETS, namespace, "one")
    faulty.add(verb="get", delay=5)
    with pytest.raises(errors.UnavailableError, match="no answer in time"):
        await unlucky.get(SECRETS, namespace, "one")
    with pytest.raises(errors.NotFoundError):
        await unlucky.get(SECRETS, namespace, "one")
    await unlucky.aclose()


async def test_a_refused_secret_is_not_quoted(client: Client, namespace: str) -> None:
    slashes: dict[str, Any] = {"key/with/slashes": MATERIAL}
    bad = secret(namespace, "one", **slashes)
    with pytest.raises(errors.InvalidError) as caught:
        await client.create(SECRETS, bad)
    assert caught.value.fields == ("data[key/with/slashes]",)
    broken = {**secret(namespace, "two"), "data": {"key": MATERIAL.decode() + "!"}}
    with pytest.raises(errors.InvalidError) as refused:
        await client.create(SECRETS, broken)
    for error in (caught.value, refused.value):
        assert MATERIAL.decode() not in "".join(traceback.format_exception(error))


async def test_what_rbac_forbids_names_who_may_not_do_what(
    control_plane: ControlPlane, namespace: str
) -> None:
    configuration = await from_kubeconfig(control_plane.service_account(namespace, "nobody"))
    async with contextlib.aclosing(Client(configuration)) as client:
        with pytest.raises(
            errors.ForbiddenError, match=rf'nobody" cannot create resource "secrets".*{namespace}'
        ):
            await client.create(SECRETS, secret(namespace, "one", key=MATERIAL))


async def test_every_request_is_observed_once(control_plane: ControlPlane, namespace: str) -> None:
    seen: list[tuple[str, str, str]] = []

    def observe(verb: str, kind: str, code: str, seconds: float) -> None:
        assert 0 < seconds < 30
        seen.append((verb, kind, code))

    configuration = await from_kubeconfig(control_plane.kubeconfig)
    async with contextlib.aclosing(Client(configuration, observe=observe)) as client:
        await client.create(SECRETS, secret(namespace, "one"))
        with pytest.raises(errors.AlreadyExistsError):
            await client.create(SECRETS, secret(namespace, "one"))
        async for _ in client.watch(SECRETS, namespace, resource_version="0", seconds=1):
            pass
    configuration.host = "https://127.0.0.1:1"
    async with contextlib.aclosing(Client(configuration, observe=observe)) as client:
        with pytest.raises(errors.UnavailableError):
            await client.get(SECRETS, namespace, "one")
    assert seen == [
        ("create", "Secret", "201"),
        ("create", "Secret", "409"),
        ("watch", "Secret", "200"),
        ("get", "Secret", "0"),
    ]


async def test_a_write_is_not_sent_when_the_fence_says_so_and_reads_are_not_fenced(
    client: Client, namespace: str
) -> None:
    def fence() -> None:
        raise errors.FencedError("somebody else leads")

    made = await client.create(SECRETS, secret(namespace, "one", key=b"first"))
    fenced = client.fenced(fence)
    uid = made["metadata"]["uid"]
    for write in (
        lambda: fenced.create(SECRETS, secret(namespace, "two")),
        lambda: fenced.replace(SECRETS, {**made, "data": {}}),
        lambda: fenced.apply(SECRETS, secret(namespace, "one", key=b"second")),
        lambda: fenced.annotate_pod(namespace, "one", {}),
        lambda: fenced.delete(SECRETS, namespace, "one", uid=uid),
    ):
        with pytest.raises(errors.FencedError):
            await write()
    assert (await fenced.list(SECRETS, namespace)).items == (await client.list(SECRETS, namespace)).items
    assert await fenced.get(SECRETS, namespace, "one") == made


async def test_the_fence_is_asked_when_a_connection_is_there_not_when_one_is_asked_for(
    faulty: FaultyApi, namespace: str
) -> None:
    configuration = await from_kubeconfig(faulty.kubeconfig)
    configuration.connection_pool_maxsize = 1
    leading = True

    def fence() -> None:
        if not leading:
            raise errors.FencedError("somebody else leads by now")

    async with contextlib.aclosing(Client(configuration)) as client:
        faulty.add(verb="list", delay=0.5)
        slow = asyncio.create_task(client.list(SECRETS, namespace))
        while not faulty.asked["list", "secrets"]:
            await asyncio.sleep(0.01)
        write = asyncio.create_task(client.fenced(fence).create(SECRETS, secret(namespace, "late")))
        await asyncio.sleep(0)
        leading = False
        with pytest.raises(errors.FencedError):
            await write
        await slow
    assert faulty.asked["create", "secrets"] == 0


async def test_the_fence_is_asked_once_more_when_the_body_leaves(client: Client, namespace: str) -> None:
    asked = 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise errors.FencedError("somebody else leads by now")

    with pytest.raises(errors.FencedError, match="somebody else leads by now"):
        await client.fenced(fence).create(SECRETS, secret(namespace, "late"))
    with pytest.raises(errors.NotFoundError):
        await client.get(SECRETS, namespace, "late")


async def test_a_kubeconfig_that_would_not_verify_the_server_is_refused(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority-data"]
    cluster["insecure-skip-tls-verify"] = True
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="without verifying"):
        await from_kubeconfig(path)


async def test_a_kubeconfig_that_is_not_there_or_not_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        await from_kubeconfig(tmp_path / "no-such-file")
    (tmp_path / "broken").write_text("{")
    with pytest.raises(ConfigError, match="broken"):
        await from_kubeconfig(tmp_path / "broken")


def test_outside_a_pod_there_is_no_configuration_of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="not in a pod"):
        in_cluster()


async def test_in_a_pod_the_token_is_read_again_when_it_was_renewed(
    monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    user = yaml.safe_load(control_plane.service_account(namespace, "reader").read_text())["users"][0]["user"]
    token = tmp_path / "token"
    token.write_text("not-a-token-any-more")
    module = "kubernetes.aio.config.incluster_config"
    monkeypatch.setattr(f"{module}.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(f"{module}.SERVICE_CERT_FILENAME", str(control_plane.directory / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(control_plane.port))
    async with contextlib.aclosing(Client(in_cluster())) as client:
        with pytest.raises(errors.UnavailableError, match="401"):
            await client.get(SECRETS, namespace, "one")
        token.write_text(user["token"])
        hook: Any = client.configuration.refresh_api_key_hook
        loader = hook.__closure__[0].cell_contents
        loader.token_expires_at = loader.token_expires_at.replace(year=2000)
        with pytest.raises(errors.ForbiddenError):
            await client.get(SECRETS, namespace, "one")
