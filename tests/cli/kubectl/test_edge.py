"""What kubectl says becomes an error that tells what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voke_cli.kubectl.complete import words
from voke_cli.kubectl.edge import Kubectl, KubectlError, NotAllowedError, NotThereError, refusal
from voke_cli.kubectl.gateways import by_proxy
from voke_cli.kubectl.main import app
from voke_cli.kubectl.rights import ASK_POD, GET_PLANT
from voke_cli.kubectl.status import age

FORBIDDEN = (
    'Error from server (Forbidden): pods "voke-gw-default-0-0" is forbidden: User "anna" cannot get resource '
    '"pods/proxy" in API group "" in the namespace "solar"'
)


@pytest.mark.parametrize(
    ("said", "kind", "contains"),
    [
        (
            FORBIDDEN,
            NotAllowedError,
            'this needs the right to get pods/proxy: pods "voke-gw-default-0-0" is forbidden',
        ),
        ('Error from server (NotFound): pods "x" not found', NotThereError, 'pods "x" not found'),
        (
            'error: the server doesn\'t have a resource type "plants"',
            KubectlError,
            "this cluster knows no Plants: is it the right context?",
        ),
        ("error: You must be logged in to the server (Unauthorized)", KubectlError, "log in anew"),
        (
            "E1125 memcache.go:265] couldn't get API groups\nThe connection to the server localhost:8080 was refused",
            KubectlError,
            "The connection to the server localhost:8080 was refused",
        ),
        (
            'Warning: something\nerror: context "x" does not exist\n',
            KubectlError,
            'context "x" does not exist',
        ),
        ("", KubectlError, "kubectl failed without a word"),
    ],
)
def test_its_words_become_errors(said: str, kind: type[KubectlError], contains: str) -> None:
    error = refusal(said, ASK_POD)
    assert type(error) is kind
    assert contains in str(error)


def test_without_kubectl_it_is_said_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = CliRunner().invoke(app, ["status"])
    assert said.exit_code == 1
    assert "there is no kubectl in $PATH" in said.output


def test_an_answer_that_is_no_json_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(KubectlError, match="no JSON object: 'hello"):
        Kubectl().get("plants", needs=GET_PLANT)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ([""], ["credentials", "plan", "probe", "release", "status"]),
        (["st"], ["status"]),
        (["release", "--f"], ["--force"]),
        (["nonsense", ""], []),
    ],
)
def test_words_are_completed(typed: list[str], completed: list[str]) -> None:
    assert words(typed) == completed


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "site", "-A"],
        ["credentials", "site", "--csr", "--registered"],
        ["credentials", "site", "--from", "keys"],
        ["credentials", "site", "--csr", "--from", "keys"],
        ["credentials", "site", "--replace", "password"],
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kubectl that answers what is in ``answer`` and notes its arguments, a line each; the file of these."""
    program, told = tmp_path / "kubectl", tmp_path / "arguments"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {told}\ncat {tmp_path}/answer\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (tmp_path / "answer").write_text("{}")
    return told


@pytest.mark.parametrize(
    "cluster",
    [
        {"server": "https://10.0.0.1:6443", "insecure-skip-tls-verify": True},
        {"server": "http://10.0.0.1:8080"},
    ],
)
def test_a_server_that_would_not_be_verified_is_asked_for_nothing(
    obedient: Path, cluster: dict[str, object]
) -> None:
    view = {"clusters": [{"name": "company", "cluster": cluster}]}
    obedient.with_name("answer").write_text(json.dumps(view))
    for command in (["status"], ["credentials", "x"], ["probe", "x"], ["release", "x"]):
        said = CliRunner().invoke(app, [*command, "--context", "company"])
        assert said.exit_code == 1
        assert "without verifying it. Give certificate-authority instead of insecure-skip-tls" in said.output
    asked = obedient.read_text().split()
    assert asked.count("--context=company") == asked.count("view") == 4
    assert "get" not in asked


