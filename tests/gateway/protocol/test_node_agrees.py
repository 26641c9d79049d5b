"""Node is the judge: canonical text and signatures agree with JavaScript's, in both directions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from random import Random

import pytest

from tests.gateway.protocol.documents import document, number_token
from tests.gateway.protocol.judge import (
    KEY,
    NONCE,
    PLANT_ID,
    TS,
    accepts,
    canonical_and_signature,
    signed_commands,
)
from voke_gateway.protocol.canonical import NotJsonError, canonical, parse
from voke_gateway.protocol.envelope import (
    iso_timestamp,
    parse_command,
    seal_ack,
    seal_alarm,
    seal_info,
    seal_telemetry,
)
from voke_gateway.protocol.sign import Signer
from voke_gateway.protocol.split import DeviceTemplate, Scalar, telemetry_bodies

SIGNER = Signer(PLANT_ID, KEY)
CHUNK = 20_000


def ours(text: str) -> tuple[bytes, str] | None:
    try:
        body = canonical(parse(text.encode()))
    except NotJsonError:
        return None
    return body, SIGNER.telemetry(TS, NONCE, body)


def judge_documents(count: int, seed: int) -> None:
    """Compare what both sides make of ``count`` documents: text, signature, or that it is no JSON."""
    random = Random(seed)
    started = time.monotonic()
    valid = 0
    for start in range(0, count, CHUNK):
        texts = [document(random) for _ in range(min(CHUNK, count - start))]
        verdicts = canonical_and_signature(texts)
        for text, verdict in zip(texts, verdicts, strict=True):
            assert ours(text) == verdict, f"seed {seed}: {text!r}"
        valid += sum(verdict is not None for verdict in verdicts)
    assert valid > 0.9 * count
    print(
        f"\nseed {seed}: {count} documents, {valid} of them JSON, no disagreement "
        f"on text or signature ({time.monotonic() - started:.1f} s)"
    )


def test_forty_thousand_documents() -> None:
    judge_documents(40_000, seed=20261122)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_documents() -> None:
    judge_documents(1_020_000, seed=20261123)


def test_doubles_of_every_kind() -> None:
    random = Random(1)
    tokens = [number_token(random) for _ in range(20_000)]
    texts = [f"[{','.join(tokens[start : start + 100])}]" for start in range(0, len(tokens), 100)]
    for text, verdict in zip(texts, canonical_and_signature(texts), strict=True):
        assert ours(text) == verdict
    print("\nseed 1: 20000 numbers, no disagreement")


def test_commands_signed_by_node_are_accepted() -> None:
    random = Random(2)
    texts = [text for text in (document(random) for _ in range(3_000)) if ours(text) is not None]
    for index, payload in enumerate(signed_commands(texts)):
        message = parse_command(payload)
        assert (message.cmd_id, message.ts, message.type) == (f"cmd-{index}", TS + index, "CHARGE")
        assert SIGNER.verifies_command(
            message.cmd_id, message.ts, message.type, message.p_canonical, message.sig
        )
        assert not SIGNER.verifies_command(
            message.cmd_id, message.ts + 1, message.type, message.p_canonical, message.sig
        )
    print(f"\nseed 2: {len(texts)} commands signed by Node, all verified")


def test_a_command_that_node_signed_without_p_is_accepted() -> None:
    (payload,) = signed_commands([None])
    message = parse_command(payload)
    assert message.p_canonical is None
    assert SIGNER.verifies_command(message.cmd_id, message.ts, message.type, None, message.sig)


def test_messages_sealed_by_us_are_accepted_by_node() -> None:
    random = Random(3)
    messages: list[tuple[str, bytes]] = []
    for index in range(3_000):
        ts, n = TS + index, f"{random.getrandbits(64):016x}"
        content = parsed_object(random)
        messages.append(("telemetry", seal_telemetry(SIGNER, canonical(content), ts, n)))
        messages.append(("info", seal_info(SIGNER, canonical(content), ts, n)))
        ack = canonical({"cmdId": f"é😀-{index}", "st": "FAILED", "err": "STALE", "msg": repr(content)[:80]})
        messages.append(("ack", seal_ack(SIGNER, ack, ts, n)))
        alarm = canonical(
            {"alarmId": f"a-{index}", "ev": "RAISE", "code": index, "sev": 3, "detail": content}
        )
        messages.append(("alarm", seal_alarm(SIGNER, alarm, ts, n)))
    assert all(accepts(messages))
    print(f"\nseed 3: {len(messages)} messages sealed by us, all verified by Node")


def test_node_refuses_a_message_that_was_changed_under_way() -> None:
    sealed = seal_telemetry(SIGNER, b'{"devices":[],"timestamp":"x"}', TS, NONCE)
    assert accepts([("telemetry", sealed), ("telemetry", sealed.replace(b'"x"', b'"y"'))]) == [True, False]


def test_snapshots_with_odd_values_are_accepted_by_node() -> None:
    inverter, battery = DeviceTemplate("INV1", "INVERTER"), DeviceTemplate("BAT1", "BATTERY")
    cabinet = DeviceTemplate("R1", "CABINET")
    devices: list[tuple[DeviceTemplate, Mapping[str, Scalar] | int]] = [
        (inverter, {"voltageV": 231.0, "leakA": 1e-7, "state": "běží", "°C": 41.25, "😀": True, "｡": -0.0}),
        (battery, {"serial": 'a"\\\x01\u2028', "energyWh": 123456789012345678.0, "setpointW": -820}),
        (cabinet, 0xFFFFFFFF),
    ]
    (body,) = telemetry_bodies(iso_timestamp(1.7e9), devices)
    assert accepts([("telemetry", seal_telemetry(SIGNER, body, TS, NONCE))]) == [True]


def parsed_object(random: Random) -> dict[str, object]:
    """A JSON object without the keys of the envelope."""
    while True:
        text = document(random)
        try:
            value = parse(text)
        except NotJsonError:
            continue
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key not in {"ts", "n", "sig"}}


def test_both_sides_refuse_the_same_texts() -> None:
    texts = ["", " ", "NaN", "-Infinity", "\ufeff1", "01", "1.", ".5", "+1", "1e", "'a'", '"\t"', '"\\x"']
    texts += [
        '{"a":1,}',
        "[1,]",
        "{a:1}",
        '"',
        '"\\',
        "tru",
        "1 2",
        "\u00a01",
        "\x0c1",
        "--1",
        "[",
        "}",
        '"\\u12"',
    ]
    assert canonical_and_signature(texts) == [None] * len(texts)
    for text in texts:
        with pytest.raises(NotJsonError):
            parse(text)
