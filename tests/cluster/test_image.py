"""What is in the images, and that they run with no more than a gateway's pod gives them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import image
from tests.cluster.control_plane import ControlPlane
from tests.cluster.image import HALVES, Half, podman
from tests.support.ports import free_ports

CONFINED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As the securityContext of a gateway's container."""
HEALTHY_WITHIN = 3.0
TRIES = 3
"""The promise is about a start; how busy the machine of the tests is says nothing about it."""

FACTS = """
import importlib, importlib.util, json, os, pathlib, shutil, ssl, sys, sysconfig
from importlib.metadata import distributions
package = next(name for name in ("voke_gateway", "voke_operator") if importlib.util.find_spec(name))
importlib.import_module(package + ".__main__")
started = [getattr(module, "__file__", None) for module in sys.modules.values()]
ours = pathlib.Path(sysconfig.get_path("purelib"))
library = pathlib.Path(os.__file__).parent
unused = {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "pydoc_data", "ensurepip"}
generated = "/kubernetes/client/", "/kubernetes/aio/client/"
def compiled(path):
    return pathlib.Path(importlib.util.cache_from_source(path)).exists()
def uncompiled(place):
    return [str(path) for path in sorted(place.rglob("*.py"))
            if not unused & set(path.relative_to(place).parts)
            and not any(each in str(path) for each in generated)
            and not compiled(path)]
print(json.dumps({
    "python": sys.executable,
    "version": sys.version.split()[0],
    "ids": [os.getuid(), os.getgid()],
    "distributions": sorted(each.metadata["Name"].lower() for each in distributions()),
    "modules": sorted(path.name for path in ours.iterdir()),
    "tools": [name for name in ("pip", "pip3", "gcc", "cc", "make", "voke") if shutil.which(name)],
    "importable": [name for name in ("pip", "setuptools", "ensurepip") if importlib.util.find_spec(name)],
    "uncompiled": uncompiled(ours) + uncompiled(library)
                  + [path for path in started if path and path.endswith(".py") and not compiled(path)],
    "raising": [path for top, below, names in os.walk("/") if not top.startswith(("/proc", "/sys"))
                for path in (os.path.join(top, name) for name in names)
                if os.path.isfile(path) and not os.path.islink(path) and os.stat(path).st_mode & 0o6000],
    "roots": len(ssl.create_default_context().get_ca_certs()),
    "writable": [place for place in ("/", "/opt/voke", "/var/lib/voke", "/tmp", "/usr/local", str(ours))
                 if os.access(place, os.W_OK)],
}))
"""


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    image.build()


@pytest.fixture(scope="module")
def facts() -> dict[Half, dict[str, Any]]:
    """What a process sees that runs in each image."""
    return {
        half: json.loads(
            podman("run", "--rm", *CONFINED, "--network=none", "--entrypoint=python", name, "-c", FACTS)
        )
        for half in HALVES
        for name in (image.image(half).name,)
    }


