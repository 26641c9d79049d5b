"""What the broker knows of its users: it renders them as files and says whether the broker must reload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509

from voke_sim.voke import passwords, pki
from voke_sim.voke.files import Files, write_private
from voke_sim.voke.passwords import PasswordLogin

JwtKeys = Literal["per-plant", "listener"]
"""A public key for each plant, or one for all of them as on Voke's own listener (protocol §3)."""

INGEST_USERNAME = "voke"


@dataclass
class _PasswordUser:
    plant_id: str
    login: PasswordLogin
    stored: str = field(repr=False)


class Access:
    """The three listeners' users. Methods that return True changed what the broker reads at a reload."""

    def __init__(self, files: Files, *, jwt_keys: JwtKeys = "per-plant") -> None:
        self.authority = pki.CertificateAuthority()
        self.jwt_keys = jwt_keys
        self._files = files
        self._trusted: dict[x509.Name, tuple[bytes, bytes]] = {}
        self._issued: dict[str, list[int]] = {}
        self._passwords: dict[str, _PasswordUser] = {}

    def write_all(
        self, *, ingest_password: str, command_topic: str, address: str = pki.BROKER_ADDRESS
    ) -> None:
        """Everything that a broker at this address needs before its first start."""
        files = self._files
        certificate, key = self.authority.issue_broker(address)
        write_private(files.broker_certificate, certificate)
        write_private(files.broker_key, key)
        write_private(files.broker_ca, pki.pem(self.authority.certificate))
        write_private(files.identity_access, "pattern readwrite cpi/%u/#\n")
        write_private(files.ingest_passwords, f"{INGEST_USERNAME}:{passwords.hashed(ingest_password)}\n")
        write_private(
            files.ingest_access,
            f"user {INGEST_USERNAME}\ntopic read cpi/#\ntopic write cpi/+/{command_topic}\n",
        )
        self._write_trust()
        self._write_passwords()

    # -- mTLS

    def issue_certificate(self, plant_id: str, csr_pem: bytes) -> bytes:
        """Sign a plant's request; the certificate as PEM. The broker trusts it already.

        Raises:
            pki.CertificateError: the request is unusable or for another plant.
        """
        certificate = self.authority.issue_plant(plant_id, pki.read_request(csr_pem, plant_id))
        self._issued.setdefault(plant_id, []).append(certificate.serial_number)
        return pki.pem(certificate)

    def trust(self, ca_pem: bytes, crl_pem: bytes | None) -> bool:
        """Accept certificates of another CA; given again, its revocation list is replaced.

        Raises:
            pki.CertificateError: the CA comes without a usable revocation list.
        """
        subject = pki.check_trust(ca_pem, crl_pem)
        entry = (ca_pem, crl_pem or b"")
        if self._trusted.get(subject) == entry:
            return False
        self._trusted[subject] = entry
        self._write_trust()
        return True

    # -- JWT

    def register_key(self, plant_id: str, public_key_der: bytes) -> None:
        """Store a public key as it is: whether it is PKCS#1 shows at the login, as with Voke.

        Raises:
            ValueError: the listener has one key for all plants, and it is another one.
        """
        if self.jwt_keys == "per-plant":
            write_private(self._files.jwt_keys / f"{plant_id}.der", public_key_der)
            return
        present = self._files.jwt_listener_key
        if present.exists() and present.read_bytes() != public_key_der:
            raise ValueError(
                "the listener has one public key for all plants, and it is another one; "
                "use the same key, or start the local Voke with a key per plant"
            )
        write_private(present, public_key_der)

    # -- PASSWORD

    def provision_password(self, plant_id: str) -> PasswordLogin:
        """A user name and a new password for the plant; needs a reload."""
        others = {user.login.username for plant, user in self._passwords.items() if plant != plant_id}
        login = passwords.provision(plant_id, others)
        self._passwords[plant_id] = _PasswordUser(plant_id, login, passwords.hashed(login.password))
        self._write_passwords()
        return login

    # -- all

    def revoke(self, plant_id: str) -> bool:
        """Refuse the plant's next login.

        A certificate of a CA that is not ours is revoked by that CA: give its new list to :meth:`trust`.
        """
        (self._files.jwt_keys / f"{plant_id}.der").unlink(missing_ok=True)
        serials = self._issued.pop(plant_id, [])
        for serial in serials:
            self.authority.revoke(serial)
        if serials:
            self._write_trust()
        had_password = self._passwords.pop(plant_id, None) is not None
        if had_password:
            self._write_passwords()
        return bool(serials) or had_password

    def _write_trust(self) -> None:
        certificates = [pki.pem(self.authority.certificate), *(ca for ca, _ in self._trusted.values())]
        lists = [self.authority.crl(), *(crl for _, crl in self._trusted.values())]
        write_private(self._files.client_cas, b"\n".join(certificates))
        write_private(self._files.client_crls, b"\n".join(lists))

    def _write_passwords(self) -> None:
        users = self._passwords.values()
        write_private(
            self._files.plant_passwords, "".join(f"{user.login.username}:{user.stored}\n" for user in users)
        )
        write_private(
            self._files.plant_access,
            "".join(f"user {user.login.username}\ntopic readwrite cpi/{user.plant_id}/#\n" for user in users),
        )
