"""``voke verify`` and ``voke sign`` go by the topics and windows of the plant's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.plants import PLANT_ID, battery_document
from voke_cli.main import app
from voke_gateway.protocol.sign import Signer

KEY = "an-hmac-key-that-nobody-may-ever-see-in-any-output"
TS = 1_795_316_927_072
NONCE = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _files_in_a_directory_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "key").write_text(KEY)


def write(name: str, document: dict[str, Any]) -> str:
    Path(name).write_text(json.dumps(document))
    return name


def pool(name: str = "default", **voke: Any) -> str:
    head = {"apiVersion": "voke.lovinka.com/v1alpha1", "kind": "GatewayPool", "metadata": {"name": name}}
    return write(f"pool-{name}.yaml", head | {"spec": {"voke": voke}})


def plant(**spec: Any) -> str:
    return write("plant.yaml", battery_document(**spec))


def ack(suffix: str, plant_id: str = PLANT_ID) -> str:
    sig = Signer(plant_id, KEY.encode()).ack("c-1", TS, "RECEIVED", NONCE)
    return f"cpi/{plant_id}/{suffix} " + json.dumps(
        {"cmdId": "c-1", "st": "RECEIVED", "ts": TS, "n": NONCE, "sig": sig}
    )


def command(suffix: str) -> str:
    sig = Signer(PLANT_ID, KEY.encode()).command("c-1", TS, "HOLD", b"{}")
    message = {"cmdId": "c-1", "type": "HOLD", "p": {}, "ts": TS, "sig": sig}
    return f"cpi/{PLANT_ID}/{suffix} {json.dumps(message)}"


def verify(text: str, *files: str, late: int = 0) -> Result:
    named = [part for file in files for part in ("--files", file)]
    arguments = ["verify", "--key-file", "key", "--at", str(TS + late * 1000), *named]
    return CliRunner().invoke(app, arguments, input=text)


def test_the_topics_of_the_only_pool_are_right_and_the_usual_ones_are_not() -> None:
    own = pool(topics={"command": "commands", "ack": "commands/ack"})
    for text in (ack("commands/ack"), command("commands")):
        assert verify(text, own).exit_code == 0, verify(text, own).output
    said = verify(ack("ack"), own).output
    assert "the topic ends with commands/ack at Voke, not with ack" in said
    said = verify(ack("commands"), own).output
    assert f"the content is an ack, which belongs to cpi/{PLANT_ID}/commands/ack" in said


def test_without_the_pool_the_refusal_says_how_to_name_it() -> None:
    refused = verify(ack("commands/ack"))
    assert refused.exit_code == 1
    assert "not with commands/ack; a pool with another topic is named with --files" in refused.output


def test_of_several_pools_the_plants_own_counts() -> None:
    pools = pool("north", topics={"ack": "answers"}), pool("south", topics={"ack": "replies"})
    assert verify(ack("replies"), *pools, plant(pool="south")).exit_code == 0
    unclear = verify(ack("replies"), *pools)
    assert unclear.exit_code == 2
    assert "several pools (north, south); add the file of the Plant" in unclear.output


def test_a_pool_that_is_not_there_is_asked_for() -> None:
    missing = verify(ack("ack"), plant(pool="south"))
    assert missing.exit_code == 2
    assert "in pool south; add its file to --files, which has: no pool" in missing.output
    assert verify(ack("ack"), plant()).exit_code == 0, "a pool called default need not be there"


def test_the_windows_are_those_of_the_pool_and_of_the_plant() -> None:
    own = pool(replayWindow="2m"), plant(commandMaxAge="1h")
    assert verify(ack("ack"), late=100).exit_code == 1
    assert verify(ack("ack"), *own, late=100).exit_code == 0
    assert verify(command("command"), late=3000).exit_code == 1
    assert verify(command("command"), *own, late=3000).exit_code == 0


def test_files_with_mistakes_are_refused_with_their_place() -> None:
    refused = verify(ack("ack"), pool(topics={"ack": "a/#"}))
    assert refused.exit_code == 2
    assert "pool-default.yaml:1: error" in refused.output
    assert verify(ack("ack"), "nowhere.yaml").exit_code == 2


def test_what_is_signed_goes_to_the_pools_topic() -> None:
    own = pool(topics={"ack": "answers"})
    arguments = ["sign", "ack", "--key-file", "key", "--plant-id", PLANT_ID, "--with-topic", "--files", own]
    signed = CliRunner().invoke(app, arguments, input=json.dumps({"cmdId": "c-1", "st": "RECEIVED"}))
    assert signed.stdout.startswith(f"cpi/{PLANT_ID}/answers {{"), signed.output
