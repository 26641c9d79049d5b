"""The locks agree with each other, and with what is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMAGES = {
    "gateway": ("crds/voke_api", "gateway/voke_gateway"),
    "operator": ("crds/voke_api", "operator/voke_operator"),
}


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Distribution to its version and the hashes of its files; what it depends on is left out."""
    pins = re.findall(r"^(\S+)==(\S+)[^\n]*\n((?: +--hash=\S+[^\n]*\n?)+)", lock(name), re.MULTILINE)
    return {each: (version, frozenset(re.findall(r"sha256:\w+", files))) for each, version, files in pins}


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def imported(*sources: str) -> set[str]:
    """Top-level modules that are neither Python's nor ours."""
    names: set[str] = set()
    for path in (path for source in sources for path in (ROOT / source).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return {name for name in names - sys.stdlib_module_names if not name.startswith("voke_")}


@pytest.mark.parametrize("name", ["build", *IMAGES])
def test_an_image_has_the_files_that_are_tested(name: str) -> None:
    tested = locked("dev")
    assert len(locked(name)) == lock(name).count("==") - lock(name).count(" == ")
    assert {each: pin for each, pin in locked(name).items() if tested[each] != pin} == {}


@pytest.mark.parametrize("half", list(IMAGES))
def test_an_image_is_asked_to_hold_exactly_what_its_code_imports(half: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = set(project["dependency-groups"][f"{half}-image"])
    owners = packages_distributions()
    assert {owners[module][0].lower().replace("_", "-") for module in imported(*IMAGES[half])} == wanted
    assert wanted <= set(locked(half))


def test_the_operator_imports_nothing_that_its_image_leaves_out() -> None:
    """Of the Kubernetes client's generated modules there are none; so nothing may be imported by way of them, later either."""
    taken = {
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for path in (ROOT / "operator/voke_operator").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    transport = (
        "kubernetes.aio.client.api_client.ApiClient",
        "kubernetes.aio.client.configuration.Configuration",
        "kubernetes.aio.config.",
    )
    assert [each for each in taken if each.startswith("kubernetes") and not each.startswith(transport)] == []