@contextmanager
def running(half: Half, *arguments: str, options: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Name of the container, and address of its HTTP server."""
    (port,) = free_ports(1)
    container = podman(
        "run",
        "--detach",
        "--network=host",
        *CONFINED,
        *options,
        image.image(half).name,
        f"--http=127.0.0.1:{port}",
        *arguments,
    )
    try:
        yield container, f"http://127.0.0.1:{port}"
    finally:
        podman("rm", "--force", "--time=10", container)


@contextmanager
def running_gateway(bundle: Path, *options: str) -> Iterator[tuple[str, str]]:
    """As in a pod: nothing can be written to but /tmp and the outbox."""
    bundle.chmod(0o755)
    places = [f"--tmpfs={place}:rw,size=16m" for place in ("/tmp", "/var/lib/voke")]
    options = (f"--volume={bundle}:/etc/voke/bundle:ro", *places, *options)
    with running("gateway", "--bundle=/etc/voke/bundle", options=options) as (container, address):
        yield container, address


def log(container: str) -> str:
    """What it wrote to either stream."""
    return Path(podman("inspect", "--format={{.HostConfig.LogConfig.Path}}", container)).read_text()


def until(condition: Callable[[], bool], container: str, *, within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, log(container)
        time.sleep(0.02)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def seconds_until_healthy(bundle: Path, *options: str) -> float:
    began = time.monotonic()
    with running_gateway(bundle, *options) as (container, address):
        until(lambda: answers(f"{address}/healthz"), container)
        return time.monotonic() - began


def test_the_gateways_image_has_what_a_gateway_imports_and_nothing_of_kubernetes(
    facts: dict[Half, dict[str, Any]],
) -> None:
    gateway = facts["gateway"]
    assert {"voke_api", "voke_gateway"} <= set(gateway["modules"])
    assert not {"voke_operator", "voke_cli", "voke_sim"} & set(gateway["modules"])
    assert not {"kopf", "kubernetes", "aiohttp", "requests", "rich", "typer"} & set(gateway["distributions"])


def test_the_operators_image_has_no_gateway_and_no_command_line(facts: dict[Half, dict[str, Any]]) -> None:
    operator = facts["operator"]
    assert {"voke_api", "voke_operator", "kopf", "kubernetes"} <= set(operator["modules"])
    assert not {"voke_gateway", "voke_cli", "voke_sim", "aiomqtt"} & set(operator["modules"])


@pytest.mark.parametrize("half", HALVES)
def test_nothing_that_installs_or_compiles_is_left(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    assert facts[half]["python"].startswith("/opt/voke/")
    assert facts[half]["tools"] == []
    assert facts[half]["importable"] == []
    assert {"pytest", "hypothesis", "hatchling", "uv"}.isdisjoint(facts[half]["distributions"])


@pytest.mark.parametrize("half", HALVES)
def test_what_is_installed_is_what_the_lock_says(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    lock = (image.ROOT / "requirements" / f"{half}.txt").read_text().splitlines()
    locked = {line.partition("==")[0] for line in lock if line and not line.startswith(" ")}
    installed = {name.replace("_", "-").replace(".", "-") for name in facts[half]["distributions"]}
    assert installed == locked | {"voke-fleet"}


@pytest.mark.parametrize("half", HALVES)
def test_every_module_that_a_start_imports_is_compiled(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    assert facts[half]["uncompiled"] == []


@pytest.mark.parametrize("half", HALVES)
def test_it_runs_as_nobody_in_particular_and_may_write_nowhere(
    half: Half, facts: dict[Half, dict[str, Any]]
) -> None:
    assert facts[half]["ids"] == [65532, 65532]
    assert facts[half]["writable"] == []


@pytest.mark.parametrize("half", HALVES)
def test_no_program_makes_somebody_else_of_a_user(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    assert facts[half]["raising"] == []


@pytest.mark.parametrize("half", HALVES)
def test_the_systems_trust_store_is_there(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    assert facts[half]["roots"] > 50


@pytest.mark.parametrize("half", HALVES)
def test_labels_say_what_it_is(half: Half) -> None:
    labels = image.inspect(image.image(half).name)["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[prefix + "title"] == f"voke-fleet-{half}"
    assert labels[prefix + "version"] == image.version()
    assert labels[prefix + "licenses"] == "Apache-2.0"
    assert labels[prefix + "base.name"] == image.base_name()
    assert labels[prefix + "revision"] != "unknown"
    assert {prefix + "source", prefix + "description"} <= set(labels)


@pytest.mark.parametrize("half", HALVES)
def test_no_setting_of_the_machine_that_built_it_is_inside(half: Half) -> None:
    name = image.image(half).name
    config = json.dumps(image.inspect(name)["Config"]) + podman("history", "--no-trunc", name)
    assert "PIP_CERT" not in config
    places = ["/etc/pip.conf", "/run/secrets", "/src", "/opt/tools"]
    look = f"import pathlib; print([place for place in {places} if pathlib.Path(place).exists()])"
    assert podman("run", "--rm", *CONFINED, "--network=none", "--entrypoint=python", name, "-c", look) == "[]"


def test_a_gateway_is_healthy_within_three_seconds(tmp_path: Path) -> None:
    tries: list[float] = []
    while not tries or (min(tries) >= HEALTHY_WITHIN and len(tries) < TRIES):
        tries.append(seconds_until_healthy(tmp_path))
    print("start to healthy:", ", ".join(f"{each:.2f} s" for each in tries))
    assert min(tries) < HEALTHY_WITHIN


def test_a_gateway_runs_as_whatever_user_the_platform_chooses(tmp_path: Path) -> None:
    assert seconds_until_healthy(tmp_path, "--user=1000730000:0") < 30


def test_a_gateway_that_is_told_to_stop_stops_by_itself(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as (container, address):
        until(lambda: answers(f"{address}/healthz"), container)
        podman("stop", "--time=15", container)
        assert podman("inspect", "--format={{.State.ExitCode}}", container) == "0"


def test_a_gateway_without_a_bundle_directory_says_how_it_is_used() -> None:
    with pytest.raises(image.ImageError, match="--bundle"):
        podman("run", "--rm", *CONFINED, "--network=none", image.image("gateway").name)


def defaults(directory: Path) -> tuple[str, str]:
    """A file for --defaults: how it is mounted, and the argument."""
    (directory / "defaults.yaml").write_text("image: any\n")
    return (
        f"--volume={directory}/defaults.yaml:/etc/voke/defaults.yaml:ro",
        "--defaults=/etc/voke/defaults.yaml",
    )


def test_the_operator_without_a_cluster_says_what_it_lacks(tmp_path: Path) -> None:
    name = image.image("operator").name
    assert "--kubeconfig" in podman("run", "--rm", *CONFINED, "--network=none", name, "--help")
    mount, argument = defaults(tmp_path)
    with pytest.raises(image.ImageError) as said:
        podman("run", "--rm", *CONFINED, "--network=none", mount, name, argument)
    assert "status 1" in str(said.value)
    assert "kubeconfig" in str(said.value).lower()
    assert "Traceback" not in str(said.value)


def test_the_operator_leads_with_a_pods_token_and_no_place_to_write(
    control_plane: ControlPlane, crds: Path, namespace: str, tmp_path: Path
) -> None:
    given = yaml.safe_load(control_plane.service_account(namespace, "operator").read_text())
    authority = b64decode(given["clusters"][0]["cluster"]["certificate-authority-data"])
    token = given["users"][0]["user"]["token"]
    for name, content in {
        "ca.crt": authority,
        "token": token.encode(),
        "namespace": namespace.encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
    tmp_path.chmod(0o755)
    host, _, port = control_plane.url.removeprefix("https://").partition(":")
    mount, argument = defaults(tmp_path)
    options = (
        mount,
        f"--volume={tmp_path}:/var/run/secrets/kubernetes.io/serviceaccount:ro",
        *(f"--env={key}" for key in (f"KUBERNETES_SERVICE_HOST={host}", f"KUBERNETES_SERVICE_PORT={port}")),
    )
    account = f"--serviceaccount={namespace}:operator"
    control_plane.kubectl("create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin", account)
    try:
        arguments = (f"--namespace={namespace}", f"--watch={namespace}", argument)
        with running("operator", *arguments, options=options) as (container, address):
            lease = ("get", "lease", "voke-operator", "-n", namespace, "--ignore-not-found", "-o=name")
            until(lambda: bool(control_plane.kubectl(*lease).stdout), container)
            until(lambda: answers(f"{address}/readyz"), container)
            podman("stop", "--time=20", container)
            assert podman("inspect", "--format={{.State.ExitCode}}", container) == "0"
    finally:
        control_plane.kubectl("delete", "clusterrolebinding", namespace)


def test_sizes() -> None:
    for half in HALVES:
        *ours, base = json.loads(podman("history", "--format=json", image.image(half).name))
        above = sum(layer["size"] for layer in ours)
        print(f"{half}: {above / 1e6:.0f} MB above the stand-in's {base['size'] / 1e6:.0f} MB")
        assert above < {"gateway": 75e6, "operator": 220e6}[half]
