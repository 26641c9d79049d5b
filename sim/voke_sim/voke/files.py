"""Where the local broker keeps what: one directory, every file readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path


class Files:
    """The files of one broker, by their role."""

    def __init__(self, directory: Path) -> None:
        directory = directory.absolute()
        self.directory = directory
        self.configuration = directory / "mosquitto.conf"
        self.log = directory / "mosquitto.log"
        self.memory = directory / "mosquitto.db"
        """Sessions and retained messages, over a restart."""
        self.broker_ca = directory / "ca.crt"
        """The root that clients need to trust."""
        self.broker_certificate = directory / "broker.crt"
        self.broker_key = directory / "broker.key"
        self.client_cas = directory / "client-cas.crt"
        self.client_crls = directory / "client-cas.crl"
        self.jwt_keys = directory / "jwt-keys"
        """One PKCS#1 DER file per plant."""
        self.jwt_listener_key = directory / "jwt-public.der"
        self.plant_passwords = directory / "passwd-devices"
        self.plant_access = directory / "acl-devices"
        self.identity_access = directory / "acl-identity"
        """For user names that are plant ids: mTLS and JWT."""
        self.ingest_passwords = directory / "passwd-voke"
        self.ingest_access = directory / "acl-voke"

    def create(self) -> None:
        """Make the directories and remove what an earlier broker remembered there."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.jwt_keys.mkdir(mode=0o700, exist_ok=True)
        for stale in (self.memory, self.jwt_listener_key, *self.jwt_keys.glob("*.der")):
            stale.unlink(missing_ok=True)


def write_private(path: Path, content: bytes | str) -> None:
    """Replace a file whole, mode 0600: its reader sees the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    scratch.replace(path)
