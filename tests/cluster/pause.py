"""The image that a pod's sandbox runs: one static program that does nothing, made here because no registry is asked."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Final

IMAGE: Final = "localhost/voke/pause:1"
_PROGRAM: Final = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"


def pause_archive(directory: Path) -> Path:
    """Write the image as an archive that ``ctr images import`` takes."""
    program = directory / "pause"
    subprocess.run(
        ["cc", "-static", "-O1", "-o", str(program), "-x", "c", "-"], input=_PROGRAM.encode(), check=True
    )
    layer = _tar({"pause": program.read_bytes()}, mode=0o755)
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {"manifest.json": manifest, "config.json": config}
    archive = directory / "pause.tar"
    written = {name: json.dumps(content).encode() for name, content in files.items()}
    archive.write_bytes(_tar({**written, "layer.tar": layer}))
    return archive


def _tar(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _architecture() -> str:
    machine = subprocess.run(["uname", "-m"], check=True, text=True, capture_output=True).stdout.strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
