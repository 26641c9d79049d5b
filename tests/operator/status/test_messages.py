"""What `kubectl describe plant` tells a stranger: the whole message of Ready for each thing that can be wrong.

Read them as somebody who was woken by them: is it said what is wrong, where, and what to do first? They are in one
table so that they are read one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.plants import PLANT_ID
from tests.support.site_facts import (
    DEVICES,
    IN_USE,
    NO_ANSWER,
    REFUSED,
    SILENT,
    WELL,
    on_gateway,
    saying,
    seen,
    site,
)
from voke_api.problems import Problem, Severity
from voke_api.resolve import resolve
from voke_api.resources import Plant
from voke_api.resources.observed import CredentialInUse
from voke_api.resources.pool import Storage
from voke_api.status import FaultStatus, PlantStatus, SessionStatus
from voke_operator import names
from voke_operator.credentials.decisions import Finding as CredentialFinding
from voke_operator.credentials.decisions import Reason as CredentialReason
from voke_operator.credentials.decisions import Refuse
from voke_operator.credentials.given import credentials_from_secrets
from voke_operator.credentials.issuer import Issuer, read_issuer
from voke_operator.credentials.ledger import decide
from voke_operator.credentials.material import new_fleet_ca
from voke_operator.credentials.registration import registered
from voke_operator.credentials.secret import Secret
from voke_operator.names import ALLOW_LABEL
from voke_operator.status import causes
from voke_operator.status.conditions import plant_status, ready
from voke_operator.status.facts import (
    BundleFacts,
    Cause,
    CredentialFacts,
    PlacementFacts,
    PlantFacts,
    Seen,
    Silence,
)
from voke_operator.status.reasons import Reason, known

NAMESPACE = "energy"
NEVER_RAN = BundleFacts()


def problems(plant: Plant) -> tuple[Problem, ...]:
    return tuple(resolve(plant, {}, None)[1])


NOW = datetime(2026, 11, 25, tzinfo=UTC)


def keys(*found: Cause) -> PlantFacts:
    return replace(WELL, credentials=CredentialFacts(cause=found[0], in_use=IN_USE))


def brought(plant: Plant, data: dict[str, bytes], *, labels: dict[str, str] | None = None) -> Iterator[Cause]:
    """What is wrong with the Secret brno-keys; without data there is none."""
    secrets = {"brno-keys": Secret("brno-keys", NAMESPACE, labels=labels or {}, data=data)} if data else {}
    given = credentials_from_secrets(plant, None, secrets, now=NOW)
    return (causes.of_secret(problem, namespace=NAMESPACE) for problem in given.problems)


def refused(
    *,
    secret: Secret | None = None,
    recorded: tuple[CredentialInUse, ...] = (),
    issuer: Issuer | CredentialFinding | None = None,
) -> Iterator[Cause]:
    """Why the plant's own Secret is not as it should be."""
    plant = site()
    metadata = plant.metadata.model_copy(update={"uid": "8f14e45f"})
    decision = decide(
        plant.model_copy(update={"metadata": metadata}),
        secret,
        recorded=recorded,
        copy=None,
        issuer=issuer,
        now=NOW,
    )
    assert isinstance(decision, Refuse)
    return (causes.of(each.reason, each.message) for each in decision.problems)


def issuer(*, made: datetime) -> Issuer | CredentialFinding:
    """The fleet's CA, made then."""
    secret = Secret("voke-fleet-ca", "voke-system", labels={}, data=new_fleet_ca(made, "fleet"))
    return read_issuer(secret, now=NOW)


def placed(cause: Cause) -> PlantFacts:
    return replace(WELL, placement=PlacementFacts(shard=0, gateway="voke-gw-default-0", cause=cause))


def session(reason: str, message: str) -> PlantFacts:
    return saying(on_gateway(session=SessionStatus(reason=reason, message=message)))


with_profile = site()
first_device = with_profile.spec.devices[0].model_copy(update={"profile": "acme-hybrid"})
with_profile = with_profile.model_copy(
    update={
        "spec": with_profile.spec.model_copy(
            update={"devices": (first_device, *with_profile.spec.devices[1:])}
        )
    }
)

OUT_OF_MEMORY = causes.out_of_memory(
    namespace="energy", pool="default", gateway="voke-gw-default-0", limit="512Mi"
)

