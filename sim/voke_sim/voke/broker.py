"""A private mosquitto with Voke's three TLS listeners, and a fourth for Voke's own side.

It runs on loopback, unless another address is asked for, on free ports, from one directory that holds its configuration, its users and its
log, and it ends with the process that started it. Works with mosquitto 2.0.11 and later 2.0 releases.

What SIGHUP reloads (read in the sources of 2.0.11 and 2.0.21, and tested): password files, access rules
and, because the mTLS listener has a CRL file, that listener's CA bundle and CRLs. Sessions stay, except
those whose login would now be refused. No registration needs a restart.

With access rules per listener, mosquitto after 2.0.11 gives a session that went offline nothing that is
published from then on, and still answers the publisher with PUBACK 0x00. What was on its way when the
broker stopped is kept by both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from voke_sim.children import ending_with_parent
from voke_sim.ports import free_ports
from voke_sim.voke.access import JwtKeys
from voke_sim.voke.files import Files, write_private
from voke_sim.voke.pki import BROKER_ADDRESS

HOST = "localhost"

MESSAGE_SIZE_LIMIT = 8192
"""Bytes of payload; a longer message is answered with PUBACK 0x95 (protocol §7)."""

SYSTEM_DIRECTORIES = "/usr/sbin:/usr/local/sbin"
"""Where Debian and others put a broker; often not on a user's PATH."""

_START_WITHIN = 15.0
_RELOAD_WITHIN = 10.0
_STOP_WITHIN = 10.0
_LOOK_AGAIN = 0.005
_SIGNAL_AGAIN = 0.1
_ATTEMPTS = 5
"""A free port can be taken by somebody else before mosquitto has it."""


class BrokerError(RuntimeError):
    """mosquitto is missing, or did not do what it was told; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the listeners."""

    mtls: int
    jwt: int
    password: int
    ingest: int
    """Voke's own side, not for plants."""


