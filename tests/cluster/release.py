"""The chart as a person installs it, with the images of these sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.cluster import image
from tests.cluster.charts import CHART, Release
from tests.cluster.cluster import Cluster
from tests.cluster.worker_node import NAME as NODE

OWN: Final = "voke-system"
"""The operator's namespace."""
_WAIT: Final = ("--wait", "--timeout", "90s")

Json = dict[str, Any]


class RunningRelease:
    """One release of the chart. Who uses it has to be in the machine's network."""

    def __init__(self, cluster: Cluster, own: str = OWN) -> None:
        """``own`` is the namespace of its operator."""
        self.cluster = cluster
        self.own = own
        self._release = Release(cluster.plane, namespace=own)

    def import_images(self) -> None:
        """Make both images known to the node; ``image.build`` has to have made them, which needs another network."""
        for half in image.HALVES:
            self.cluster.node.import_image(image.image(half).archive)

    def install(self, values: Mapping[str, Any] | None = None, *, chart: Path = CHART) -> None:
        """Install or upgrade to this chart, and wait until the operator is ready."""
        wanted, name = _merged(image_values(), values or {}), self._release.name
        self._release.helm(
            "upgrade", "--install", name, str(chart), "--create-namespace", *_WAIT, values=wanted
        )

    def rollback(self) -> None:
        """Go back to the revision before."""
        self._release.helm("rollback", self._release.name, *_WAIT)

    def uninstall(self) -> None:
        """Take the release away, and wait until the operator is gone."""
        self._release.helm("uninstall", self._release.name, *_WAIT)

    def test(self) -> str:
        """``helm test``; what it says.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        return self._release.helm("test", self._release.name, "--timeout", "60s").stdout

    def operator_pods(self) -> list[str]:
        """Names of its pods."""
        selector = self._release.deployment()["spec"]["selector"]["matchLabels"]
        wanted = ",".join(f"{key}={value}" for key, value in selector.items())
        found = self.cluster.plane.get("pods", "-n", self.own, "-l", wanted)["items"]
        return [each["metadata"]["name"] for each in found]

    def account(self) -> str:
        """The operator's ServiceAccount, as the API server names it."""
        return f"system:serviceaccount:{self.own}:{self._release.account}"

    def drain(self) -> None:
        """Drain the node. One operator only: the budget of two waits for one of them to run on another node."""
        self.scale(1)
        self.cluster.plane.kubectl("drain", NODE, "--delete-emptydir-data", "--timeout=50s")

    def uncordon(self) -> None:
        """Let pods onto the node again, and the operators be as many as the chart says."""
        self.cluster.plane.kubectl("uncordon", NODE)
        self.scale(2)

    def scale(self, replicas: int) -> None:
        """Have so many operators; not waited for."""
        name = self._release.account
        self.cluster.plane.kubectl("scale", "deployment", name, "-n", self.own, f"--replicas={replicas}")


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
