"""The broker's JWT plugin against hostile tokens, and its build."""

from __future__ import annotations

import base64
import json
import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.sim.voke.credentials import pkcs1_der, rsa_key, spki_der, token
from tests.sim.voke.messages import Plant
from tests.sim.voke.mqtt import LoginRefusedError, connect
from voke_sim.voke import LocalVoke, PluginBuildError, plugin

HARNESS = Path(__file__).with_name("jwt_harness.c")
PLANT = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
TOKENS = 10_000


@pytest.fixture(scope="module")
def check(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[list[tuple[str | None, bytes | None]]], list[bool]]:
    """The plugin under sanitizers: (user name, token) pairs in, verdicts out."""
    directory = tmp_path_factory.mktemp("harness")
    binary = directory / "harness"
    subprocess.run(
        ["cc", *plugin.FLAGS, "-D_GNU_SOURCE", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover",
         f"-I{plugin.SOURCE.parent}", str(HARNESS), "-o", str(binary), *plugin.LIBRARIES],
        check=True, timeout=100,
    )  # fmt: skip
    keys = directory / "keys"
    keys.mkdir()
    (keys / f"{PLANT}.der").write_bytes(pkcs1_der(rsa_key()))
    (keys / "spki.der").write_bytes(spki_der(rsa_key()))
    (keys / "directory.der").mkdir()

    def run(logins: list[tuple[str | None, bytes | None]]) -> list[bool]:
        def encoded(value: bytes | None) -> str:
            return "-" if value is None else value.split(b"\0")[0].hex()

        lines = [
            f"{encoded(None if name is None else name.encode())} {encoded(text)}\n" for name, text in logins
        ]
        ran = subprocess.run(
            [binary, keys], input="".join(lines), capture_output=True, text=True, check=False, timeout=110
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        assert ran.stderr == ""
        verdicts = [line == "1" for line in ran.stdout.splitlines()]
        assert len(verdicts) == len(logins)
        return verdicts

    return run


def segment(content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(header: bytes | str, claims: bytes | str) -> bytes:
    """A token whose signature is right, whatever it says."""
    text = segment(header) + b"." + segment(claims)
    algorithm = jwt.get_algorithm_by_name("RS256")
    return text + b"." + segment(algorithm.sign(text, rsa_key()))


HEADER = '{"alg":"RS256","typ":"JWT"}'
CLAIMS = f'{{"sub":"{PLANT}","exp":9999999999}}'


def test_what_a_rightly_signed_token_may_say(check: Any) -> None:
    cases: list[tuple[bool, str | bytes, str | bytes]] = [
        (True, HEADER, CLAIMS),
        (True, ' {"typ":"JWT" , "alg":"RS256", "kid":"é"} ', f' {{"exp":9.9e9,"sub":"{PLANT}","x":[{{}}]}}\n'),
        (True, HEADER, f'{{"sub":"{PLANT}","exp":9999999999,"nbf":0,"aud":["a"],"iat":1}}'),
        (True, HEADER, CLAIMS.replace("3f2c", "\\u0033f2c")),
        (False, '{"alg":"none"}', CLAIMS),
        (False, '{"alg":"HS256"}', CLAIMS),
        (False, '{"alg":"rs256"}', CLAIMS),
        (False, '{"ALG":"RS256"}', CLAIMS),
        (False, '{"alg":["RS256"]}', CLAIMS),
        (False, '{"alg":"RS256","alg":"none"}', CLAIMS),
        (False, '{"alg":"RS256","alg":"RS256"}', CLAIMS),
        (False, '{"alg":"RS256\\u0000"}', CLAIMS),
        (False, '{"alg":"RS256","crit":["exp"]}', CLAIMS),
        (False, "{}", CLAIMS),
        (False, "[]", CLAIMS),
        (False, '"RS256"', CLAIMS),
        (False, HEADER + "x", CLAIMS),
        (False, HEADER.encode() + b"\0", CLAIMS),
        (False, HEADER, CLAIMS + "{}"),
        (False, HEADER, CLAIMS.encode() + b"\0x"),
        (False, HEADER, CLAIMS[:-1]),
        (False, HEADER, "null"),
        (False, HEADER, f'["sub","{PLANT}","exp",9999999999]'),
        (False, HEADER, f'{{"sub":"{PLANT}"}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":null}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":true}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":"9999999999"}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":-9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":1,"exp":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":9999999999,"exp":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":9999999999,"nbf":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":9999999999,"nbf":"0"}}'),
        (False, HEADER, f'{{"sub":"{PLANT}","exp":9999999999,"nbf":0,"nbf":0}}'),
        (False, HEADER, f'{{"sub":"other","sub":"{PLANT}","exp":9999999999}}'),
        (False, HEADER, f'{{"Sub":"{PLANT}","exp":9999999999}}'),
        (False, HEADER, f'{{"sub":["{PLANT}"],"exp":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT} ","exp":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT}\\u0000x","exp":9999999999}}'),
        (False, HEADER, f'{{"sub":"{PLANT.upper()}","exp":9999999999}}'),
        (False, HEADER, '{"a":' * 600),
        (False, HEADER, "[" * 2000),
    ]  # fmt: skip
    verdicts = check([(PLANT, signed(header, claims)) for _, header, claims in cases])
    wrong = [case for case, verdict in zip(cases, verdicts, strict=True) if case[0] != verdict]
    assert wrong == []


def test_user_names_and_keys(check: Any) -> None:
    good = signed(HEADER, CLAIMS)
    mine = [(PLANT, good), (None, good), (PLANT, None), (None, None), ("", good), ("a" * 64, good)]
    assert check(mine) == [True, False, False, False, False, False]
    others = [
        "spki",
        "directory",
        "../keys/" + PLANT,
        "/" + PLANT,
        PLANT.upper(),
        PLANT + "/",
        "é",
        "a" * 100_000,
    ]
    by_name = [(name, token(rsa_key(), name).encode()) for name in others]
    assert check(by_name) == [False] * len(others)


def test_ten_thousand_hostile_tokens_neither_crash_it_nor_pass(check: Any) -> None:
    seed = int(os.environ.get("VOKE_TEST_SEED", "20240229"))
    random_source = random.Random(seed)
    good = signed(HEADER, CLAIMS)
    logins = [(PLANT, hostile(random_source, good)) for _ in range(TOKENS)]
    logins += [(PLANT, good)]
    *verdicts, last = check(logins)
    passed = [text for (_, text), verdict in zip(logins, verdicts, strict=False) if verdict]
    assert last
    assert all(is_right(text) for text in passed), f"seed {seed}"
    sys.stdout.write(f"{TOKENS} hostile tokens, {len(passed)} of them right after all\n")


def hostile(source: random.Random, good: bytes) -> bytes:
    """A token that is damaged, or one that is signed and says something odd."""
    kind = source.randrange(8)
    if kind == 0:
        return source.randbytes(source.randrange(600))
    if kind == 1:
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/"
        return bytes(source.choices(alphabet, k=source.choice([0, 1, 2, 3, 40, 500, 4095, 4096, 4097, 9000])))
    if kind == 2:
        return b".".join(segment(source.randbytes(source.randrange(300))) for _ in range(source.randrange(6)))
    if kind == 3 and source.random() < 0.4:  # signing costs a millisecond
        return signed(mutated(source, HEADER.encode()), mutated(source, CLAIMS.encode()))
    return mutated(source, good)


def mutated(source: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(source.choice([1, 1, 1, 2, 8])):
        at = source.randrange(len(out) + 1)
        action = source.randrange(4)
        if action == 0 and at < len(out):
            out[at] ^= 1 << source.randrange(8)
        elif action == 1:
            del out[at : at + source.randrange(1, 20)]
        elif action == 2:
            out[at:at] = source.choice(
                [b".", b"=", b"\0", b"\xff", b'"', b"\\u0000", b"{", b"AAAA", bytes(out[:at])]
            )
        else:
            out[at : at + 1] = source.randbytes(1)
    return bytes(out[:20_000])


def is_right(text: bytes) -> bool:
    """Whether a token that passed is rightly signed, and says what it must wherever Python can read it.

    cJSON takes a little more than JSON (bytes that are not UTF-8, a number like ``1.``): its own affair,
    as long as the key's owner signed it.
    """
    signed_text, signature = text.split(b"\0")[0].rsplit(b".", 1)
    header, claims, raw_signature = (
        base64.urlsafe_b64decode(part + b"==") for part in (*signed_text.split(b"."), signature)
    )
    algorithm = jwt.get_algorithm_by_name("RS256")
    if not algorithm.verify(signed_text, rsa_key().public_key(), raw_signature):
        return False
    try:
        said = json.loads(claims)
        return bool(
            said["sub"] == PLANT and said["exp"] > time.time() and json.loads(header)["alg"] == "RS256"
        )
    except ValueError:
        return PLANT.encode() in claims


@pytest.mark.asyncio(loop_scope="module")
async def test_a_live_broker_survives_hostile_tokens(voke: LocalVoke, tls: ssl.SSLContext) -> None:
    plant = Plant()
    await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(rsa_key()))
    good = token(rsa_key(), plant.plant_id)
    source = random.Random(7)
    pid = voke.broker.pid
    for _ in range(150):
        password = hostile(source, good.encode()).decode("latin-1").replace("\0", "")[:15_000]
        try:
            async with connect(
                voke.host, voke.ports.jwt, tls, client_id="x", username=plant.plant_id, password=password
            ):
                assert password == good
        except LoginRefusedError:
            assert password != good
    async with connect(
        voke.host, voke.ports.jwt, tls, client_id="x", username=plant.plant_id, password=good
    ) as client:
        assert await client.publish(plant.topic(), plant.telemetry()) == 0
    assert voke.broker.pid == pid


def listing(directory: Path) -> list[tuple[str, int]]:
    return [(path.name, path.stat().st_mtime_ns) for path in directory.iterdir()]


async def test_the_plugin_is_built_once_into_the_cache(tmp_path: Path) -> None:
    built = await plugin.build(tmp_path)
    first = listing(tmp_path)
    assert await plugin.build(tmp_path) == built
    assert listing(tmp_path) == first
    assert [name for name, _ in first] == [built.name]


async def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert plugin.cache_directory() == tmp_path / "voke-fleet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plugin.cache_directory() == tmp_path / ".cache" / "voke-fleet"


def compiler_without_headers(directory: Path) -> Path:
    directory.mkdir()
    compiler = directory / "cc"
    compiler.write_text("#!/bin/sh\necho 'fatal error: mosquitto.h: No such file or directory' >&2\nexit 1\n")
    compiler.chmod(0o755)
    return directory


async def test_missing_headers_are_named_by_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{compiler_without_headers(tmp_path / 'bin')}:{os.environ['PATH']}")
    with pytest.raises(PluginBuildError, match="mosquitto-dev libmosquitto-dev libcjson-dev libssl-dev"):
        await plugin.build(tmp_path / "cache")
    assert listing(tmp_path / "cache") == []


async def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginBuildError, match="no C compiler"):
        await plugin.build(tmp_path)


async def test_a_cache_that_cannot_be_written_is_named() -> None:
    with pytest.raises(PluginBuildError, match="XDG_CACHE_HOME"):
        await plugin.build(Path("/dev/null/cache"))