def find_mosquitto() -> Path:
    """The broker on PATH or where Debian puts it.

    Raises:
        BrokerError: there is none; the message says what to install.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=SYSTEM_DIRECTORIES)
    if found is None:
        raise BrokerError("mosquitto was not found: apt-get install mosquitto")
    return Path(found)


def render_configuration(
    files: Files,
    ports: Ports,
    *,
    plugin: Path,
    certificates: Path | None,
    jwt_keys: JwtKeys,
    address: str = BROKER_ADDRESS,
) -> str:
    """mosquitto.conf. Only options that 2.0.11 has, and that later 2.0 releases still have."""
    tls = f"certfile {files.broker_certificate}\nkeyfile {files.broker_key}\nallow_anonymous false\n"
    jwt_option = (
        f"key_directory {files.jwt_keys}" if jwt_keys == "per-plant" else f"key_file {files.jwt_listener_key}"
    )
    told = "" if certificates is None else f"plugin {certificates}\n"
    # As root, mosquitto would otherwise become a user that cannot read the directory.
    user = "user root\n" if os.geteuid() == 0 else ""
    return (
        f"{user}"
        "per_listener_settings true\n"
        "persistence true\n"
        f"persistence_location {files.directory}/\n"
        f"persistence_file {files.memory.name}\n"
        f"message_size_limit {MESSAGE_SIZE_LIMIT}\n"
        "max_queued_messages 100000\n"
        "set_tcp_nodelay true\n"
        "sys_interval 0\n"
        "log_dest stderr\n"
        "log_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
        "log_timestamp_format %Y-%m-%dT%H:%M:%S\n"
        f"\nlistener {ports.mtls} {address}\n{tls}"
        f"cafile {files.client_cas}\n"
        f"crlfile {files.client_crls}\n"
        "require_certificate true\n"
        "use_identity_as_username true\n"
        f"{told}"
        f"acl_file {files.identity_access}\n"
        f"\nlistener {ports.jwt} {address}\n{tls}"
        f"plugin {plugin}\n"
        f"plugin_opt_{jwt_option}\n"
        f"acl_file {files.identity_access}\n"
        f"\nlistener {ports.password} {address}\n{tls}"
        f"password_file {files.plant_passwords}\n"
        f"acl_file {files.plant_access}\n"
        f"\nlistener {ports.ingest} {address}\n{tls}"
        f"password_file {files.ingest_passwords}\n"
        f"acl_file {files.ingest_access}\n"
    )


class Broker:
    """One mosquitto process, which may be ended and started again on the same ports."""

    ports: Ports

    def __init__(
        self,
        files: Files,
        *,
        plugin: Path,
        certificates: Path | None = None,
        jwt_keys: JwtKeys = "per-plant",
        mosquitto: Path | None = None,
        address: str = BROKER_ADDRESS,
        ports: Ports | None = None,
    ) -> None:
        """``plugin`` sees to logins by JWT; ``certificates`` logs those of the mTLS listener; None: nobody does."""
        self.address = address
        self._wanted = ports
        self._files = files
        self._plugin = plugin
        self._certificates = certificates
        self._jwt_keys = jwt_keys
        self._mosquitto = mosquitto or find_mosquitto()
        self._process: asyncio.subprocess.Process | None = None
        self._reloading = asyncio.Lock()
        self._reloads_wanted = 0
        self._reloads_done = 0

    @property
    def pid(self) -> int | None:
        """Process id of the running broker."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    @property
    def version(self) -> tuple[int, ...]:
        """Of the mosquitto that was started last."""
        found = re.findall(r"mosquitto version ([0-9.]+) running", self.log_text())
        return tuple(int(part) for part in found[-1].split("."))

    @property
    def queues_for_offline_sessions(self) -> bool:
        """Whether a plant that was offline gets the commands sent meanwhile; see the top of this module."""
        return self.version <= (2, 0, 11)

    def certificates(self, client_id: str) -> list[int]:
        """Serial numbers of the certificates that a client's sessions were opened with, in order."""
        said = re.findall(rf"{re.escape(client_id)} subscribes with certificate ([0-9A-F]+)", self.log_text())
        return [int(serial, 16) for serial in said]

    async def start(self) -> None:
        """Choose free ports, unless some were asked for, and start; returns when every listener is open.

        Raises:
            BrokerError: it did not come up.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self.ports = self._wanted or _free_ports(self.address)
            configuration = render_configuration(
                self._files,
                self.ports,
                plugin=self._plugin,
                certificates=self._certificates,
                jwt_keys=self._jwt_keys,
                address=self.address,
            )
            write_private(self._files.configuration, configuration)
            try:
                await self._launch()
            except BrokerError as error:
                if "Address already in use" not in str(error) or self._wanted or attempt == _ATTEMPTS:
                    raise
            else:
                return

    async def stop(self) -> None:
        """End it in order: it saves its sessions, and does not send their wills. Idempotent."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would: what it has not saved is lost."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop (if it runs) and start again on the same ports.

        Raises:
            BrokerError: it did not come up, for instance because somebody took a port meanwhile.
        """
        await self.stop()
        await self._launch()

    async def reload(self) -> None:
        """Have the files read again; returns when that is done. Calls at the same time share a reload.

        Raises:
            BrokerError: the broker does not run or did not answer.
        """
        self._reloads_wanted += 1
        mine = self._reloads_wanted
        async with self._reloading:
            if self._reloads_done >= mine:
                return
            covered = self._reloads_wanted
            if self.pid is None:
                return  # It reads everything when it starts.
            await self._signal_reload(self.pid)
            self._reloads_done = covered

    def log_text(self, offset: int = 0) -> str:
        """What the broker has logged, from a byte offset on."""
        with self._files.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    async def _launch(self) -> None:
        with self._files.log.open("ab") as log:
            offset = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *ending_with_parent(str(self._mosquitto), "-c", str(self._files.configuration)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        try:
            await self._until_logged("running", offset, _START_WITHIN, "did not start")
        except BrokerError:
            await self.kill()
            raise

    async def _signal_reload(self, pid: int) -> None:
        # mosquitto clears its flag when a reload is done, so a signal that arrives meanwhile is lost: it is
        # repeated until the answer is there. The broker has one thread: whoever connects after it wrote
        # that line meets the new files.
        offset = self._files.log.stat().st_size
        reload = asyncio.create_task(
            self._until_logged("Reloading config.", offset, _RELOAD_WITHIN, "did not reload")
        )
        while not reload.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
            await asyncio.wait({reload}, timeout=_SIGNAL_AGAIN)
        await reload

    async def _until_logged(self, text: str, offset: int, within: float, problem: str) -> None:
        try:
            async with asyncio.timeout(within):
                while text not in self.log_text(offset):
                    if self.pid is None:
                        raise BrokerError(f"mosquitto ended and {problem}; its log ends:\n{self._log_end()}")
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise BrokerError(
                f"mosquitto {problem} within {within:g} s; its log ends:\n{self._log_end()}"
            ) from None

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), _STOP_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _log_end(self) -> str:
        return "\n".join(self.log_text().splitlines()[-15:])


def _free_ports(address: str) -> Ports:
    mtls, jwt, password, ingest = free_ports(4, address)
    return Ports(mtls=mtls, jwt=jwt, password=password, ingest=ingest)