CASES: dict[str, tuple[PlantFacts, str, str, str]] = {
    "all is well": (WELL, "True", "AllWell", "5 of 5 devices are read"),
    # -- what was asked for
    "profile missing": (
        replace(WELL, plant=with_profile, problems=problems(with_profile), bundle=NEVER_RAN),
        "False",
        "Invalid",
        (
            "spec.devices[0].profile: there is no DeviceProfile acme-hybrid in this namespace. The plant does not run "
            "until this is mended."
        ),
    ),
    "profile missing in a new version": (
        replace(WELL, generation=4, plant=with_profile, problems=problems(with_profile)),
        "False",
        "Invalid",
        (
            "spec.devices[0].profile: there is no DeviceProfile acme-hybrid in this namespace. The last good version "
            "(generation 3) runs on."
        ),
    ),
    "pool missing": (
        replace(WELL, plant=site(pool="north"), problems=problems(site(pool="north")), bundle=NEVER_RAN),
        "False",
        "PoolMissing",
        (
            "spec.pool: there is no GatewayPool north in namespace energy. Apply it, or correct spec.pool; only the pool "
            "default need not exist. The plant does not run until this is mended."
        ),
    ),
    "plantId used twice": (
        placed(
            causes.of(
                "DuplicatePlantId",
                "its plantId is that of Plant brno-roof-2, which runs already; delete one of the two",
            )
        ),
        "False",
        "DuplicatePlantId",
        "its plantId is that of Plant brno-roof-2, which runs already; delete one of the two",
    ),
    "suspended": (
        replace(WELL, plant=site(suspend=True)),
        "False",
        "Suspended",
        "spec.suspend is true: no PLC is read and nothing is sent; set it to false to go on",
    ),
    # -- credentials
    "secretRef missing": (
        keys(*brought(site(credentials={"hmac": {"secretRef": {"name": "brno-keys"}}}), {})),
        "False",
        "SecretMissing",
        (
            "Plant brno-roof-3, spec.credentials.hmac.secretRef: there is no Secret brno-keys in namespace energy with the "
            "label voke.lovinka.com/allow=true, which lets Plants use it. Create it, or leave the secretRef out to have it "
            "generated; if it is there: kubectl -n energy label secret brno-keys voke.lovinka.com/allow=true"
        ),
    ),
    "secretRef of the password missing": (
        keys(
            *brought(
                site(
                    auth={"method": "PASSWORD"},
                    credentials={"password": {"secretRef": {"name": "brno-login"}}},
                ),
                {},
            )
        ),
        "False",
        "SecretMissing",
        (
            "Plant brno-roof-3, spec.credentials.password.secretRef: there is no Secret brno-login in namespace energy with "
            "the label voke.lovinka.com/allow=true, which lets Plants use it. Create it; if it is there: "
            "kubectl -n energy label secret brno-login voke.lovinka.com/allow=true"
        ),
    ),
    "secretRef without the label": (
        keys(
            *brought(
                site(credentials={"hmac": {"secretRef": {"name": "brno-keys"}}}),
                {"hmac.key": b"0123456789abcdef" * 4},
            )
        ),
        "False",
        "SecretNotAllowed",
        (
            "Secret brno-keys lacks the label that lets Plants use it. If it is meant for this one: "
            "kubectl -n energy label secret brno-keys voke.lovinka.com/allow=true"
        ),
    ),
    "secretRef without its key": (
        keys(
            *brought(
                site(credentials={"hmac": {"secretRef": {"name": "brno-keys"}}}),
                {"hmac.txt": b"0123456789abcdef" * 4},
                labels={ALLOW_LABEL: "true"},
            )
        ),
        "False",
        "SecretInvalid",
        (
            'Secret brno-keys, stringData["hmac.key"]: the Secret lacks the key hmac.key, which Plant brno-roof-3 needs; it '
            "has hmac.txt"
        ),
    ),
    "a stranger's Secret": (
        keys(*refused(secret=Secret("voke-plant-brno-roof-3", NAMESPACE, labels={}, data={}, type="Opaque"))),
        "False",
        "NameConflict",
        (
            "the Secret voke-plant-brno-roof-3 is not this Plant's and is not touched: its type is Opaque, not "
            "voke.lovinka.com/plant-credentials. Move it away, or mend it"
        ),
    ),
    "key lost": (
        keys(*refused(recorded=IN_USE[:1])),
        "False",
        "KeyLost",
        (
            "the hmac key 1f3a5c7e9b2d4f60 is neither in the Secret voke-plant-brno-roof-3 nor in a gateway's bundle: restore "
            "the Secret from a backup; or have a new key made, which Voke then has to be told: kubectl voke credentials "
            "brno-roof-3 -n energy --replace hmac"
        ),
    ),
    "CA expired": (
        keys(*refused(issuer=issuer(made=datetime(2016, 11, 1, tzinfo=UTC)))),
        "False",
        "IssuerUnusable",
        (
            "the issuing CA in the Secret voke-fleet-ca of namespace voke-system cannot be used: it ended on 2026-10-30 00:00 "
            "UTC: give the operator its successor"
        ),
    ),
    "CA expires soon": (
        replace(
            WELL,
            credentials=replace(
                WELL.credentials,
                warning=causes.of(
                    "IssuerExpires", "the issuing CA ends on 2026-12-20: give the operator its successor"
                ),
            ),
        ),
        "True",
        "IssuerExpires",
        "the issuing CA ends on 2026-12-20: give the operator its successor",
    ),
    "keys not confirmed": (
        replace(WELL, credentials=CredentialFacts(in_use=IN_USE)),
        "True",
        "NotConfirmed",
        (
            "nobody has said that Voke knows hmac 1f3a5c7e9b2d4f60, mtls 5c0ffee1: register at Voke what Secret "
            "voke-plant-brno-roof-3 holds (hmac.key, tls.crt, ca.crt), then say so: kubectl voke credentials "
            "brno-roof-3 -n energy --registered"
        ),
    ),
    # -- a place to run
    "bundle full": (
        placed(
            causes.bundle_full(
                gateway="voke-gw-default-0",
                note="its newest version does not fit: a bundle would have 933000 bytes",
            )
        ),
        "False",
        "BundleFull",
        (
            "gateway voke-gw-default-0: its newest version does not fit: a bundle would have 933000 bytes. What it ran "
            "before runs on. Move points that devices have in common into a DeviceProfile, or delete Plants of that "
            "gateway."
        ),
    ),
    "image of another age": (
        placed(
            causes.format_mismatch(
                pool="default",
                gateway="voke-gw-default-0",
                image=None,
                why="it reads bundle format 1 and this operator writes 2, 3: take a newer image, or an older operator",
            )
        ),
        "False",
        "FormatMismatch",
        (
            "gateway voke-gw-default-0: it reads bundle format 1 and this operator writes 2, 3: take a newer image, or an "
            "older operator. It cannot read its bundle, so it runs no plant. Its image is the one that the operator was "
            "installed with (gateway.image in the values of the chart)."
        ),
    ),
    "operator older than the bundle": (
        placed(
            causes.bundle_unknown(
                namespace="energy",
                gateway="voke-gw-default-0",
                secret="voke-bundle-default-0",
                why="an operator of another version has written its bundle",
            )
        ),
        "False",
        "FormatMismatch",
        (
            "gateway voke-gw-default-0: an operator of another version has written its bundle. What it runs, it runs on; "
            "nothing new reaches it. Take an operator of the version before, or a newer one. If there is none, have the "
            "bundle written anew, which forgets what gateways were still to let go of: kubectl delete secret -n energy "
            "voke-bundle-default-0"
        ),
    ),
    "storage that cannot be changed": (
        replace(
            WELL,
            placement=replace(
                WELL.placement,
                remark=causes.storage_kept(
                    namespace="energy",
                    gateway="voke-gw-default-0",
                    held=Storage(empty_dir={}),
                    wanted=Storage(persistent_volume_claim={"size": "1Gi", "storageClassName": "fast"}),
                ),
            ),
        ),
        "True",
        "StorageKept",
        (
            "runs on voke-gw-default-0; gateway voke-gw-default-0 keeps its storage, an emptyDir: that of a gateway "
            "cannot be changed, and the pool wants a claim of 1Gi of class fast. Apply the pool with the storage before; "
            "or have the gateway made anew, which loses what it has not delivered yet: kubectl delete statefulset -n "
            "energy voke-gw-default-0"
        ),
    ),
    "too many requests for any gateway": (
        placed(
            causes.of(
                "TooLarge",
                "not placed: it needs 4000 requests per second, and a gateway of this pool takes 3000; read less often "
                "(interval, every), or raise shard.maxRequestsPerSecond of the pool",
            )
        ),
        "False",
        "TooLarge",
        (
            "not placed: it needs 4000 requests per second, and a gateway of this pool takes 3000; read less often "
            "(interval, every), or raise shard.maxRequestsPerSecond of the pool"
        ),
    ),
    "moving from a gateway that does not let go": (
        placed(
            causes.moving(
                "runs nowhere until voke-gw-old-2 has let go of it", namespace=NAMESPACE, plant="brno-roof-3"
            )
        ),
        "False",
        "Moving",
        (
            "runs nowhere until voke-gw-old-2 has let go of it; if that is dead for good, say so: kubectl voke release "
            "brno-roof-3 -n energy"
        ),
    ),
    # -- the gateway
    "gateway silent": (
        replace(WELL, seen=replace(WELL.seen, silence=Silence(0.0, "connection refused"))),
        "False",
        "GatewayUnreachable",
        (
            "gateway voke-gw-default-0 does not answer the operator: connection refused. It may be at work all the same; "
            "see to its pod: kubectl -n energy describe pod voke-gw-default-0-0"
        ),
    ),
    "gateway without a node": (
        replace(
            WELL,
            seen=replace(WELL.seen, silence=Silence(0.0, "its pod has no address")),
            pod=causes.unschedulable(
                namespace="energy",
                pool="default",
                gateway="voke-gw-default-0",
                why="3 Insufficient cpu.",
                claim="",
            ),
        ),
        "False",
        "GatewayUnschedulable",
        (
            "gateway voke-gw-default-0 does not run, as Kubernetes has no node for it: 3 Insufficient cpu. Add nodes, or "
            "mend spec.pod of GatewayPool default (resources, nodeSelector, tolerations, affinity). See to it: "
            "kubectl -n energy describe pod voke-gw-default-0-0"
        ),
    ),
    "gateway that is killed again and again": (
        replace(WELL, seen=replace(WELL.seen, silence=Silence(0.0, "connection refused")), pod=OUT_OF_MEMORY),
        "False",
        "GatewayOutOfMemory",
        OUT_OF_MEMORY.message,
    ),
    "gateway that was killed and is back": (
        replace(WELL, pod=OUT_OF_MEMORY),
        "True",
        "GatewayOutOfMemory",
        f"runs on voke-gw-default-0; {OUT_OF_MEMORY.message}",
    ),
    "bundle not taken in": (
        replace(
            WELL, bundle=BundleFacts(generation=9, plant_generation=3, late=True), seen=seen(on_gateway())
        ),
        "False",
        "BundleLate",
        (
            "bundle 9 with this plant is written, and gateway voke-gw-default-0 has bundle 7; see to its pod: "
            "kubectl -n energy describe pod voke-gw-default-0-0"
        ),
    ),
    "gateway cannot use the plant": (
        saying(
            on_gateway(
                state="Invalid", message="plant-brno-roof-3.json.gz is cut off; the last good version runs on"
            )
        ),
        "False",
        "PlantRefused",
        "gateway voke-gw-default-0: plant-brno-roof-3.json.gz is cut off; the last good version runs on",
    ),
    "gateway does not have the plant": (
        saying(None),
        "False",
        "PlantRefused",
        (
            "gateway voke-gw-default-0 has bundle 7 and does not run this plant; its log says why: "
            "kubectl -n energy logs voke-gw-default-0-0"
        ),
    ),
    "gateway has nothing of the plant that it could run": (
        saying(
            PlantStatus(name="brno-roof-3", state="Invalid", message="the profile acme-hybrid is missing")
        ),
        "False",
        "PlantRefused",
        "gateway voke-gw-default-0: the profile acme-hybrid is missing",
    ),
    "gateway waits for another plant to let go": (
        saying(
            PlantStatus(name="brno-roof-3", plant_id=PLANT_ID, message="waits until brno-roof-2 has stopped")
        ),
        "False",
        "Starting",
        "gateway voke-gw-default-0: waits until brno-roof-2 has stopped",
    ),
    "gateway still runs the plant that had this name before": (
        saying(on_gateway().model_copy(update={"plant_id": PLANT_ID.replace("3", "4")})),
        "False",
        "PlantRefused",
        (
            "gateway voke-gw-default-0 has bundle 7 and does not run this plant; its log says why: "
            "kubectl -n energy logs voke-gw-default-0-0"
        ),
    ),
    "on its way": (
        saying(None, bundle=6),
        "False",
        "BundlePending",
        "bundle 7 with this plant is written, and gateway voke-gw-default-0 has bundle 6",
    ),
    # -- Voke
    "login refused": (
        session(
            "LoginRefused",
            "the broker refuses the login (0x87, Not authorized); check that the plant is registered at Voke with this "
            "certificate and that Voke trusts its issuer",
        ),
        "False",
        "LoginRefused",
        (
            "the broker refuses the login (0x87, Not authorized); check that the plant is registered at Voke with this "
            "certificate and that Voke trusts its issuer"
        ),
    ),
    "login refused and never registered": (
        replace(
            session("LoginRefused", "the broker refuses the login (0x87, Not authorized)"),
            credentials=CredentialFacts(in_use=IN_USE),
        ),
        "False",
        "LoginRefused",
        (
            "the broker refuses the login (0x87, Not authorized); nobody has confirmed that its keys are registered: "
            "register at Voke what Secret voke-plant-brno-roof-3 holds (hmac.key, tls.crt, ca.crt), then say so: kubectl "
            "voke credentials brno-roof-3 -n energy --registered"
        ),
    ),
    "broker unreachable": (
        session(
            "BrokerUnreachable",
            "no connection to Voke: mqtt.voke.lovinka.com:8886 is out of reach (Connection refused): check host, port and "
            "firewall",
        ),
        "False",
        "BrokerUnreachable",
        (
            "no connection to Voke: mqtt.voke.lovinka.com:8886 is out of reach (Connection refused): check host, port and "
            "firewall"
        ),
    ),
    "identity in use": (
        session(
            "IdentityInUse",
            "another client logs in to mqtt.voke.lovinka.com:8886 with this plant's identity; find it and stop it. "
            "Nothing is written to the plant meanwhile; next attempt in 4 min",
        ),
        "False",
        "IdentityInUse",
        (
            "another client logs in to mqtt.voke.lovinka.com:8886 with this plant's identity; find it and stop it. Nothing "
            "is written to the plant meanwhile"
        ),
    ),
    "nobody listens at Voke": (
        saying(
            on_gateway(
                session=SessionStatus(
                    connected=True,
                    reason="NoSubscriber",
                    message="nobody at Voke listens to it; messages are kept",
                )
            )
        ),
        "False",
        "NoSubscriber",
        "nobody at Voke listens to it; messages are kept",
    ),
    "a reason of a newer gateway": (
        session("QuantumFlux", "the flux is low"),
        "False",
        "UplinkTrouble",
        "QuantumFlux: the flux is low",
    ),
    # -- PLCs
    "a PLC is silent": (
        saying(on_gateway(dict.fromkeys(("INV1", "INV2", "BAT1"), REFUSED))),
        "True",
        "SomeDevicesNotRead",
        (
            "PLC plc1 (10.20.3.11:502) does not answer: connection refused; 2 of 5 devices are read. Check its power, its "
            "address and the firewall in between."
        ),
    ),
    "a PLC does not even refuse": (
        saying(on_gateway(dict.fromkeys(("INV1", "INV2", "BAT1"), NO_ANSWER))),
        "True",
        "SomeDevicesNotRead",
        (
            "PLC plc1 (10.20.3.11:502) does not answer; 2 of 5 devices are read. Check its power, its address and the "
            "firewall in between."
        ),
    ),
    "a PLC is silent, and units of another": (
        saying(on_gateway({**dict.fromkeys(("INV1", "INV2", "BAT1"), REFUSED), "MTR1": SILENT})),
        "True",
        "SomeDevicesNotRead",
        (
            "PLC plc1 (10.20.3.11:502) does not answer: connection refused (and 1 other device on other connections); 1 of 5 "
            "devices are read. Check its power, its address and the firewall in between."
        ),
    ),
    "all PLCs are silent": (
        saying(on_gateway(dict.fromkeys(DEVICES, REFUSED))),
        "False",
        "NoDeviceRead",
        (
            "PLC plc1 (10.20.3.11:502) does not answer: connection refused (and 2 other devices on other connections); 0 of "
            "5 devices are read. Check its power, its address and the firewall in between."
        ),
    ),
    "a unit is silent": (
        saying(on_gateway({"BAT1": SILENT})),
        "True",
        "SomeDevicesNotRead",
        (
            "BAT1, unit 3 of PLC plc1 (10.20.3.11:502), does not answer, though the PLC takes the connection; 4 of 5 devices "
            "are read. Check unitId, and the line behind the PLC."
        ),
    ),
    "a unit refuses": (
        saying(
            on_gateway(
                {
                    "BAT1": FaultStatus(
                        kind="refused", detail="exception 2 (illegal data address) on input 0–1, unit 3"
                    )
                }
            )
        ),
        "True",
        "SomeDevicesNotRead",
        (
            "BAT1, unit 3 of PLC plc1 (10.20.3.11:502), is not read: exception 2 (illegal data address) on input 0–1; 4 of 5 "
            "devices are read. Check table and address in the register map; kubectl voke probe shows each address."
        ),
    ),
    "points are refused": (
        saying(
            on_gateway(
                bad_points={
                    "INV1": {"voltageV": FaultStatus(kind="refused", detail="exception 2 on input 40–41")}
                }
            )
        ),
        "True",
        "PointsRefused",
        (
            "5 of 5 devices are read, but points are refused: INV1.voltageV: exception 2 on input 40–41. Correct the register "
            "map; kubectl voke probe shows each address"
        ),
    ),
    "an inverter sleeps": (
        saying(on_gateway({"INV1": REFUSED}, asleep=("INV1",))),
        "True",
        "AllWell",
        "4 of 5 devices are read; INV1: silent, as expectOffline allows",
    ),
    "not asked yet": (
        saying(on_gateway(unasked=DEVICES)),
        "Unknown",
        "NotReadYet",
        "devices have not been asked yet",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ready_says_what_to_do_first(case: str) -> None:
    facts, status, reason, message = CASES[case]
    said = ready(plant_status(facts).findings)
    assert (said.status, said.reason, said.message) == (status, reason, message)


def test_the_first_cause_is_the_most_upstream_one() -> None:
    missing = Cause(Reason.SECRET_MISSING, "there is no Secret brno-keys")
    everything = replace(
        WELL,
        plant=site(pool="north"),
        problems=problems(site(pool="north")),
        credentials=CredentialFacts(cause=missing),
        seen=seen(
            on_gateway(
                dict.fromkeys(DEVICES, REFUSED),
                session=SessionStatus(reason="LoginRefused", message="refused"),
            )
        ),
    )
    order = []
    for mended in (
        {},
        {"plant": site(), "problems": ()},
        {"credentials": WELL.credentials},
        {"seen": seen(on_gateway(dict.fromkeys(DEVICES, REFUSED)))},
        {"seen": seen(on_gateway())},
    ):
        everything = replace(everything, **mended)
        order.append(ready(plant_status(everything).findings).reason)
    assert order == ["PoolMissing", "SecretMissing", "LoginRefused", "NoDeviceRead", "AllWell"]


def test_a_new_plant_is_told_of_what_is_broken_before_it_is_asked_to_confirm_its_keys() -> None:
    """And of the confirmation in the same breath, without which data may be lost unseen."""
    wrong_map = {"INV1": {"voltageV": FaultStatus(kind="refused", detail="exception 2 on input 40–41")}}
    silent = {"BAT1": SILENT}
    new = replace(WELL, credentials=CredentialFacts(in_use=IN_USE))
    for reported, reason, advice in (
        (on_gateway(bad_points=wrong_map), "PointsRefused", "kubectl voke probe shows each address"),
        (on_gateway(silent), "SomeDevicesNotRead", "Check unitId, and the line behind the PLC"),
    ):
        said = ready(plant_status(replace(new, seen=seen(reported))).findings)
        assert (said.status, said.reason) == ("True", reason)
        assert said.message.endswith(f"{advice}. After that: Registered (NotConfirmed)")


@pytest.mark.parametrize("reason", ["LoginRefused", "CertificateRefused"])
def test_a_login_that_fails_for_keys_that_nobody_registered_comes_before_all_that_the_plcs_do(
    reason: str,
) -> None:
    refused = on_gateway(
        dict.fromkeys(DEVICES, REFUSED), session=SessionStatus(reason=reason, message="refused")
    )
    new = replace(WELL, credentials=CredentialFacts(in_use=IN_USE), seen=seen(refused))
    said = ready(plant_status(new).findings)
    assert said.reason == reason
    assert "nobody has confirmed that its keys are registered: register at Voke what Secret" in said.message


def test_keys_that_were_changed_come_before_a_part_of_the_data() -> None:
    """Voke throws all of it away."""
    bundled = replace(WELL, credentials=CredentialFacts(in_use=IN_USE))
    assert bundled.plant is not None
    before = {names.REGISTERED_ANNOTATION: "hmac=0000000000000000,mtls=5c0ffee1"}
    metadata = bundled.plant.metadata.model_copy(update={"annotations": before})
    changed = replace(bundled, plant=bundled.plant.model_copy(update={"metadata": metadata}))
    said = ready(plant_status(replace(changed, seen=seen(on_gateway({"BAT1": SILENT})))).findings)
    assert said.reason == "KeysChanged"
    assert said.message.endswith(" --registered. After that: DevicesReachable (SomeDevicesNotRead)")


def test_three_mistakes_are_named_and_the_others_counted() -> None:
    many = tuple(
        Problem(path=("spec", "devices", index, "profile"), message="there is no DeviceProfile acme-hybrid")
        for index in range(5)
    )
    said = ready(plant_status(replace(WELL, problems=many)).findings)
    assert said.message.count("there is no DeviceProfile") == 3
    assert "; and 2 more" in said.message


def test_a_warning_is_shown_and_keeps_nothing_from_being_ready() -> None:
    warning = Problem(
        path=("spec", "failSafe"), message="not active in this version", severity=Severity.WARNING
    )
    findings = plant_status(replace(WELL, problems=(warning,))).findings
    assert findings["GatewayReady"].message == (
        "runs on voke-gw-default-0; note: spec.failSafe: not active in this version"
    )
    assert ready(findings).status == "True"


def test_a_gateway_that_was_not_asked_yet_leaves_what_stands() -> None:
    findings = plant_status(replace(WELL, seen=Seen())).findings
    assert {type_ for type_, each in findings.items() if each.hold} == {
        "GatewayReady",
        "CloudConnected",
        "DevicesReachable",
    }


def test_plants_keep_still_while_their_pool_speaks_for_all() -> None:
    lost = session("BrokerUnreachable", "no connection to mqtt.example:8886")
    assert plant_status(replace(lost, outage=True)).findings["CloudConnected"].hold
    own = session("LoginRefused", "refused")
    assert not plant_status(replace(own, outage=True)).findings["CloudConnected"].hold


@pytest.mark.parametrize("case", CASES)
def test_messages_are_short_enough_and_do_not_shout(case: str) -> None:
    for finding in plant_status(CASES[case][0]).findings.values():
        assert 0 < len(finding.message) < 1000
        assert "!" not in finding.message
        assert known(finding.reason) is not None


def test_every_word_of_the_credentials_is_documented() -> None:
    confirmed = "hmac=1f3a5c7e9b2d4f60,mtls=5c0ffee1"
    words = {
        *CredentialReason,
        *(
            registered("energy", "a", IN_USE, said).reason
            for said in (None, confirmed, "hmac=0,mtls=5c0ffee1")
        ),
        registered("energy", "a", (), None).reason,
    }
    assert {word for word in words if known(word) is None} == set()


def test_a_word_that_is_not_documented_is_refused() -> None:
    with pytest.raises(ValueError, match="Whatever is not among"):
        causes.of("Whatever", "message")


def test_what_is_not_running_has_neither_session_nor_devices() -> None:
    waiting = PlantStatus(name="brno-roof-3", plant_id=PLANT_ID, message="is about to start")
    findings = plant_status(saying(waiting)).findings
    for type_ in ("CloudConnected", "DevicesReachable"):
        assert (findings[type_].status, findings[type_].reason) == ("Unknown", "Starting")


def test_a_command_finds_the_gateways_that_a_plant_waits_for() -> None:
    waiting = "runs nowhere until voke-gw-old-2 and south/voke-gw-a-b-10 has let go of it"
    for plant in ("brno-roof-3", "voke-gw-new-0"):
        said = causes.moving(waiting, namespace="energy", plant=plant)
        assert causes.waits_for(said.message) == ("voke-gw-old-2", "south/voke-gw-a-b-10")
    assert causes.waits_for("a message of another version") == ()
