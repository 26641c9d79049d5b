"""Helm and the chart: rendered without a cluster, or installed in one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.binaries import tool
from tests.cluster.control_plane import ControlPlane

CHART: Final = Path(__file__).parents[2] / "charts" / "voke-fleet"
FIRST: Final = Path(__file__).with_name("chart") / "frozen" / "voke-fleet-0.1.0.tgz"
"""The chart's first version, as it was published."""
_RIGHTS: Final = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}

Json = dict[str, Any]


def run(
    program: str, *arguments: str, values: Mapping[str, Any] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``helm`` or ``helm-unittest``; ``values`` are what ``-f -`` reads.

    Raises:
        AssertionError: it failed and ``check`` is true; the message is what it said.
    """
    with tempfile.TemporaryDirectory(prefix="voke-helm-") as home:
        done = subprocess.run(
            [str(tool(program)), *arguments, *(("-f", "-") if values is not None else ())],
            input=None if values is None else json.dumps(values),
            env={"HOME": home, "PATH": os.environ["PATH"]},
            check=False,
            text=True,
            capture_output=True,
            timeout=100,
        )
    assert done.returncode == 0 or not check, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def rendered(
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "voke-fleet",
    namespace: str = "voke-system",
    chart: Path = CHART,
) -> list[Json]:
    """What the chart makes of ``values``, without asking a cluster."""
    done = run("helm", "template", release, str(chart), "--namespace", namespace, values=values or {})
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(documents: Sequence[Json], kind: str) -> list[Json]:
    """Those of one kind."""
    return [each for each in documents if each["kind"] == kind]


def rights(
    *, account: str, namespace: str, watch: Sequence[str] = (), issuer: str | None = None
) -> list[Json]:
    """What an installation gives the operator: its account, its rights, and the policy that confines them."""
    values = {
        "issuer": {"secretName": issuer or ""},
        "serviceAccount": {"name": account},
        "watch": {"namespaces": list(watch)},
        "rbac": {"aggregate": False},
        "crds": {"enabled": False},
    }
    documents = rendered(values, release=account, namespace=namespace)
    return [each for each in documents if each["kind"] in _RIGHTS]


@dataclass(frozen=True, slots=True)
class Release:
    """The chart installed in a cluster, under a name; :class:`…release.RunningRelease` is one whose pods run."""

    plane: ControlPlane
    name: str = "voke-fleet"
    namespace: str = "voke-system"

    def install(self, values: Mapping[str, Any] | None = None, *, chart: Path = CHART) -> str:
        """``helm install``; what it says."""
        return self.helm("install", self.name, str(chart), "--create-namespace", values=values or {}).stdout

    def upgrade(self, values: Mapping[str, Any] | None = None, *, chart: Path = CHART) -> None:
        """``helm upgrade``."""
        self.helm("upgrade", self.name, str(chart), values=values or {})

    def rollback(self, revision: int) -> None:
        """``helm rollback``; revisions count from 1."""
        self.helm("rollback", self.name, str(revision))

    def uninstall(self) -> str:
        """``helm uninstall``; what it says."""
        return self.helm("uninstall", self.name).stdout

    def refused(self, values: Mapping[str, Any]) -> str:
        """What ``helm install`` says when it refuses."""
        done = self.helm("install", self.name, str(CHART), "--create-namespace", values=values, check=False)
        assert done.returncode
        return done.stderr

    def notes(self) -> str:
        """What Helm told who installed it."""
        return self.helm("get", "notes", self.name).stdout

    def deployment(self) -> Json:
        """The operator's, as it is."""
        found: Json = self.plane.get("deployment", self.account, "-n", self.namespace)
        return found

    @property
    def account(self) -> str:
        """Of the operator; its Deployment and ConfigMap have the same name."""
        return f"{self.name}-operator"

    def kubeconfig(self) -> Path:
        """Of the account that the chart made."""
        return self.plane.service_account(self.namespace, self.account)

    def defaults(self) -> str:
        """The file that the operator is given."""
        found = self.plane.get("configmap", self.account, "-n", self.namespace)
        return str(found["data"]["defaults.yaml"])

    def arguments(self) -> list[str]:
        """Of the operator's container, but for where it listens and where its file is."""
        (container,) = self.deployment()["spec"]["template"]["spec"]["containers"]
        return [each for each in container["args"] if not each.startswith(("--http=", "--defaults="))]

    def helm(
        self, *arguments: str, values: Mapping[str, Any] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run it for the release's namespace, as :func:`run`."""
        where = ("--namespace", self.namespace, "--kubeconfig", str(self.plane.kubeconfig))
        return run("helm", *arguments, *where, values=values, check=check)
