"""Compiles the broker's plugins, once per version of their source, into the user's cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("jwt_auth.c")
"""Logins by JWT."""
CERTIFICATES = Path(__file__).with_name("certificates.c")
"""Which certificate a session was opened with."""

FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror")
LIBRARIES = ("-lcjson", "-lcrypto")
PACKAGES = ("mosquitto-dev", "libmosquitto-dev", "libcjson-dev", "libssl-dev")

_COMPILE_WITHIN = 100.0


class PluginBuildError(RuntimeError):
    """The plugin could not be compiled; the message says what to install, or what the compiler said."""


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/voke-fleet``, by default ``~/.cache/voke-fleet``."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "voke-fleet"


async def build(cache: Path | None = None, source: Path = SOURCE) -> Path:
    """A compiled plugin; built if this source was not built here before.

    Raises:
        PluginBuildError: no compiler, headers missing, or the cache cannot be written.
    """
    cache = cache or cache_directory()
    library = cache / _library(source)
    if library.is_file():
        return library
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise PluginBuildError(
            f"no C compiler was found; install one and the headers: apt-get install gcc {' '.join(PACKAGES)}"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Built under another name and moved: two processes may build at once, and one may be killed.
        with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as scratch:
            built = Path(scratch) / library.name
            await _compile(compiler, source, built)
            built.replace(library)
    except OSError as error:
        raise PluginBuildError(
            f"the plugin cannot be written to {cache}: {error.strerror}; set XDG_CACHE_HOME"
        ) from error
    return library


def _library(source: Path) -> str:
    """A name of its own for each version of the source, set of flags and kind of machine."""
    key = hashlib.sha256(
        b"\0".join([source.read_bytes(), " ".join(FLAGS).encode(), platform.machine().encode()])
    )
    return f"{source.stem}-{key.hexdigest()[:16]}.so"


async def _compile(compiler: str, source: Path, target: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        compiler, *FLAGS, "-shared", str(source), "-o", str(target), *LIBRARIES,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_COMPILE_WITHIN):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PluginBuildError(
            f"{compiler} did not compile {source.name} within {_COMPILE_WITHIN:g} s"
        ) from None
    if process.returncode == 0:
        return
    said = output.decode(errors="replace").strip()
    if "No such file or directory" in said or "cannot find -l" in said:
        raise PluginBuildError(
            f"headers or libraries are missing: apt-get install {' '.join(PACKAGES)}\n{said}"
        )
    raise PluginBuildError(f"{compiler} could not compile {source.name}:\n{said}")
