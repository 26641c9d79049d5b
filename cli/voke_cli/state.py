"""The state directory of single-machine mode: what was generated once and must not be lost.

    STATE/lock                     held while a gateway runs on it
    STATE/fleet-ca/{ca.crt,ca.key} issues client certificates for plants that bring none
    STATE/plants/NAME/…            generated material, and plant.json saying whose it is

Everything is readable by its owner only. Material is written once: a file that exists is never replaced.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from voke_api.resources import Plant
from voke_operator.credentials import material
from voke_operator.credentials.material import Material


class StateError(Exception):
    """The state directory cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KnownPlant:
    """A plant for which material was generated here."""

    name: str
    plant_id: str
    method: str


def default_directory() -> Path:
    """``$XDG_STATE_HOME/voke``, which is ``~/.local/state/voke`` unless set."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "voke"


class State:
    """A state directory, made when first needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one gateway.

        Raises:
            StateError: another process holds it, or it is not ours to write.
        """
        self._make(self.directory)
        lock = self.directory / "lock"
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"cannot open {lock}: {error.strerror}; give another --state") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(
                    f"another voke run is using {self.directory}: stop it, or give this one its own --state"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def known(self) -> tuple[KnownPlant, ...]:
        """The plants for which material was generated here.

        Raises:
            StateError: what is said of one of them cannot be read.
        """
        paths = sorted((self.directory / "plants").glob("*/plant.json"))
        return tuple(_read_plant(path) for path in paths)

    def material(self, name: str) -> Material:
        """All that was generated for the plant of that name."""
        directory = self.directory / "plants" / name
        names = (
            material.HMAC_KEY,
            material.TLS_CERTIFICATE,
            material.TLS_KEY,
            material.ISSUER,
            material.JWT_PRIVATE,
        )
        return _read(directory, *(each for each in names if (directory / each).exists()))

    def generated(self, plant: Plant, now: datetime) -> Material:
        """What the Plant needs and brings no Secret for; made at the first call, the same ever after.

        Raises:
            StateError: the directory holds material of another plant under this name, or cannot be written.
            UnusableIssuerError: the fleet CA cannot issue.
        """
        spec = plant.spec
        directory = self.directory / "plants" / plant.metadata.name
        self._claim(directory, plant)
        result: Material = {}
        if spec.credentials.hmac is None:
            if not (directory / material.HMAC_KEY).exists():
                _write_once(directory, material.new_hmac_key(secrets.token_bytes))
            result |= _read(directory, material.HMAC_KEY)
        if spec.auth.method == "MTLS" and spec.credentials.mtls is None:
            if not (directory / material.TLS_CERTIFICATE).exists():
                issuer = self.fleet_ca(now)
                # An interrupted first run may have left a key without its certificate; it was never used.
                (directory / material.TLS_KEY).unlink(missing_ok=True)
                made = material.new_client_certificate(spec.plant_id, issuer, now)
                _write_once(directory, {name: made[name] for name in (material.TLS_KEY, material.ISSUER)})
                _write_once(directory, {material.TLS_CERTIFICATE: made[material.TLS_CERTIFICATE]})
            result |= _read(directory, material.TLS_CERTIFICATE, material.TLS_KEY, material.ISSUER)
        if spec.auth.method == "JWT" and spec.credentials.jwt is None:
            if not (directory / material.JWT_PRIVATE).exists():
                made = material.new_jwt_keys()
                _write_once(directory, {material.JWT_PRIVATE: made[material.JWT_PRIVATE]})
            result |= _read(directory, material.JWT_PRIVATE)
        return result

    def fleet_ca(self, now: datetime) -> Material:
        """The CA that issues generated client certificates; made at the first call."""
        directory = self.directory / "fleet-ca"
        self._make(directory)
        if not (directory / material.ISSUER).exists():
            (directory / material.ISSUER_KEY).unlink(missing_ok=True)
            made = material.new_fleet_ca(now, f"voke-fleet CA {secrets.token_hex(4)}")
            _write_once(directory, {material.ISSUER_KEY: made[material.ISSUER_KEY]})
            _write_once(directory, {material.ISSUER: made[material.ISSUER]})
        return _read(directory, material.ISSUER, material.ISSUER_KEY)

    def _claim(self, directory: Path, plant: Plant) -> None:
        """See that the directory is this plant's."""
        self._make(directory)
        wanted = KnownPlant(plant.metadata.name, plant.spec.plant_id, plant.spec.auth.method)
        path = directory / "plant.json"
        if path.exists():
            found = _read_plant(path)
            if found.plant_id != wanted.plant_id:
                raise StateError(
                    f"{directory} holds the keys of plant {found.plant_id}, and {wanted.name} now is "
                    f"{wanted.plant_id}: use another name or another --state"
                )
            if found == wanted:
                return
            path.unlink()
        content = {"plantId": wanted.plant_id, "method": wanted.method}
        _write_once(directory, {"plant.json": json.dumps(content).encode()})

    def _make(self, directory: Path) -> None:
        try:
            for path in reversed((directory, *directory.parents)):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot make {directory}: {error.strerror}; give another --state") from error


def _read_plant(path: Path) -> KnownPlant:
    """Raises StateError: it is not what was written here."""
    try:
        entry = json.loads(_read(path.parent, path.name)[path.name])
        plant_id, method = entry["plantId"], entry["method"]
    except (ValueError, KeyError, TypeError):
        raise StateError(
            f"{path} is damaged: restore it, or move {path.parent} away (its keys have then to be registered anew)"
        ) from None
    return KnownPlant(path.parent.name, str(plant_id), str(method))


def _read(directory: Path, *names: str) -> Material:
    try:
        return {name: (directory / name).read_bytes() for name in names}
    except OSError as error:
        raise StateError(f"cannot read {error.filename}: {error.strerror}") from error


def _write_once(directory: Path, files: Material) -> None:
    """Create each file whole, for its owner only: a crash leaves it out rather than half-written."""
    for name, content in files.items():
        part = directory / f".{name}.{secrets.token_hex(4)}"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(part, directory / name)
        except FileExistsError:
            raise StateError(f"{directory / name} exists already: is another voke run starting?") from None
        except OSError as error:
            raise StateError(f"cannot write {directory / name}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
