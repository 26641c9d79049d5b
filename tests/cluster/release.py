"""The chart as a person installs it, with the images of these sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.cluster import image
from tests.cluster.charts import CHART, run
from tests.cluster.cluster import Cluster
from tests.cluster.worker_node import NAME as NODE

OWN: Final = "voke-system"
"""The operator's namespace."""
_WAIT: Final = ("--wait", "--timeout", "90s")

Json = dict[str, Any]


class RunningRelease:
    """One release of the chart. Who uses it has to be in the machine's network."""

    def __init__(self, cluster: Cluster, *, name: str = "voke", namespace: str = OWN) -> None:
        self.cluster = cluster
        self.name = name
        self.namespace = namespace

    def import_images(self) -> None:
        """Make both images known to the node; ``image.build`` has to have made them, which needs another network."""
        for half in image.HALVES:
            self.cluster.node.import_image(image.image(half).archive)

    def install(self, values: Mapping[str, Any] | None = None, *, chart: Path = CHART) -> None:
        """Install or upgrade to this chart, and wait until the operator is ready."""
        wanted = _merged(image_values(), values or {})
        self.helm("upgrade", "--install", self.name, str(chart), "--create-namespace", *_WAIT, values=wanted)

    def rollback(self) -> None:
        """Go back to the revision before."""
        self.helm("rollback", self.name, *_WAIT)

    def uninstall(self) -> None:
        """Take the release away, and wait until the operator is gone."""
        self.helm("uninstall", self.name, *_WAIT)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """What Helm prints, for the release's namespace.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        where = ("--namespace", self.namespace, "--kubeconfig", str(self.cluster.plane.kubeconfig))
        return run("helm", *arguments, *where, values=values).stdout

    def deployment(self) -> Json:
        """The operator's."""
        found = self.cluster.plane.get("deployments", "-n", self.namespace)["items"]
        (only,) = (
            each for each in found if each["metadata"]["labels"]["app.kubernetes.io/instance"] == self.name
        )
        made: Json = only
        return made

    def operator_pods(self) -> list[str]:
        """Names of its pods."""
        selector = self.deployment()["spec"]["selector"]["matchLabels"]
        wanted = ",".join(f"{key}={value}" for key, value in selector.items())
        found = self.cluster.plane.get("pods", "-n", self.namespace, "-l", wanted)["items"]
        return [each["metadata"]["name"] for each in found]

    def account(self) -> str:
        """The operator's ServiceAccount, as the API server names it."""
        name = self.deployment()["spec"]["template"]["spec"]["serviceAccountName"]
        return f"system:serviceaccount:{self.namespace}:{name}"

    def drain(self) -> None:
        """Drain the node. One operator only: the budget of two waits for one of them to run on another node."""
        self._scale(1)
        self.cluster.plane.kubectl("drain", NODE, "--delete-emptydir-data", "--timeout=50s")

    def uncordon(self) -> None:
        """Let pods onto the node again, and the operators be as many as the chart says."""
        self.cluster.plane.kubectl("uncordon", NODE)
        self._scale(2)

    def _scale(self, replicas: int) -> None:
        name = self.deployment()["metadata"]["name"]
        self.cluster.plane.kubectl(
            "scale", "deployment", name, "-n", self.namespace, f"--replicas={replicas}"
        )


def image_values() -> Json:
    """Values that name the images of these sources, which no registry has."""
    (gateway, gateway_tag), (operator, operator_tag) = (
        image.image(half).name.rsplit(":", 1) for half in ("gateway", "operator")
    )
    return {
        "image": {"repository": operator, "tag": operator_tag, "pullPolicy": "Never"},
        "gateway": {"image": {"repository": gateway, "tag": gateway_tag, "pullPolicy": "Never"}},
    }


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    made = dict(base)
    for key, value in over.items():
        found = made.get(key)
        made[key] = _merged(found, value) if isinstance(found, dict) and isinstance(value, dict) else value
    return made
