"""Every reason that a condition can have: what it means and what to do. docs/conditions.md is made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Self

READY: Final = "Ready"
CREDENTIALS_READY: Final = "CredentialsReady"
REGISTERED: Final = "Registered"
GATEWAY_READY: Final = "GatewayReady"
CLOUD_CONNECTED: Final = "CloudConnected"
DEVICES_REACHABLE: Final = "DevicesReachable"
CLOUD_REACHABLE: Final = "CloudReachable"


class Reason(StrEnum):
    """Why a condition is what it is. Stable: scripts and alerts match on it.

    In order of what has to be mended first: ``Ready`` has the reason that comes first here.
    """

    condition: str
    """Type of the condition that it belongs to; ``Ready`` of a Plant repeats those of its parts."""
    meaning: str
    """What is so, in one sentence."""
    remedy: str
    """What to do; empty where there is nothing to do."""

    def __new__(cls, word: str, condition: str, meaning: str, remedy: str = "") -> Self:
        """A reason is its word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.condition, member.meaning, member.remedy = condition, meaning, remedy
        return member

    # -- what was asked for

    INVALID = (
        "Invalid",
        GATEWAY_READY,
        (
            "The Plant contradicts itself, or something that it refers to is missing or does not fit. The last good "
            "version runs on, if there is one."
        ),
        "Mend what the message names. `voke check` finds the same without a cluster, if it is given all files of the namespace.",
    )
    POOL_MISSING = (
        "PoolMissing",
        GATEWAY_READY,
        "There is no GatewayPool of the name in `spec.pool`. Where the plant already runs, it runs on.",
        "Apply the GatewayPool, or correct `spec.pool`. Only the pool `default` need not exist.",
    )
    DUPLICATE_PLANT_ID = (
        "DuplicatePlantId",
        GATEWAY_READY,
        "Another Plant has the same `plantId`; the one that already runs keeps it.",
        "Give one of the two its own plantId (it is immutable: delete the Plant and apply it anew), or delete one.",
    )
    SUSPENDED = (
        "Suspended",
        CLOUD_CONNECTED,
        "`spec.suspend` is true: no PLC is read and nothing is sent; the keys are kept.",
        "Set `spec.suspend` to false to go on.",
    )

    # -- credentials

    SECRET_MISSING = (
        "SecretMissing",
        CREDENTIALS_READY,
        "A Secret that the Plant or its pool refers to does not exist in this namespace.",
        'Create it with the label `voke.lovinka.com/allow: "true"`, or leave out the secretRef to have it generated.',
    )
    SECRET_NOT_ALLOWED = (
        "SecretNotAllowed",
        CREDENTIALS_READY,
        (
            "A Secret that is referred to does not carry the label that allows it: whoever may write Plants must not "
            "be able to aim at any Secret."
        ),
        "Label it: `kubectl label secret -n NAMESPACE NAME voke.lovinka.com/allow=true`.",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        CREDENTIALS_READY,
        "A Secret that is referred to lacks a key, or holds what cannot be used.",
        "Mend what the message names.",
    )
    NAME_CONFLICT = (
        "NameConflict",
        CREDENTIALS_READY,
        (
            "The Secret that is to hold the plant's generated keys exists and belongs to somebody else. It is never "
            "touched."
        ),
        (
            "Give the Plant another name, or mend what the message names. Before you delete that Secret save it (`kubectl get "
            "secret NAME -n NAMESPACE -o yaml`): it may hold the keys of another plant."
        ),
    )
    KEY_LOST = (
        "KeyLost",
        CREDENTIALS_READY,
        (
            "A key that Voke knows was deleted or changed, and no copy of it survives. A new one is never made by itself, "
            "because Voke would refuse it."
        ),
        (
            "Restore what the message names from a backup: the plant's Secret, or `voke-fleet-ca` in the operator's namespace. "
            "If there is no backup of a plant's key, have a new one made with the command in the message (`kubectl voke "
            "credentials PLANT --replace …`) and register it at Voke. If there is none of the CA: credentials.md, Certificates."
        ),
    )
    ISSUER_UNUSABLE = (
        "IssuerUnusable",
        CREDENTIALS_READY,
        "The CA that issues client certificates is missing, has expired, or its key does not belong to it.",
        "Put a valid CA into its Secret in the operator's namespace.",
    )
    CREDENTIALS_PENDING = (
        "CredentialsPending",
        CREDENTIALS_READY,
        "Keys are being made.",
        "Wait; an RSA key takes a moment, and thousands of them take minutes.",
    )

    # -- a place to run

    TOO_LARGE = (
        "TooLarge",
        GATEWAY_READY,
        "No shard of the pool can take the plant: it alone is over a limit.",
        "Raise the limit in the GatewayPool that the message names, poll less often, or split the site.",
    )
    BUNDLE_FULL = (
        "BundleFull",
        GATEWAY_READY,
        "The bundle of the plant's shard has no room for its newest version; the last good one runs on.",
        "Move points into DeviceProfiles (a profile is stored once), or delete Plants of that shard.",
    )
    FORMAT_MISMATCH = (
        "FormatMismatch",
        GATEWAY_READY,
        (
            "The gateway, or the operator that wrote its bundle, is of a version too far from this operator's: one cannot read "
            "what the other has written."
        ),
        (
            "Change the version of what the message names. It also says whether the plant still runs: without a bundle that it can "
            "read a gateway runs none."
        ),
    )
    GATEWAY_CONFLICT = (
        "GatewayConflict",
        GATEWAY_READY,
        (
            "An object of a name that the plant's gateway needs exists, and the operator did not make it. It is never "
            "touched."
        ),
        "Rename or delete what the message names, or choose another name for the pool.",
    )
    GATEWAY_REFUSED = (
        "GatewayRefused",
        GATEWAY_READY,
        "The API server refuses an object of the plant's gateway; what is there of it goes on.",
        "Mend what the message names: often a quota, an admission policy, or `spec.pod` of the pool.",
    )
    MOVING = (
        "Moving",
        GATEWAY_READY,
        "The plant leaves one gateway and starts on another when the first has let go of it.",
        "Wait. If the old gateway is dead for good, say so with the command in the message.",
    )
    UNPLACED = (
        "Unplaced",
        GATEWAY_READY,
        "The plant has no gateway yet.",
        "Wait; if it lasts, look at the operator's log.",
    )

    # -- the gateway

    GATEWAY_UNSCHEDULABLE = (
        "GatewayUnschedulable",
        GATEWAY_READY,
        "Kubernetes has no node for the plant's gateway, so it does not run.",
        "Mend what the message names: a StorageClass or a volume, what `spec.pod` of the pool asks for, or too few nodes.",
    )
    GATEWAY_UNREACHABLE = (
        "GatewayUnreachable",
        GATEWAY_READY,
        "The operator gets no answer from the plant's gateway. It may well be at work: it needs no operator.",
        "Look at its pod: `kubectl describe pod` and `kubectl logs` of what the message names.",
    )
    BUNDLE_LATE = (
        "BundleLate",
        GATEWAY_READY,
        "The gateway has not taken in the newest bundle although it should have; it works on the one before.",
        "Look at the gateway's log and at the pod's events.",
    )
    PLANT_REFUSED = (
        "PlantRefused",
        GATEWAY_READY,
        "The gateway cannot use what its bundle holds for this plant; the last good version runs on, if there is one.",
        "Mend what the message names.",
    )
    BUNDLE_PENDING = (
        "BundlePending",
        GATEWAY_READY,
        "The plant is on its way to its gateway.",
        "Wait; this takes a second, or a minute where the pod has to be started first.",
    )
    STARTING = ("Starting", GATEWAY_READY, "The gateway is about to run the plant.", "Wait.")
    STOPPING = (
        "Stopping",
        GATEWAY_READY,
        "The gateway is about to stop the plant, or itself.",
        "Wait; it delivers what it has read first.",
    )
    NOT_ASKED = (
        "NotAsked",
        GATEWAY_READY,
        "The operator has just started, or the gateway has, and there was no answer yet.",
        "Wait.",
    )

    # -- Voke

    IDENTITY_IN_USE = (
        "IdentityInUse",
        CLOUD_CONNECTED,
        "Another client logs in with this plant's identity. Nothing is written to the PLCs meanwhile.",
        "Find the other client (an old gateway, a `voke run` on a laptop, a second cluster) and stop it.",
    )
    CREDENTIALS_INVALID = (
        "CredentialsInvalid",
        CLOUD_CONNECTED,
        "The gateway cannot log in with the material that it has.",
        "Mend the Secret that the message names.",
    )
    LOGIN_REFUSED = (
        "LoginRefused",
        CLOUD_CONNECTED,
        "Voke's broker does not let the plant in.",
        "Register its keys at Voke: they are in the Secret `voke-plant-NAME`, and the message names the files.",
    )
    CERTIFICATE_REFUSED = (
        "CertificateRefused",
        CLOUD_CONNECTED,
        "Voke's broker does not take the plant's client certificate, as it says in the TLS handshake.",
        (
            "Register the CA that issued it at Voke (`ca.crt` in the Secret `voke-plant-NAME`), or have it issued by a CA that "
            "Voke trusts; the message says what the broker has against it."
        ),
    )
    BROKER_UNREACHABLE = (
        "BrokerUnreachable",
        CLOUD_CONNECTED,
        "There is no connection to Voke's broker.",
        "Check `spec.voke` of the GatewayPool, DNS, firewalls and the pool's `egressCIDRs`; then Voke itself.",
    )
    SESSION_LOST = (
        "SessionLost",
        CLOUD_CONNECTED,
        "The session with Voke's broker ended, and the gateway tries again.",
        "Wait; if it comes and goes, the message says what ended it.",
    )
    CONNECTING = ("Connecting", CLOUD_CONNECTED, "The gateway opens its session with Voke.", "Wait.")
    PUBLISH_DENIED = (
        "PublishDenied",
        CLOUD_CONNECTED,
        "Voke's broker lets the plant in and does not allow it to publish; messages are kept.",
        "Check the plant's access at Voke.",
    )
    NO_SUBSCRIBER = (
        "NoSubscriber",
        CLOUD_CONNECTED,
        "The broker has nobody who listens to the plant, so Voke itself is down behind it; messages are kept.",
        "Tell Voke. `holdOnNoSubscriber: false` in the GatewayPool counts such messages as delivered.",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        CLOUD_CONNECTED,
        "The plant's quota at Voke's broker is used up; messages are kept.",
        "Send less often (`spec.telemetry.interval`), or have the quota raised.",
    )
    PUBLISH_REFUSED = (
        "PublishRefused",
        CLOUD_CONNECTED,
        "Voke's broker refuses a message; it is kept.",
        "Look at the gateway's log for the reason code.",
    )
    UPLINK_TROUBLE = (
        "UplinkTrouble",
        CLOUD_CONNECTED,
        "The gateway names a reason that this version of the operator does not know.",
        "Read the message, and bring the operator to the gateway's version.",
    )

    # -- PLCs

    NO_DEVICE_READ = (
        "NoDeviceRead",
        DEVICES_REACHABLE,
        "None of the plant's devices gives a value.",
        "Start with the PLC that the message names: address, power, firewall, unit id.",
    )
    NOT_READ_YET = (
        "NotReadYet",
        DEVICES_REACHABLE,
        "Devices have not been asked since the plant was started.",
        "Wait for the next tick.",
    )

    # -- ready, and something is broken all the same

    GATEWAY_OUT_OF_MEMORY = (
        "GatewayOutOfMemory",
        GATEWAY_READY,
        (
            "The kernel killed the plant's gateway because of its memory (`OOMKilled`), and Kubernetes starts it again. "
            "The Plant is Ready if it is back; it is said until its pod is replaced, because it will come again."
        ),
        "Raise the limit that the message names.",
    )
    KEYS_CHANGED = (
        "KeysChanged",
        REGISTERED,
        "A key is another one than a person had confirmed, and nobody has confirmed that Voke knows the new one.",
        "As for NotConfirmed; Voke throws away what is signed with a key that it does not know.",
    )
    SOME_DEVICES_NOT_READ = (
        "SomeDevicesNotRead",
        DEVICES_REACHABLE,
        "Some devices give values, others do not. The plant is Ready: what is read arrives.",
        "See to the device that the message names; `expectOffline: true` for one that sleeps at night.",
    )
    POINTS_REFUSED = (
        "PointsRefused",
        DEVICES_REACHABLE,
        "All devices are read, and some of their points are refused and left out.",
        "Correct the register map: `kubectl voke probe` says which address is wrong.",
    )

    # -- all is well, or nearly

    STORAGE_KEPT = (
        "StorageKept",
        GATEWAY_READY,
        (
            "The pool was deleted and applied anew with another storage. That of a gateway cannot be changed, so it keeps "
            "the one that it has; all else follows the pool."
        ),
        "Apply the pool with the storage before, or have the gateways made anew with the command in the message.",
    )
    NOT_CONFIRMED = (
        "NotConfirmed",
        REGISTERED,
        (
            "Nobody has confirmed that Voke knows the plant's keys. Its broker acknowledges messages that Voke then "
            "throws away, so data may be lost although everything else looks well."
        ),
        (
            "Register the files that the message names, from the Secret `voke-plant-NAME`, then say so with the command "
            "in the message: it sets the annotation `voke.lovinka.com/registered`."
        ),
    )
    ISSUER_EXPIRES = (
        "IssuerExpires",
        CREDENTIALS_READY,
        "Everything is there, and the CA that issues client certificates ends soon.",
        "Put a new CA into its Secret in the operator's namespace; certificates are then renewed in their own time.",
    )
    EXPECTED_OFFLINE = (
        "ExpectedOffline",
        DEVICES_REACHABLE,
        "All devices are read but those with `expectOffline`, whose silence is normal.",
    )
    COMPLETE = ("Complete", CREDENTIALS_READY, "All credentials that the plant needs are there.")
    CONFIRMED = (
        "Confirmed",
        REGISTERED,
        "A person has confirmed that Voke knows the plant's keys.",
    )
    FROM_SECRETS = (
        "FromSecrets",
        REGISTERED,
        "All keys come from Secrets that the Plant brings; Voke is taken to know them.",
    )
    RUNNING = ("Running", GATEWAY_READY, "The gateway runs the newest version of the Plant.")
    CONNECTED = ("Connected", CLOUD_CONNECTED, "The session is up, and the broker takes what is sent.")
    ALL_READ = ("AllRead", DEVICES_REACHABLE, "Every device gives values.")
    ALL_WELL = ("AllWell", READY, "Nothing is left to do.")

    # -- pools

    ROLLOUT_STUCK = (
        "RolloutStuck",
        READY,
        "A gateway was restarted for a new pod template and does not come back. No other gateway is touched.",
        "Mend what the message names; a new image or other settings are tried on the same gateway first.",
    )
    GATEWAYS_UNREACHABLE = (
        "GatewaysUnreachable",
        READY,
        "Gateways of the pool do not answer the operator.",
        "Look at the pods that the message names.",
    )
    CLOUD_OUTAGE = (
        "CloudOutage",
        CLOUD_REACHABLE,
        (
            "None of the pool's plants gets through to Voke. It is said here once; the conditions of the Plants stay as "
            "they were."
        ),
        (
            "Check network and Voke. Gateways keep what they read in memory and send it later: do not restart them, nor change "
            "their image or limits, until Voke is back."
        ),
    )
    PARTLY_REACHABLE = (
        "PartlyReachable",
        CLOUD_REACHABLE,
        (
            "Many of the pool's plants do not get through to Voke, and others do: an outage begins or ends, or it concerns one "
            "of Voke's listeners, or one of the pool's gateways."
        ),
        "Wait two minutes; then each Plant says for itself what is wrong.",
    )
    ROLLING_OUT = (
        "RollingOut",
        READY,
        "Gateways are restarted for a new pod template, each when those before it are back.",
        "Wait; the message says for whom it waits.",
    )
    NO_PLANTS = (
        "NoPlants",
        CLOUD_REACHABLE,
        "No plant of the pool is running, or something of its own keeps each of them out.",
    )
    REACHABLE = ("Reachable", CLOUD_REACHABLE, "Plants of the pool get through to Voke.")


_ORDER: Final[Mapping[str, int]] = {reason.value: index for index, reason in enumerate(Reason)}
_BY_WORD: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}


def known(word: str) -> Reason | None:
    """The reason of that word; None for one of another version."""
    return _BY_WORD.get(word)


def remedy(word: str) -> str:
    """What to do about it; empty if there is nothing to do, or the word is one of another version."""
    reason = known(word)
    return reason.remedy if reason is not None else ""


def first(words: Iterable[str]) -> str:
    """The one to be mended first; words of other versions come last.

    Raises:
        ValueError: there is none.
    """
    return min(words, key=lambda word: _ORDER.get(word, len(_ORDER)))
