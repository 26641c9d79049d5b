"""``voke probe`` as a person calls it: what it prints, how it ends, what it needs of the files."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cli.probe.meters import Json, declared, device, document, meter, shifted
from voke_sim.plc.server import ModbusServer

DEADLINE = 30.0


def write(directory: Path, *documents: Any) -> Path:
    path = directory / "plant.yaml"
    path.write_text("---\n".join(yaml.safe_dump(each) for each in documents))
    return path


async def start(*arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voke_cli", "probe", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: object) -> tuple[int | None, str, str]:
    process = await start(*arguments)
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_plant_that_is_right_ends_with_status_0_and_a_table(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        status, output, errors = await run(write(tmp_path, document(server.port, device(declared()))))
    assert (status, errors) == (0, "")
    assert f"site plc1 127.0.0.1:{server.port}" in output
    assert "M1 (METER, unit 1): 9 of 9 read in " in output
    lines = [line.split() for line in output.splitlines()]
    assert ["voltageV", "input", "40–41", "4367", "B333", "231.7", "V"] in lines
    assert ["running", "coil", "7", "1", "true"] in lines
    assert "guess" not in output


async def test_a_guess_says_what_to_write_and_where(tmp_path: Path) -> None:
    points = declared("currentA", "frequencyHz", "temperatureC", frequencyHz={"scale": None})
    points[2]["table"] = "holding"
    async with ModbusServer({1: meter()}) as server:
        path = write(tmp_path, document(server.port, device(points)))
        status, output, _ = await run(path)
        places = [line for line in path.read_text().splitlines() if "field: " in line]
    assert len(places) == 3
    assert status == 1
    assert "with scale: 0.01 the registers 1389 would be 50.01 Hz" in output
    assert f"{path}:" in output
    assert "spec.devices[0].points[1]: scale: 0.01" in output
    assert "refused: exception 1 (illegal function) on holding 48, unit 1" in output
    assert "spec.devices[0].points[2]: table: input" in output


async def test_json_is_one_object_with_stable_keys(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        path = write(tmp_path, document(server.port, device(shifted(1))))
        status, output, _ = await run(path, "--json")
    result = json.loads(output)
    assert status == (0 if result["ok"] else 1)
    (connection,) = result["connections"]
    assert set(connection) == {
        "plant", "name", "host", "port", "requests", "extraReads", "guesses", "devices"
    }  # fmt: skip
    (one,) = connection["devices"]
    assert set(one) == {"externalId", "type", "unitId", "ok", "seconds", "fault", "guesses", "points"}
    assert set(one["points"][0]) == {
        "field", "address", "words", "raw", "value", "unit", "fault", "guesses"
    }  # fmt: skip
    (guess,) = one["guesses"]
    assert guess["kind"] == "off-by-one"
    assert set(guess["changes"][0]) == {"file", "line", "kind", "name", "path", "set", "remove"}
    assert guess["changes"][0]["set"] == {"address": 40}
    assert guess["changes"][0]["path"] == "spec.devices[0].points[0]"


async def test_the_place_of_a_change_in_a_profile_is_the_profile(tmp_path: Path) -> None:
    profile: Json = {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "DeviceProfile",
        "metadata": {"name": "grid-meter"},
        "spec": {"type": "METER", "points": declared(frequencyHz={"scale": 1.0})},
    }
    own = {"field": "socPercent", "table": "input", "address": 49, "type": "uint16", "unit": "%"}
    one = device([own], profile="grid-meter")
    async with ModbusServer({1: meter()}) as server:
        path = write(tmp_path, document(server.port, one), profile)
        _, output, _ = await run(path, "--json")
    found = {
        point["field"]: point["guesses"][0]["changes"][0]
        for point in json.loads(output)["connections"][0]["devices"][0]["points"]
        if point["guesses"]
    }
    assert (found["frequencyHz"]["kind"], found["frequencyHz"]["path"]) == ("DeviceProfile", "spec.points[2]")
    assert (found["socPercent"]["kind"], found["socPercent"]["path"]) == (
        "Plant",
        "spec.devices[0].points[0]",
    )


async def test_a_plant_and_a_device_can_be_chosen(tmp_path: Path) -> None:
    async with ModbusServer({1: meter(), 2: meter()}) as server:
        devices = (device(declared()), device(declared(), externalId="M2", unitId=2))
        other = document(1, device(declared()))
        other["metadata"]["name"] = "other"
        other["spec"]["plantId"] = "4f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
        path = write(tmp_path, document(server.port, *devices), other)
        status, output, _ = await run(path, "--plant", "site", "--device", "M2")
        assert status == 0
        assert "M2" in output
        assert "M1" not in output
        assert server.stats.by_unit[1] == 0
        for wrong in (("--plant", "sight"), ("--device", "M3")):
            status, _, errors = await run(path, *wrong)
            assert status == 2
            assert "there is no" in errors


async def test_wrong_usage_ends_with_status_2() -> None:
    assert (await run())[0] == 2
    assert (await run("--no-such-option", "x"))[0] == 2


async def test_files_that_cannot_be_used_end_with_status_1_and_say_why(tmp_path: Path) -> None:
    status, output, errors = await run(tmp_path / "missing.yaml")
    assert (status, output) == (1, "")
    assert "cannot be read" in errors
    wrong = document(1, device(declared(energyKwh={"address": 400047, "table": "holding"})))
    status, _, errors = await run(write(tmp_path, wrong))
    assert status == 1
    assert "spec.devices[0].points[4].address" in errors
    assert "guess: a data sheet's number for table: holding, address: 46" in errors


async def test_what_is_wrong_with_pools_and_secrets_keeps_nobody_from_reading(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        plant = document(server.port, device(declared()))
        plant["spec"] |= {"pool": "elsewhere", "auth": {"method": "MTLS"}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": 7}
        status, _, errors = await run(write(tmp_path, plant, secret))
    assert (status, errors) == (0, "")


async def test_watching_tells_what_changed_until_ctrl_c(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        plant = document(server.port, device(declared()))
        plant["spec"]["telemetry"]["interval"] = "100ms"
        process = await start(write(tmp_path, plant), "--watch")
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while b"running" not in (line := await process.stdout.readline()):
                assert line, "it ended"
            bank = server.units[1].bank.input
            assert bank is not None
            bank.put(43, "uint16", 4990)
            changed = await process.stdout.readline()
            assert changed.decode().split(maxsplit=1)[1] == "site M1 frequencyHz: 50.01 → 49.9\n"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        assert server.stats.connections == 1


async def test_watching_as_json_is_one_object_per_line(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        plant = document(server.port, device(declared()))
        plant["spec"]["telemetry"]["interval"] = "100ms"
        process = await start(write(tmp_path, plant), "--watch", "--json")
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            for _ in range(3):
                assert json.loads(await process.stdout.readline())["ok"]
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
