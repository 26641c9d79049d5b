"""A real Kubernetes API: etcd, kube-apiserver and kube-controller-manager on loopback.

Everything a test asks of Kubernetes short of running pods is there: CRDs with CEL, server-side apply, RBAC,
service accounts, garbage collection, StatefulSets that make pods. These stay Pending, unless there is a node
(``tests/cluster/worker_node.py``): for one the API is on its address, too, and there is a kube-scheduler.
The programs end with the process that started them; their files are in one directory.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import kubernetes
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.cluster.binaries import CONTROL_PLANE, NODE, binaries
from tests.support.pki import Authority, Leaf
from voke_sim.children import ending_with_parent
from voke_sim.ports import free_ports

ADMIN: Final = "admin"
"""May do everything (group system:masters)."""

_MANAGER: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"
_API_TO_KUBELET: Final = "api-to-kubelet"
_SERVICES: Final = "10.96.0.0/16"
PODS: Final = "10.244.0.0/16"
"""Addresses of pods, where there is a node."""
_HOSTS: Final = ("127.0.0.1", "localhost", "10.96.0.1", "kubernetes.default.svc")
_START: Final = 60.0


def answers(connection: http.client.HTTPConnection, path: str) -> bool:
    """Whether a 200 comes; the connection is closed afterwards."""
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


class ControlPlaneError(RuntimeError):
    """A component did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Write:
    """Who wrote what, as the audit log counts it."""

    user: str
    verb: str
    """create, update, patch, delete or deletecollection."""
    resource: str
    """Such as ``secrets`` or ``plants/status``."""
    namespace: str = ""