NO_NAMES = ["--kubeconfig=/tmp/x", "-oyaml", "../../secrets/keys", "a/b", "a?b", "A", "", "a\n"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_cannot_be_a_name_never_gets_to_kubectl(obedient: Path, name: str) -> None:
    kubectl = Kubectl()
    asked: list[Callable[[], object]] = [
        lambda: kubectl.plant(name),
        lambda: kubectl.secret("solar", name),
        lambda: kubectl.pod("solar", name),
        lambda: kubectl.annotate("solar", name, {}),
    ]
    for ask in asked:
        with pytest.raises(KubectlError, match="nothing can be called"):
            ask()
    assert not obedient.exists()


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_cannot_be_a_name_is_in_no_question_to_a_pod(obedient: Path, name: str) -> None:
    for place in (("solar", name), (name, "voke-gw-default-0")):
        with by_proxy(Kubectl()) as ask, pytest.raises(KubectlError, match="nothing can be called"):
            ask(place)


def test_what_leads_to_pods_lets_only_a_get_of_their_status_through(obedient: Path) -> None:
    with by_proxy(Kubectl()) as ask, pytest.raises(KubectlError):
        ask(("solar", "voke-gw-default-0"))
    said = obedient.read_text().splitlines()
    flags = dict(each.split("=", 1) for each in said if "=" in each)
    paths, methods = re.compile(flags["--accept-paths"]), re.compile(flags["--reject-methods"])
    pod = "/api/v1/namespaces/solar/pods/voke-gw-default-0-0:9100/proxy"
    assert paths.search(f"{pod}/status")
    others = (f"{pod}/statusx", f"{pod}/a/status", pod, "/api/v1/secrets", f"/x{pod}/status")
    assert not any(paths.search(each) for each in others)
    assert not methods.search("GET")
    assert all(methods.search(each) for each in ("POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "GETS"))
    assert not any("," in each for each in flags.values()), (
        "kubectl takes a comma for the end of an expression"
    )


@pytest.mark.parametrize(
    ("exported", "says"),
    [
        ("hmac=0ld,mtls=1", "the hmac key in force is 2e1, and the one in"),
        ("mtls=1", "the hmac key in force is 2e1, and"),
        (None, "which --export writes: No such file or directory"),
    ],
)
def test_keys_that_were_replaced_since_they_were_exported_are_not_confirmed(
    obedient: Path, exported: str | None, says: str
) -> None:
    in_force = [
        {"name": name, "source": "Generated", "keyId": key_id}
        for name, key_id in (("hmac", "2e1"), ("mtls", "2"))
    ]
    plant = {
        "kind": "Plant",
        "metadata": {"name": "site", "namespace": "solar"},
        "spec": {"plantId": "x"},
        "status": {"credentials": in_force},
    }
    obedient.with_name("answer").write_text(json.dumps(plant))
    if exported is not None:
        obedient.with_name("key-ids").write_text(exported)
    said = CliRunner().invoke(app, ["credentials", "site", "--registered", "--from", str(obedient.parent)])
    assert said.exit_code == 1
    assert says in said.output
    assert "patch" not in obedient.read_text()


def test_a_certificate_that_was_renewed_since_it_was_exported_is_confirmed(obedient: Path) -> None:
    """Voke knows it by its issuer and its name."""
    plant = {
        "kind": "Plant",
        "metadata": {"name": "site", "namespace": "solar"},
        "spec": {"plantId": "x"},
        "status": {
            "credentials": [{"name": "mtls", "source": "Generated", "keyId": "2"}],
            "conditions": [{"type": "Registered", "status": "True", "reason": "Confirmed", "message": ""}],
        },
    }
    obedient.with_name("answer").write_text(json.dumps(plant))
    obedient.with_name("key-ids").write_text("mtls=1\n")
    said = CliRunner().invoke(app, ["credentials", "site", "--registered", "--from", str(obedient.parent)])
    assert said.exit_code == 0, said.output
    assert "confirmed: Voke knows mtls=2" in said.output


@pytest.mark.parametrize("arguments", [["credentials", "site", "--registered"], ["release", "site", "--yes"]])
def test_what_a_status_says_cannot_steer_a_terminal(obedient: Path, arguments: list[str]) -> None:
    condition = {"status": "True", "reason": "\x1b[2J", "message": "\x1b]0;evil\x07"}
    plant = {
        "kind": "Plant",
        "metadata": {"name": "site", "namespace": "solar"},
        "spec": {"plantId": "x"},
        "status": {
            "gateway": "voke-gw-default-0",
            "credentials": [{"name": "hmac", "source": "Generated", "keyId": "\x1b[31m"}],
            "conditions": [{"type": type_, **condition} for type_ in ("Registered", "GatewayReady")],
        },
    }
    obedient.with_name("answer").write_text(json.dumps(plant))
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert "\x1b" not in said.output
    assert "\x07" not in said.output


@pytest.mark.parametrize("instant", [float("inf"), float("-inf"), float("nan"), None])
def test_a_time_that_is_none_has_no_age(instant: float | None) -> None:
    assert age(instant, 0.0) == "–"
