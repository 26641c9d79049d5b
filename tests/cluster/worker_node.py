"""A node that runs pods: containerd, kubelet, kube-proxy and CoreDNS on a machine of their own. Root only.

What Kubernetes does on it is the real thing, with two limits: nothing enforces NetworkPolicies (the network is
CNI's plain bridge), and there is no registry, so images are imported and pods must not pull.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster import dns, pause
from tests.cluster.binaries import tools
from tests.cluster.control_plane import PODS, ControlPlane, answers
from tests.cluster.machine import ADDRESS, Machine, MachineError, Program, check_possible, tool

NAME: Final = "node1"
_PODS_HERE: Final = "10.244.0.0/24"
_PLUGINS: Final = Path("/usr/lib/cni")
_PLUGINS_NEEDED: Final = ("bridge", "host-local", "loopback", "portmap")
_NAMESPACE: Final = "k8s.io"
_DNS: Final = "coredns"
_CONTAINERD: Final = "containerd"
_KUBELET: Final = "kubelet"
_PROXY: Final = "kube-proxy"
_MEMORY: Final = (("memory.current", "memory.max"), ("memory.usage_in_bytes", "memory.limit_in_bytes"))
"""What is used and what may be, in cgroups of version 2 and 1."""
_WITHIN: Final = 60.0


class Node:
    """The only node of a control plane. Made by :meth:`running`."""

    def __init__(self, machine: Machine, plane: ControlPlane) -> None:
        self.machine = machine
        self._plane = plane
        self._programs: dict[str, Program] = {}
        self._here = machine.directory
        self._socket = self._here / "containerd.sock"

    @classmethod
    @contextlib.contextmanager
    def running(cls, machine: Machine, plane: ControlPlane) -> Iterator[Node]:
        """It is Ready inside the block. The calling thread has to be in the machine's network.

        Raises:
            MachineError: something is missing on this computer, or a program ended; the message says what.
        """
        check_possible(_CONTAINERD, "ctr", "runc", "iptables", "conntrack")
        absent = [name for name in _PLUGINS_NEEDED if not (_PLUGINS / name).exists()]
        if absent:
            raise MachineError(f"no {', '.join(absent)} in {_PLUGINS}: install containernetworking-plugins")
        node = cls(machine, plane)
        node._write_files()
        try:
            node._start_containerd()
            node.import_image(pause.pause_archive(machine.directory))
            plane.apply(*dns.rights())
            node.start_dns()
            node.start_kubelet()
            node._start_proxy()
            node.until_ready()
            yield node
        finally:
            # Kubelet first: it would miss the others. Containers end with the machine.
            for program in reversed(node._programs.values()):
                program.stop()

    def import_image(self, archive: Path) -> None:
        """Make the images of a docker or OCI archive known."""
        self._ctr("images", "import", str(archive))

    def until_ready(self, within: float = _WITHIN) -> None:
        """Wait until the API server counts it as Ready, without a taint.

        Raises:
            MachineError: not within that many seconds, or a program of the node ended.
        """
        self._await(self._ready, "the node is not Ready", within)

    # -- faults

    def stop_dns(self) -> None:
        """As by a crash: no name is known until :meth:`start_dns`."""
        self._programs.pop(_DNS).stop()

    def start_dns(self) -> None:
        """Returns when names are known."""
        kubeconfig = self._plane.component(dns.USER)
        corefile = self._here / "Corefile"
        corefile.write_text(dns.corefile(kubeconfig))
        self._start(_DNS, "-conf", str(corefile), program=tools() / _DNS)
        self._await(_dns_ready, "CoreDNS is not ready", _WITHIN)

    def stop_kubelet(self) -> None:
        """As by a crash; pods run on."""
        self._programs.pop(_KUBELET).stop()

    def start_kubelet(self) -> None:
        """Run it again, on what it had."""
        here, plane = self._here, self._plane
        kubeconfig = plane.component(f"system:node:{NAME}", organization="system:nodes")
        self._start(
            _KUBELET,
            f"--kubeconfig={kubeconfig}",
            f"--config={here / 'kubelet.yaml'}",
            f"--root-dir={here / 'kubelet'}",
            f"--cert-dir={here / 'certificates'}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            "--runtime-cgroups=/",
            "--kubelet-cgroups=/",
            program=plane.programs / "kubelet",
        )

    def kill_container(self, namespace: str, pod: str) -> None:
        """SIGKILL to what runs in a pod's first container."""
        self._ctr("tasks", "kill", "--signal", "SIGKILL", self._container(namespace, pod))

    def limit_memory(self, namespace: str, pod: str, *, spare: int) -> None:
        """Lower the memory limit of a pod's first container to what it uses now and ``spare`` bytes, until it restarts."""
        for cgroup in self.machine.cgroups(self._container(namespace, pod)):
            for used, limit in _MEMORY:
                if (cgroup / used).exists():
                    (cgroup / limit).write_text(str(int((cgroup / used).read_text()) + spare))

    def _container(self, namespace: str, pod: str) -> str:
        status = self._plane.get("pod", pod, "-n", namespace)["status"]["containerStatuses"][0]
        return str(status["containerID"].partition("://")[2])

    # -- programs

    def _start_containerd(self) -> None:
        self._start(_CONTAINERD, "--config", str(self._here / "containerd.toml"))
        self._await(lambda: self._ctr("version", check=False), "containerd does not answer", _WITHIN)

    def _start_proxy(self) -> None:
        self._start(
            _PROXY,
            f"--kubeconfig={self._plane.component('system:kube-proxy')}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={PODS}",
            f"--hostname-override={NAME}",
            f"--bind-address={ADDRESS}",
            # Not ours to set: they are this computer's, not the machine's.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            program=self._plane.programs / "kube-proxy",
        )

    def _start(self, name: str, *arguments: str, program: Path | None = None) -> None:
        found = str(program) if program else tool(name)
        self._programs[name] = self.machine.start(name, found, *arguments)

    def _ctr(self, *arguments: str, check: bool = True) -> bool:
        command = (tool("ctr"), "--address", str(self._socket), "--namespace", _NAMESPACE, *arguments)
        try:
            self.machine.run(*command)
        except AssertionError:
            if check:
                raise
            return False
        return True

    def _ready(self) -> bool:
        found = self._plane.kubectl("get", "node", NAME, "-o", "json", check=False)
        if found.returncode:
            return False
        node = json.loads(found.stdout)
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def _await(self, holds: Callable[[], bool], otherwise: str, within: float) -> None:
        deadline = time.monotonic() + within
        while not holds():
            ended = next((each.name for each in self._programs.values() if each.ended), None)
            if ended or time.monotonic() > deadline:
                said = "".join(
                    f"\n{name}: {(self._here / f'{name}.log').read_text(errors='replace')[-2000:]}"
                    for name in ([ended] if ended else self._programs)
                )
                raise MachineError(f"{f'{ended} ended' if ended else otherwise}; its log ends:{said}")
            time.sleep(0.1)

    # -- files

    def _write_files(self) -> None:
        here = self._here
        (here / "containerd.toml").write_text(_containerd(here, self._socket))
        networks = here / "networks"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(_network(here)))
        (here / "resolv.conf").touch()
        certificate, key = self._plane.serving("kubelet-serving", ADDRESS, NAME)
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._plane.directory / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.machine.cgroup,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [ADDRESS],
            "clusterDomain": dns.DOMAIN,
            "resolvConf": str(here / "resolv.conf"),
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,  # no registry would give an image back
            "nodeStatusUpdateFrequency": "4s",
        }
        (here / "kubelet.yaml").write_text(yaml.safe_dump(configuration))


def _dns_ready() -> bool:
    return answers(http.client.HTTPConnection(ADDRESS, dns.READY_PORT, timeout=5), "/ready")


def _containerd(here: Path, socket: Path) -> str:
    return f"""\
version = 2
root = "{here / "containerd"}"
state = "{here / "containerd-state"}"
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause.IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_PLUGINS}"
    conf_dir = "{here / "networks"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"""


def _network(here: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": _PODS_HERE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(here / "addresses"),
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}
