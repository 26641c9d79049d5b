"""``voke check`` on files: what it says, how it ends, and what it never shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.plants import small_battery_document as battery_document
from voke_api.problems import Severity, dotted
from voke_cli.documents import read_documents
from voke_cli.judgement import judge
from voke_cli.main import app

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*documents: Any, name: str = "plant.yaml") -> Path:
        path = tmp_path / name
        texts = [each if isinstance(each, str) else yaml.safe_dump(each) for each in documents]
        path.write_text("---\n".join(texts))
        return path

    return write


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def errors(*paths: Path) -> list[tuple[str, int | None]]:
    problems = judge(paths, now=NOW).problems
    return [(dotted(p.path), p.line) for p in problems if p.severity is Severity.ERROR]


def test_a_good_plant_ends_with_status_0_and_says_what_it_will_do(write: Write) -> None:
    status, output = run(write(battery_document(telemetry={"interval": "1s"})))
    assert status == 0
    assert "plc1 127.0.0.1:502: 4 requests/s" in output
    assert "BAT1 (unit 1): holding 40–41, input 10, input 20, coil 1" in output
    assert "1 plant ready to run; 0 errors, 0 warnings" in output


@pytest.mark.parametrize("same", ["plantId", "connections"])
def test_a_plant_that_another_one_keeps_from_running_is_not_ready_to_run(write: Write, same: str) -> None:
    documents = []
    for number, name in enumerate("abc"):
        host = [{"name": "plc1", "modbusTcp": {"host": f"10.0.0.{number}"}}]
        document = battery_document(plantId=f"00000000-0000-4000-8000-00000000000{number}", connections=host)
        documents.append({**document, "metadata": {"name": name}})
    documents[2]["spec"][same] = documents[0]["spec"][same]
    status, output = run(write(*documents))
    assert status == 1
    assert "2 plants ready to run; 1 error, 0 warnings" in output
    assert "Plant c: " not in output


def test_errors_end_with_status_1_and_name_file_line_path_value_and_remedy(write: Write) -> None:
    path = write(
        "apiVersion: voke.lovinka.com/v1alpha1\nkind: Plant\nmetadata: {name: a}\nspec:\n  pool: 7\n"
    )
    status, output = run(path)
    assert status == 1
    assert (
        f"{path}:5: error: Plant a spec.pool: must be text, not a number; put it in quotes (found 7)"
        in output
    )


def test_wrong_usage_ends_with_status_2() -> None:
    assert run()[0] == 2
    assert run("--no-such-option", "x")[0] == 2


def test_json_is_one_object_with_everything(write: Write) -> None:
    status, output = run("--json", write(battery_document(pool=7)))
    document = json.loads(output)
    assert status == 1
    assert document["ok"] is False
    assert document["plants"] == []
    (problem,) = document["problems"]
    assert (problem["path"], problem["class"], problem["value"]) == ("spec.pool", "schema", 7)
    _, output = run("--json", write(battery_document()))
    (connection,) = json.loads(output)["plants"][0]["connections"]
    assert connection["requestsPerSecond"] == 0.4
    assert connection["devices"][0]["requests"][0] == {"table": "holding", "address": 40, "count": 2}


def test_a_terminal_cannot_be_steered_by_a_file(write: Write) -> None:
    _, output = run(write(battery_document(pool="\x1b[2Jx")))
    assert "\x1b" not in output


def test_a_directory_is_read_whole_and_each_file_once(write: Write, tmp_path: Path) -> None:
    write(battery_document(), name="a.yaml")
    write("not yaml: [", name="notes.txt")
    assert run(tmp_path)[0] == 0
    assert run(tmp_path, tmp_path)[0] == 0
    assert run(tmp_path, tmp_path / "a.yaml")[0] == 0


def test_a_list_holds_several_resources(write: Write) -> None:
    second = battery_document(plantId="4f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f", pool=7, suspend=True)
    second["metadata"]["name"] = "other"
    path = write({"apiVersion": "v1", "kind": "List", "items": [battery_document(), second]})
    assert [place for place, _ in errors(path)] == ["spec.pool"]
    assert len(read_documents([path]).plants) == 1


def test_what_cannot_be_read_is_an_error_each(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "dir").mkdir()
    paths = [tmp_path / name for name in ("latin.yaml", "empty.yaml", "dir", "missing.yaml")]
    messages = [problem.message for problem in judge(paths, now=NOW).problems]
    assert sorted(messages) == [
        "cannot be read: No such file or directory",
        "holds no .yaml, .yml, .json file",
        "holds no document, only comments or nothing",
        "is not UTF-8: line 2 holds other bytes; save it as UTF-8",
    ]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(battery_document()).encode())
    assert judge([path], now=NOW).ok


def test_another_kind_is_refused_by_name(write: Write) -> None:
    path = write({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    assert "known kinds are Plant, DeviceProfile, GatewayPool and Secret" in run(path)[1]


def test_json_files_are_yaml(write: Write) -> None:
    assert run(write(json.dumps(battery_document()), name="plant.json"))[0] == 0


def test_addresses_from_data_sheets_are_asked_about_once_per_device(write: Write) -> None:
    document = battery_document()
    points = document["spec"]["devices"][0]["points"]
    points[0]["address"], points[1]["address"] = 30011, 30021
    status, output = run(write(document))
    assert status == 0
    assert output.count("did you mean address 10?") == 1
    assert "(1 more look like it)" in output


def test_fields_that_json_escapes_are_asked_about(write: Write) -> None:
    document = battery_document()
    document["spec"]["devices"][0]["points"][0]["field"] = "soc\\percent"
    status, output = run(write(document))
    assert status == 0
    assert output.count("some versions of Node confuse such keys") == 1


def test_a_snapshot_that_may_exceed_a_message_is_said_to_be_split(write: Write) -> None:
    document = battery_document()
    long = {"table": "holding", "type": "string", "length": 250}
    document["spec"]["devices"][0]["points"] = [
        long | {"field": f"s{n}", "address": n * 200} for n in range(40)
    ]
    document["spec"]["devices"][0]["limits"] = {"maxRegisters": 125}
    status, output = run(write(document))
    assert status == 0
    assert "split into messages of at most 8192" in output


def test_pauses_longer_than_the_interval_are_warned_about(write: Write) -> None:
    document = battery_document(telemetry={"interval": "1s"})
    document["spec"]["devices"][0]["limits"] = {"pause": "300ms"}
    assert "ticks will be left out" in run(write(document))[1]


def test_a_broken_profile_is_one_error_not_one_for_each_of_its_users(write: Write) -> None:
    profile = {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "DeviceProfile",
        "metadata": {"name": "acme"},
        "spec": {
            "type": "BATTERY",
            "points": [
                {"field": "socPercent", "table": "input", "address": 1, "type": "uint8"},
                {"field": "b", "table": "input", "address": 2, "type": "uint16"},
            ],
        },
    }
    alarm = {"name": "a", "device": "BAT1", "when": {"lt": 1}, "code": 1, "severity": "ERROR"}
    document = battery_document(
        alarms=[alarm | {"field": "socPercent"}, alarm | {"name": "b", "field": "elsewhere"}]
    )
    document["spec"]["devices"][0] |= {"profile": "acme", "points": []}
    path = write(profile, document)
    assert [place for place, _ in errors(path)] == ["spec.points[0].type", "spec.alarms[1].field"]
    assert judge([path], now=NOW).plants == []


def test_secrets_are_never_shown(write: Write) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys"},
        "stringData": {"hmac.key": "hunter2-short", "password": 12345678, "username": "plc-hunter2\n"},
        "data": {"tls.key": "hunter2!"},
        "hunter2": "x",
    }
    document = battery_document(credentials={"hmac": {"secretRef": {"name": "keys"}}})
    path = write(document, secret)
    output = run(path)[1] + run("--json", path)[1] + repr(read_documents([path]))
    assert "error" in output
    assert "hunter2-short" not in output
    assert "12345678" not in output
    assert "hunter2!" not in output


def test_importing_the_command_is_cheap() -> None:
    code = (
        "import sys, voke_cli.check; "
        "print([m for m in ('pydantic', 'cryptography', 'pymodbus', 'yaml', 'aiomqtt') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=100)
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.builds(
        lambda kind, rest: json.dumps(
            {"apiVersion": "voke.lovinka.com/v1alpha1", "kind": kind, "metadata": {"name": "x"}} | rest
        ).encode(),
        st.sampled_from(["Plant", "DeviceProfile", "GatewayPool", "Secret", "List"]),
        st.dictionaries(
            st.sampled_from(["spec", "metadata", "data", "stringData", "items", "kind"]),
            json_values,
            max_size=3,
        ),
    )
)
def test_no_file_crashes_check(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    status, output = run("--json", path)
    assert status in {0, 1}
    assert json.loads(output)["ok"] is (status == 0)
    assert run(path)[0] == status
