"""What is in the images, and that they run with no more than a gateway's pod gives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import image
from tests.cluster.architecture import NATIVE, Architecture, architecture_of, emulated
from tests.cluster.control_plane import ControlPlane
from tests.cluster.image import HALVES, Half, podman
from voke_sim.ports import free_ports

CONFINED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As the securityContext of a gateway's container."""
HEALTHY_WITHIN = 3.0
TRIES = 3
"""The promise is about a start; how busy the machine of the tests is says nothing about it."""

ELSEWHERE: Architecture = "arm64"
"""A start there is emulated: that it succeeds counts, not how long it takes."""
NEWEST_GLIBC = 41
"""Its minor version, in the base's Debian 13."""

FACTS = """
import importlib, importlib.util, json, os, pathlib, shutil, ssl, sys, sysconfig
from importlib.metadata import distributions
package = next(name for name in ("voke_gateway", "voke_operator") if importlib.util.find_spec(name))
importlib.import_module(package + ".__main__")
started = [getattr(module, "__file__", None) for module in sys.modules.values()]
ours = pathlib.Path(sysconfig.get_path("purelib"))
library = pathlib.Path(os.__file__).parent
unused = {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "pydoc_data", "ensurepip"}
def compiled(path):
    bytecode = pathlib.Path(importlib.util.cache_from_source(path))
    return bytecode.exists() and int.from_bytes(bytecode.read_bytes()[4:8], "little") == 1  # nothing is compared
def uncompiled(place):
    return [str(path) for path in sorted(place.rglob("*.py"))
            if not unused & set(path.relative_to(place).parts) and not compiled(path)]
print(json.dumps({
    "python": sys.executable,
    "version": sys.version.split()[0],
    "ids": [os.getuid(), os.getgid()],
    "distributions": sorted(each.metadata["Name"].lower() for each in distributions()),
    "programs": sorted(path.name for path in pathlib.Path(sys.executable).parent.iterdir()),
    "generated": [str(path) for path in ours.glob("kubernetes/**/client/*/*.py") if str(path) not in started],
    "modules": sorted(path.name.removesuffix(sysconfig.get_config_var("EXT_SUFFIX")) for path in ours.iterdir()),
    "tools": [name for name in ("pip", "pip3", "gcc", "cc", "make") if shutil.which(name)],
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
def elsewhere() -> Iterator[None]:
    """The images for another machine are there, and run here."""
    with emulated(ELSEWHERE):
        image.build(ELSEWHERE)
        yield


@pytest.fixture(scope="module")
def facts() -> dict[Half, dict[str, Any]]:
    """What a process sees that runs in each image."""
    return {half: facts_of(half) for half in HALVES}


def facts_of(half: Half, architecture: Architecture = NATIVE) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(run_python(half, FACTS, architecture))
    return seen


def run_python(half: Half, source: str, architecture: Architecture = NATIVE) -> str:
    """What it prints, in a container of an image."""
    return run_once(half, "-c", source, options=("--entrypoint=python",), architecture=architecture)


def run_once(
    half: Half, *arguments: str, options: Sequence[str] = (), architecture: Architecture = NATIVE
) -> str:
    """What is said by a container that ends by itself."""
    name = image.image(half, architecture).name
    shape = ("--rm", *CONFINED, "--network=none", f"--arch={architecture}")
    return podman("run", *shape, *options, name, *arguments)


@contextmanager
def running(
    half: Half, *arguments: str, options: Sequence[str] = (), architecture: Architecture = NATIVE
) -> Iterator[tuple[str, str]]:
    """Name of the container, and address of its HTTP server."""
    (port,) = free_ports(1)
    container = podman(
        "run",
        "--detach",
        "--network=host",
        f"--arch={architecture}",
        *CONFINED,
        *options,
        image.image(half, architecture).name,
        f"--http=127.0.0.1:{port}",
        *arguments,
    )
    try:
        yield container, f"http://127.0.0.1:{port}"
    finally:
        podman("rm", "--force", "--time=10", container)


@contextmanager
def running_gateway(
    bundle: Path, *options: str, architecture: Architecture = NATIVE
) -> Iterator[tuple[str, str]]:
    """As in a pod: nothing can be written to but /tmp and the outbox."""
    bundle.chmod(0o755)
    places = [f"--tmpfs={place}:rw,size=16m" for place in ("/tmp", "/var/lib/voke")]
    options = (f"--volume={bundle}:/etc/voke/bundle:ro", *places, *options)
    started = running("gateway", "--bundle=/etc/voke/bundle", options=options, architecture=architecture)
    with started as (container, address):
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


def seconds_until_healthy(
    bundle: Path, *options: str, architecture: Architecture = NATIVE, within: float = 30
) -> float:
    began = time.monotonic()
    with running_gateway(bundle, *options, architecture=architecture) as (container, address):
        until(lambda: answers(f"{address}/healthz"), container, within=within)
        return time.monotonic() - began


def programs(half: Half, architecture: Architecture) -> Counter[str]:
    """How many programs and libraries an image holds, by whose they are."""
    name = image.image(half, architecture).name
    root = Path(podman("image", "mount", name))
    try:
        files = (Path(top, name) for top, _, names in os.walk(root) for name in names)
        return Counter(
            whose
            for file in files
            if not file.is_symlink() and file.is_file()
            if (whose := architecture_of(file))
        )
    finally:
        podman("image", "unmount", name)


def check_architecture(half: Half, architecture: Architecture) -> None:
    assert image.inspect(image.image(half, architecture).name)["Architecture"] == architecture
    found = programs(half, architecture)
    assert found[architecture] > 100
    assert set(found) == {architecture}


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
    assert {name.rstrip("0123456789.") for name in facts[half]["programs"]} == {"python"}
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
def test_every_module_is_compiled_once_and_for_all(half: Half, facts: dict[Half, dict[str, Any]]) -> None:
    assert facts[half]["uncompiled"] == []


def test_no_generated_module_is_left_but_what_a_start_imports(facts: dict[Half, dict[str, Any]]) -> None:
    assert facts["operator"]["generated"] == []


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
    assert run_python(half, look) == "[]"


@pytest.mark.parametrize("half", HALVES)
def test_every_program_is_of_the_images_architecture(half: Half) -> None:
    check_architecture(half, NATIVE)


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
@pytest.mark.parametrize("half", HALVES)
def test_every_locked_package_has_a_wheel_for_either_machine(
    half: Half, machine: str, tmp_path: Path
) -> None:
    libraries = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, NEWEST_GLIBC + 1))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", f"--target={tmp_path}"),
            *("--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.13"),
            *(f"--platform={each}_{machine}" for each in libraries),
            f"--requirement={image.ROOT / 'requirements' / half}.txt",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


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
        run_once("gateway")


def defaults(directory: Path) -> tuple[str, str]:
    """A file for --defaults: how it is mounted, and the argument."""
    (directory / "defaults.yaml").write_text("image: any\n")
    return (
        f"--volume={directory}/defaults.yaml:/etc/voke/defaults.yaml:ro",
        "--defaults=/etc/voke/defaults.yaml",
    )


def check_operator_without_a_cluster(directory: Path, architecture: Architecture) -> None:
    assert "--kubeconfig" in run_once("operator", "--help", architecture=architecture)
    mount, argument = defaults(directory)
    with pytest.raises(image.ImageError) as said:
        run_once("operator", argument, options=(mount,), architecture=architecture)
    assert "status 1" in str(said.value)
    assert "kubeconfig" in str(said.value).lower()
    assert "Traceback" not in str(said.value)


def test_the_operator_without_a_cluster_says_what_it_lacks(tmp_path: Path) -> None:
    check_operator_without_a_cluster(tmp_path, NATIVE)


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


def check_sizes(architecture: Architecture) -> None:
    for half in HALVES:
        *ours, base = json.loads(podman("history", "--format=json", image.image(half, architecture).name))
        above = sum(layer["size"] for layer in ours)
        print(
            f"{half}, {architecture}: {above / 1e6:.0f} MB above the stand-in's {base['size'] / 1e6:.0f} MB"
        )
        assert above < {"gateway": 75e6, "operator": 95e6}[half]


def test_sizes() -> None:
    check_sizes(NATIVE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("elsewhere")
class TestForAnotherMachine:
    """The base and two images are put together by emulation at the first time: half an hour."""

    @pytest.mark.parametrize("half", HALVES)
    def test_every_program_is_of_that_machine(self, half: Half) -> None:
        check_architecture(half, ELSEWHERE)

    @pytest.mark.parametrize("half", HALVES)
    def test_it_is_put_together_in_the_same_way(self, half: Half, facts: dict[Half, dict[str, Any]]) -> None:
        assert facts_of(half, ELSEWHERE) == facts[half]

    def test_a_gateway_becomes_healthy(self, tmp_path: Path) -> None:
        took = seconds_until_healthy(tmp_path, architecture=ELSEWHERE, within=120)
        print(f"start to healthy, emulated: {took:.1f} s")

    def test_the_operator_says_what_it_lacks(self, tmp_path: Path) -> None:
        check_operator_without_a_cluster(tmp_path, ELSEWHERE)

    def test_sizes(self) -> None:
        check_sizes(ELSEWHERE)
