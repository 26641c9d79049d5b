"""A real mosquitto with Voke's mTLS and password listeners, on loopback, for tests of the session seam."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.pki import Authority, Leaf
from voke_sim.ports import free_ports

OBSERVER = "observer"
"""A password user that may read and write everything."""
PASSWORD = "correct horse battery staple"
"""The password of every user."""

_DEADLINE = 10.0


class Broker:
    """mosquitto as Voke runs it: TLS on every listener, ACL per plant, messages up to 8,192 bytes."""

    def __init__(
        self, directory: Path, *, users: tuple[str, ...] = (), revoked: tuple[Leaf, ...] = ()
    ) -> None:
        self.directory = directory
        self.authority: Authority
        """Root of the broker's certificate and of the client certificates it accepts."""
        self._users = users
        self._revoked = revoked
        self._process: subprocess.Popen[bytes] | None = None
        self.mtls_port = 0
        self.password_port = 0

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        directory: Path,
        *,
        users: tuple[str, ...] = (),
        authority: Authority | None = None,
        server: Leaf | None = None,
        revoked: tuple[Leaf, ...] = (),
    ) -> Iterator[Broker]:
        """A started broker, stopped at the end. ``server`` replaces its certificate."""
        broker = cls(directory, users=users, revoked=revoked)
        broker.authority = authority or Authority()
        leaf = server or broker.authority.issue("broker", hosts=("localhost", "127.0.0.1"))
        broker._write_files(leaf)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start on the ports it had before, or on free ones the first time."""
        for attempt in range(5):
            if not self.mtls_port or attempt:
                self.mtls_port, self.password_port = free_ports(2)
            self._write_configuration()
            self._process = subprocess.Popen(
                ["/usr/sbin/mosquitto", "-c", str(self.directory / "mosquitto.conf")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._listening():
                return
            self.stop()
        raise AssertionError(f"mosquitto did not start:\n{self.log}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process we started, by its id."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
        self._process.wait(_DEADLINE)
        self._process = None

    def kill(self) -> None:
        """As a crash would."""
        self.stop(signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Alive for the kernel, silent for its clients: what a hung broker looks like."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _listening(self) -> bool:
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            try:
                for port in (self.mtls_port, self.password_port):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return True
        return False

    def _write_files(self, server: Leaf) -> None:
        files = {
            "ca.crt": self.authority.pem,
            "server.crt": server.certificate,
            "server.key": server.key,
            "crl.pem": self.authority.revocation_list(*self._revoked),
            "users": "".join(f"{user}:{PASSWORD}\n" for user in (OBSERVER, *self._users)).encode(),
            "acl": f"user {OBSERVER}\ntopic readwrite #\npattern readwrite cpi/%u/#\n".encode(),
            "mosquitto.log": b"",
        }
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
            (self.directory / name).chmod(0o600)
        passwd = shutil.which("mosquitto_passwd")
        assert passwd, "mosquitto_passwd comes with the package mosquitto"
        subprocess.run([passwd, "-U", str(self.directory / "users")], check=True, capture_output=True)

    def _write_configuration(self) -> None:
        here = self.directory
        tls = [f"certfile {here}/server.crt", f"keyfile {here}/server.key", f"acl_file {here}/acl"]
        lines = [
            "per_listener_settings true",
            "user root" if os.geteuid() == 0 else "",
            f"log_dest file {here}/mosquitto.log",
            "log_type all",
            "message_size_limit 8192",
            "max_queued_messages 5000",
            f"listener {self.mtls_port} 127.0.0.1",
            *tls,
            f"cafile {here}/ca.crt",
            f"crlfile {here}/crl.pem",
            "require_certificate true",
            "use_identity_as_username true",
            f"listener {self.password_port} 127.0.0.1",
            *tls,
            "allow_anonymous false",
            f"password_file {here}/users",
        ]
        (here / "mosquitto.conf").write_text("\n".join(lines) + "\n")
