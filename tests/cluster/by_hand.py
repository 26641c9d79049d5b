"""``make cluster``: a Kubernetes cluster on this computer for a person to try things in, three Plants in it, and a PLC for a fourth.

``up`` starts it in the background, shows how to reach it, and returns; ``down`` ends it. ``serve`` is that
background process: everything ends with it. Root only. What ``down`` leaves in ``build/cluster``, or in the directory
that the environment names, are logs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from tests.cluster import binaries, cluster, image
from tests.cluster.image import ImageError
from tests.cluster.machine import ADDRESS, MachineError, check_possible
from tests.cluster.release import OWN, RunningRelease
from tests.cluster.showcase import EXAMPLES, Registrar, ca_secret, showcase
from tests.support.loops import beside
from voke_operator.kube.client import Client
from voke_operator.kube.reach import from_kubeconfig
from voke_sim.by_hand import DEFAULT_PORT, serve_inverter
from voke_sim.voke.judge import Verdict

STATE_VARIABLE: Final = "VOKE_CLUSTER_DIRECTORY"
"""Names another directory than ``build/cluster``, so that there can be several of these clusters."""
STATE: Final = Path(
    os.environ.get(STATE_VARIABLE) or Path(__file__).parents[2] / "build" / "cluster"
).absolute()
_PID: Final = STATE / "pid"
_READY: Final = STATE / "ready"
_LOG: Final = STATE / "log"
_VOKE_LOG: Final = STATE / "voke.log"
_VOKE: Final = STATE / "voke"
_KUBECONFIG: Final = STATE / "kubeconfig"
_MADE: Final = (_VOKE, _KUBECONFIG, _READY, _PID)
_LOGS: Final = (_LOG, _VOKE_LOG)
_UP_WITHIN: Final = 300.0
_DOWN_WITHIN: Final = 60.0


def up() -> None:
    """Start it, unless it runs, and say how to reach it.

    Raises:
        SystemExit: it did not come up; the message says why.
    """
    if _running() is None:
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        if foreign := {each.name for each in STATE.iterdir()} - {each.name for each in (*_MADE, *_LOGS)}:
            sys.exit(
                f"{STATE} is no cluster's: it holds {', '.join(sorted(foreign))}; name an empty directory"
            )
        try:
            check_possible()
            binaries.build()
            image.build()
        except (MachineError, ImageError, binaries.BinariesError) as error:
            sys.exit(str(error))
        _clear()
        with _LOG.open("wb") as log:
            serving = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.by_hand", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _PID.write_text(str(serving.pid))
        print("Starting the cluster; this takes about a minute.", file=sys.stderr)
        deadline = time.monotonic() + _UP_WITHIN
        while not _READY.exists():
            if serving.poll() is not None or time.monotonic() > deadline:
                down()
                sys.exit(f"the cluster did not come up; {_LOG} ends:\n{_LOG.read_text()[-3000:]}")
            time.sleep(0.2)
    print(_words())


def down() -> None:
    """End it, if it runs, wait for that, and remove what it made but for the logs: there are keys in it."""
    pid = _running()
    if pid is not None:
        print("Ending the cluster; this takes up to half a minute.", file=sys.stderr)
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_WITHIN
    while _running() is not None:
        if time.monotonic() > deadline:
            sys.exit(f"process {pid} does not end; its log is {_LOG}")
        time.sleep(0.1)
    if _LOG.exists():  # else it was never up here, and what is here is somebody else's
        _clear()


def _clear() -> None:
    """Remove what a cluster made, but for its logs."""
    for made in _MADE:
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink(missing_ok=True)


def serve() -> None:
    """Run the cluster until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), socket.create_server(("127.0.0.1", 0)) as outside:
        with cluster.running() as made, made.machine.entered():
            address = f"https://127.0.0.1:{outside.getsockname()[1]}"
            _KUBECONFIG.touch(mode=0o600)
            _KUBECONFIG.write_text(made.plane.kubeconfig.read_text().replace(made.plane.url, address))
            release = RunningRelease(made)
            release.import_images()
            release.install()
            asyncio.run(_world(release, outside))


async def _world(release: RunningRelease, outside: socket.socket) -> None:
    """PLCs, Voke and what people do there, until cancelled."""
    plane = release.cluster.plane
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _this_task().cancel)
    with _VOKE_LOG.open("w", buffering=1) as log, contextlib.suppress(asyncio.CancelledError):

        def tell(plant: str, words: str) -> None:
            print(f"{plant:<16} {words}", file=log)

        def judged(topic: str, payload: bytes, verdict: Verdict) -> None:
            said = "verified" if verdict.reason is None else f"REFUSED: {verdict.reason}: {verdict.detail}"
            print(f"{topic} {payload.decode(errors='replace')} {said}", file=log)

        admin = Client(await from_kubeconfig(plane.kubeconfig))
        async with (
            aclosing(admin),
            showcase(_VOKE, tell=tell) as demo,
            Registrar(demo.voke, admin, own=OWN, tell=tell).registering(),
            beside(serve_inverter(DEFAULT_PORT, host=ADDRESS, ended=asyncio.Event())),
            await asyncio.start_server(_forward_to(plane.port), sock=outside),
        ):
            demo.voke.ingest.on_judged = judged
            apply = partial(plane.kubectl, "apply", "-n", "default", "-f")
            await asyncio.to_thread(apply, "-", given=ca_secret(demo.voke))
            await asyncio.to_thread(apply, str(EXAMPLES))
            wait = ("wait", "plants", "--all", "-n", "default", "--for=condition=Ready", "--timeout=50s")
            while (await asyncio.to_thread(plane.kubectl, *wait, check=False)).returncode:
                await asyncio.sleep(1)
            demo.command()
            _READY.touch()
            await asyncio.Event().wait()


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _forward_to(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What comes to a socket of the outside goes to a port of the machine's network."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        except OSError:
            writer.close()

    return forward


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(65_536):
            writer.write(content)
            await writer.drain()
    writer.close()


def _running() -> int | None:
    """Process id of the background process, if it is there."""
    try:
        pid = int(_PID.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return pid if b"tests.cluster.by_hand" in command and state != "Z" else None


def _words() -> str:
    path = os.pathsep.join(str(each) for each in (binaries.binaries(), binaries.tools()))
    plugins = Path(sys.prefix) / "bin"
    by_sudo = ", in a shell of root's (sudo -s)" if "SUDO_USER" in os.environ else ""
    return f"""\
A cluster runs on this computer, with the chart and three Plants. To use it{by_sudo}:

    export KUBECONFIG={_KUBECONFIG}
    export PATH={path}:$PATH:{plugins}

    kubectl get plants
    kubectl voke status                         # and what to do first
    kubectl voke probe brno-roof                # every register, raw and as a value
    kubectl describe plant brno-roof
    kubectl explain plant.spec.devices
    kubectl logs voke-gw-default-0-0
    kubectl delete pod voke-gw-default-0-0      # and see the Plants come back
    helm test voke-fleet -n {OWN}
    tail -f {_VOKE_LOG}     # what arrives at Voke, and its verdict

A PLC for a Plant of your own is at {ADDRESS}, port {DEFAULT_PORT}: docs/try.md. `{"sudo " if by_sudo else ""}make cluster-down` ends it."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.by_hand", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "serve"))
    {"up": up, "down": down, "serve": serve}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
