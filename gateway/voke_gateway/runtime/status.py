"""What ``/status`` says: live state of the running plants, put into the contract's shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from voke_api.key_ids import certificate_id, key_id
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.status import (
    CommandCounters,
    ConnectionStatus,
    CredentialStatus,
    DeviceStatus,
    FaultStatus,
    OutboxStatus,
    PlantStatus,
    SessionStatus,
)
from voke_gateway.drivers.base import DeviceState, Fault
from voke_gateway.outbox.store import Store
from voke_gateway.plant.command_plan import Err
from voke_gateway.plant.runner import PlantRunner


def plant_status(
    runner: PlantRunner,
    store: Store,
    credentials: Iterable[CredentialStatus],
    *,
    stopping: bool,
    problem: str = "",
) -> PlantStatus:
    """One plant, as it is now. ``problem``: why it is not as its bundle says."""
    plant, stats, waiting = runner.plant, runner.stats, store.state(runner.plant.name)
    return PlantStatus(
        name=plant.name,
        plant_id=plant.plant_id,
        state=_state(plant, stopping=stopping, problem=problem),
        message=f"{problem}; the last good version runs on" if problem else "",
        read_only=plant.read_only,
        session=SessionStatus(
            connected=stats.connected,
            since=stats.session_since,
            reason=stats.uplink_reason,
            message=stats.uplink_problem,
        ),
        last_snapshot_at=stats.last_snapshot_at,
        last_delivered_at=stats.last_delivered_at,
        outbox=OutboxStatus(
            messages=waiting.messages,
            bytes=waiting.bytes,
            oldest_at=waiting.oldest_at,
            dropped=waiting.dropped,
            quarantined=waiting.quarantined,
        ),
        connections=tuple(
            ConnectionStatus(
                name=name,
                connected=connection.state.connected,
                last_error=connection.state.last_error,
                last_success_at=connection.state.last_success_at,
            )
            for name, connection in runner.connections.items()
        ),
        devices=_devices(runner),
        alarms_active=runner.alarms.active,
        commands=CommandCounters(
            completed=stats.commands["COMPLETED"],
            failed={err.value: stats.commands[err.value] for err in Err if stats.commands[err.value]},
            ignored=stats.commands["ignored"],
            in_progress=stats.commands_in_progress,
        ),
        credentials=tuple(credentials),
    )


def _state(
    plant: ResolvedPlant, *, stopping: bool, problem: str
) -> Literal["Running", "Suspended", "Stopping", "Invalid"]:
    if stopping:
        return "Stopping"
    if problem:
        return "Invalid"
    return "Suspended" if plant.suspend else "Running"


def _devices(runner: PlantRunner) -> tuple[DeviceStatus, ...]:
    never = DeviceState()
    found = []
    for device in runner.plant.devices:
        connection = runner.connections.get(device.connection)
        known = connection.state.devices if connection is not None else {}
        state = known.get(device.external_id, never)
        found.append(
            DeviceStatus(
                external_id=device.external_id,
                type=device.type,
                last_read_at=state.last_success_at,
                fault=None if state.fault is None else _fault(state.fault),
                bad_points={field: _fault(fault) for field, fault in state.bad_points.items()},
                in_back_off=state.in_back_off,
                expect_offline=device.expect_offline,
            )
        )
    return tuple(found)


def _fault(fault: Fault) -> FaultStatus:
    return FaultStatus(kind=fault.kind, detail=fault.detail)


def credential_status(plant: ResolvedPlant, credentials: PlantCredentials) -> tuple[CredentialStatus, ...]:
    """Which credentials are in use. Ids come from public halves only: a hash of a secret could be guessed."""
    found = [CredentialStatus(name="hmac")]
    if plant.auth_method == "PASSWORD":
        found.append(CredentialStatus(name="password"))
    if plant.auth_method == "MTLS" and credentials.tls_certificate is not None:
        leaf = x509.load_pem_x509_certificate(credentials.tls_certificate)
        found.append(
            CredentialStatus(
                name="mtls",
                key_id=certificate_id(leaf.fingerprint(SHA256())),
                not_after=leaf.not_valid_after_utc.timestamp(),
            )
        )
    if plant.auth_method == "JWT" and credentials.jwt_private_key is not None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        from voke_gateway.uplink.tokens import signing_key  # only plants with tokens need it

        key = signing_key(credentials.jwt_private_key)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        found.append(CredentialStatus(name="jwt", key_id=key_id(public)))
    return tuple(found)