class ControlPlane:
    """The running control plane. Made by :meth:`running`."""

    def __init__(self, *, audit: bool, node_address: str | None) -> None:
        self.programs = binaries(CONTROL_PLANE if node_address is None else (*CONTROL_PLANE, *NODE))
        self.directory = Path(tempfile.mkdtemp(prefix="voke-cluster-"))
        self._audit = audit
        self._node_address = node_address
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = free_ports(5)
        self._etcd_port, self._etcd_peer_port, self.port, self._manager_port, self._scheduler_port = ports
        self._authority = Authority("kubernetes")
        self._audit_read = 0
        self.keep = False
        """Leave the directory, with its logs, behind."""

    @classmethod
    @contextlib.contextmanager
    def running(cls, *, audit: bool = True, node_address: str | None = None) -> Iterator[ControlPlane]:
        """A control plane that is ready. Its directory is kept if it failed to start, or if ``keep`` was set.

        ``audit`` logs the writes, for :meth:`writes`. With ``node_address`` it is one for a node there; it has to be
        an address of the calling thread's network, to which all of it then belongs.
        """
        plane = cls._ready(audit=audit, node_address=node_address)
        try:
            yield plane
        finally:
            plane._stop_all()
            if not plane.keep:
                plane._remove()

    @classmethod
    def _ready(cls, *, audit: bool, node_address: str | None, attempts: int = 3) -> ControlPlane:
        plane = cls(audit=audit, node_address=node_address)
        try:
            plane._write_files()
            plane._start()
        except BaseException as error:
            plane._stop_all()
            taken = isinstance(error, ControlPlaneError) and "address already in use" in str(error)
            if not taken or attempts == 1:
                raise
        else:
            return plane
        plane._remove()  # somebody took a port that was free a moment ago
        return cls._ready(audit=audit, node_address=node_address, attempts=attempts - 1)

    # -- for clients

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / f"{ADMIN}.kubeconfig"

    @contextlib.contextmanager
    def client(self, kubeconfig: Path | None = None) -> Iterator[kubernetes.client.ApiClient]:
        """A client of the administrator, or of another ``kubeconfig``."""
        path = str(kubeconfig or self.kubeconfig)
        with kubernetes.config.new_client_from_config(path) as client:  # type: ignore[no-untyped-call]
            yield client

    def kubectl(
        self, *arguments: str, given: str | None = None, kubeconfig: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, or with another ``kubeconfig``; ``given`` is its standard input.

        Raises:
            AssertionError: it failed and ``check`` is true; the message is what it said.
        """
        done = subprocess.run(
            [str(self.programs / "kubectl"), *arguments],
            input=given,
            check=False,
            text=True,
            capture_output=True,
            timeout=_START,
            env=self.environment(kubeconfig),
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Of kubectl, with its plugin ``voke``: as the administrator, or with another ``kubeconfig``."""
        places = (str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"])
        return {
            "HOME": str(self.directory),
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "PATH": os.pathsep.join(places),
        }

    def apply(self, *documents: Mapping[str, Any], namespace: str | None = None) -> None:
        """Server-side apply as the administrator, with unknown fields refused."""
        scope = ("-n", namespace) if namespace else ()
        self.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=strict",
            *scope,
            "-f",
            "-",
            given=yaml.safe_dump_all(documents),
        )

    def get(self, *arguments: str) -> Any:
        """What ``kubectl get … -o json`` prints, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def service_account(self, namespace: str, name: str, *, lifetime: str = "2h") -> Path:
        """A kubeconfig of this ServiceAccount (made if it is not there): its token is asked of the API server."""
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}}
        )
        made = self.kubectl("create", "token", name, "-n", namespace, f"--duration={lifetime}")
        return self._write_kubeconfig(
            f"{namespace}.{name}", {"token": made.stdout.strip()}, namespace=namespace
        )

    def component(self, user: str, *, organization: str | None = None) -> Path:
        """A kubeconfig of a component of Kubernetes, such as ``system:kube-proxy``."""
        leaf = self._authority.issue(user, organization=organization)
        return self._write_kubeconfig(user.replace(":", "-"), _certificate(leaf))

    def serving(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Certificate and key with which a component serves the API server."""
        leaf = self._authority.issue(name, hosts=hosts)
        self._write_leaf(name, leaf)
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    # -- what was written

    def writes(self) -> Counter[Write]:
        """Writes that succeeded since the last call (or the start), by user, verb and resource.

        The administrator's own are left out, and so are those of Kubernetes' components.
        """
        counted: Counter[Write] = Counter()
        path = self.directory / "audit.log"
        with path.open("rb") as log:
            log.seek(self._audit_read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._audit_read += len(line)
                event = json.loads(line)
                if event["responseStatus"].get("code", 0) < http.client.BAD_REQUEST:
                    object_ = event["objectRef"]
                    resource = "/".join(filter(None, (object_["resource"], object_.get("subresource"))))
                    user = event["user"]["username"]
                    counted[Write(user, event["verb"], resource, object_.get("namespace", ""))] += 1
        return counted

    # -- faults

    def stop_api_server(self) -> None:
        """As by a crash: the API is away until :meth:`start_api_server`, on the same port and data."""
        self._stop("kube-apiserver")

    def start_api_server(self) -> None:
        """Returns when it is ready."""
        self._run("kube-apiserver", self._api_server())
        self._await("kube-apiserver", self._api_ready)

    @contextlib.contextmanager
    def api_server_away(self) -> Iterator[None]:
        """Connections are refused inside the block; behind it the API is back."""
        self.stop_api_server()
        try:
            yield
        finally:
            self.start_api_server()

    @contextlib.contextmanager
    def api_server_frozen(self) -> Iterator[None]:
        """Connections stay open and nothing answers: what a hung API server looks like."""
        process = self._processes["kube-apiserver"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)
            self._await("kube-apiserver", self._api_ready)

    def memory(self) -> dict[str, int]:
        """Resident bytes by component."""
        return {
            name: int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for name, process in self._processes.items()
        }

    # -- components

    def _start(self) -> None:
        here = self.directory
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        self._run(
            "etcd",
            [
                "--unsafe-no-fsync",
                f"--data-dir={here / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--log-level=warn",
            ],
        )
        self.start_api_server()
        self._run(
            "kube-controller-manager",
            [
                f"--kubeconfig={here / 'manager.kubeconfig'}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._manager_port}",
                f"--cert-dir={here / 'manager'}",
                f"--service-account-private-key-file={here / 'accounts.key'}",
                f"--root-ca-file={here / 'ca.crt'}",
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                *(("--node-monitor-grace-period=16s",) if self._node_address else ()),
            ],
        )
        if self._node_address:
            self._run(
                "kube-scheduler",
                [
                    f"--kubeconfig={self.component(_SCHEDULER)}",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={self._scheduler_port}",
                    f"--cert-dir={here / 'scheduler'}",
                    "--leader-elect=false",
                ],
            )
        self._await("kube-controller-manager", self._has_default_account)

    def _api_server(self) -> list[str]:
        here = self.directory
        node = [
            f"--kubelet-client-certificate={here / f'{_API_TO_KUBELET}.crt'}",
            f"--kubelet-client-key={here / f'{_API_TO_KUBELET}.key'}",
            f"--kubelet-certificate-authority={here / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        audit = [
            f"--audit-policy-file={here / 'audit-policy.yaml'}",
            f"--audit-log-path={here / 'audit.log'}",
        ]
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={'0.0.0.0' if self._node_address else '127.0.0.1'}",
            f"--advertise-address={self._node_address or '127.0.0.1'}",
            f"--secure-port={self.port}",
            f"--cert-dir={here / 'api'}",
            f"--tls-cert-file={here / 'api.crt'}",
            f"--tls-private-key-file={here / 'api.key'}",
            f"--client-ca-file={here / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={here / 'accounts.key'}",
            f"--service-account-key-file={here / 'accounts.pub'}",
            f"--service-cluster-ip-range={_SERVICES}",
            "--shutdown-send-retry-after=false",
            *(audit if self._audit else []),
            *(node if self._node_address else []),
        ]

    def _api_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        context.load_cert_chain(self.directory / f"{ADMIN}.crt", self.directory / f"{ADMIN}.key")
        return answers(
            http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=5), "/readyz"
        )

    def _has_default_account(self) -> bool:
        return self.kubectl("get", "serviceaccount", "default", check=False).returncode == 0

    # -- processes

    def _run(self, name: str, arguments: Sequence[str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ending_with_parent(str(self.programs / name), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )

    def _await(self, name: str, ready: Any) -> None:
        deadline = time.monotonic() + _START
        while not ready():
            ended = next(
                (each for each, process in self._processes.items() if process.poll() is not None), None
            )
            if ended or time.monotonic() > deadline:
                what = f"{ended} ended" if ended else f"{name} is not ready after {_START:.0f} s"
                log = (self.directory / f"{ended or name}.log").read_text(errors="replace")
                raise ControlPlaneError(f"{what}; {self.directory} is kept. Its log ends:\n{log[-3000:]}")
            time.sleep(0.05)

    def _stop(self, name: str) -> None:
        # Killed: nothing in here outlives the tests, and an orderly end waits long for its watchers.
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _stop_all(self) -> None:
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            self._stop(name)

    # -- files

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write_files(self) -> None:
        here = self.directory
        (here / "ca.crt").write_bytes(self._authority.pem)
        hosts = (*_HOSTS, self._node_address) if self._node_address else _HOSTS
        self._write_leaf("api", self._authority.issue("kube-apiserver", hosts=hosts))
        self._write_leaf(
            _API_TO_KUBELET, self._authority.issue(_API_TO_KUBELET, organization="system:masters")
        )
        admin = self._authority.issue(ADMIN, organization="system:masters")
        self._write_leaf(ADMIN, admin)
        self._write_kubeconfig(ADMIN, _certificate(admin))
        self._write_kubeconfig("manager", _certificate(self._authority.issue(_MANAGER)))
        accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = accounts.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = accounts.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._write("accounts.key", private)
        self._write("accounts.pub", public)
        self._write("audit-policy.yaml", yaml.safe_dump(_AUDIT_POLICY).encode())

    def _write_leaf(self, name: str, leaf: Leaf) -> None:
        self._write(f"{name}.crt", leaf.certificate)
        self._write(f"{name}.key", leaf.key)

    def _write_kubeconfig(self, name: str, user: Mapping[str, str], *, namespace: str = "default") -> Path:
        cluster = {"server": self.url, "certificate-authority-data": _base64(self._authority.pem)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": name, "namespace": namespace}}
            ],
            "current-context": "test",
        }
        return self._write(f"{name}.kubeconfig", yaml.safe_dump(config).encode())

    def _write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


_AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "users": [ADMIN, _MANAGER, _SCHEDULER, "system:kube-proxy", "system:apiserver"]},
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system", "system:nodes"]},
        {
            "level": "Metadata",
            "omitManagedFields": True,
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
        },
        {"level": "None"},
    ],
}


def _certificate(leaf: Leaf) -> dict[str, str]:
    return {"client-certificate-data": _base64(leaf.certificate), "client-key-data": _base64(leaf.key)}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
