"""Kinds of machines: whose a program is, and programs of another kind run here, by qemu.

The kernel hands such programs to qemu while something is registered with it (binfmt_misc). What is registered here has
a name of its own and is gone when the process that asked for it is, however that ends. Needs root, and what
``scripts/install-emulation`` installs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

Architecture = Literal["amd64", "arm64"]
"""As Debian and images name it."""
NATIVE: Final[Architecture] = "arm64" if platform.machine() == "aarch64" else "amd64"
"""Of this machine."""

_ELF_MACHINES: Final[dict[Architecture, int]] = {"amd64": 62, "arm64": 183}
_ELF: Final = b"\x7fELF"
_QEMU: Final[dict[Architecture, str]] = {"arm64": "qemu-aarch64-static"}

_SHELL: Final = ("unshare", "--mount", "sh", "-c")
# Whoever is killed closes this one's standard input. Its own view of mounts, so the machine's stay as they are; what is
# registered counts everywhere.
_REGISTERED: Final = r"""
set -eu
mount -t binfmt_misc binfmt_misc "$1"
printf %s "$3" >"$1/register"
trap 'echo -1 >"$1/$2"' EXIT
echo registered
read -r _ || true
"""


class EmulationError(RuntimeError):
    """Programs of that machine cannot run here; the message says what to do."""


def architecture_of(path: Path) -> Architecture | Literal["another"] | None:
    """Of a program or a library; None: it is neither."""
    with path.open("rb") as file:
        head = file.read(20)
    if not head.startswith(_ELF):
        return None
    machine = int.from_bytes(head[18:20], "little")
    return next((each for each, number in _ELF_MACHINES.items() if number == machine), "another")


@contextmanager
def emulated(architecture: Architecture) -> Iterator[None]:
    """Programs of that machine run here meanwhile, in containers as well.

    Raises:
        EmulationError: not root, no qemu for it, or the kernel has no binfmt_misc.
    """
    if architecture == NATIVE:
        yield
        return
    if os.getuid() != 0:
        raise EmulationError("only root can have another machine's programs run here")
    qemu = shutil.which(_QEMU.get(architecture, "?"))
    if qemu is None:
        raise EmulationError(f"there is no qemu for {architecture}; `scripts/install-emulation` installs it")
    name = f"voke-fleet-{architecture}-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory(prefix="voke-binfmt-") as place,
        subprocess.Popen(
            [*_SHELL, _REGISTERED, "sh", place, name, _registration(name, architecture, qemu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt from the keyboard is for us, who end it
        ) as registered,
    ):
        assert registered.stdout, "a pipe"
        assert registered.stderr, "a pipe"
        if not registered.stdout.readline():
            raise EmulationError(f"the kernel takes no emulator: {registered.stderr.read().decode()}")
        yield


def _registration(name: str, architecture: Architecture, qemu: str) -> str:
    """For executables and libraries (2, 3) of 64 bits, low byte first; opened once (F), so no container need have it."""
    number = _ELF_MACHINES[architecture].to_bytes(2, "little")
    magic = _ELF + b"\x02\x01\x01\x00" + bytes(8) + b"\x02\x00" + number
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    written, masked = ("".join(f"\\x{byte:02x}" for byte in each) for each in (magic, mask))
    return f":{name}:M::{written}:{masked}:{qemu}:F"
