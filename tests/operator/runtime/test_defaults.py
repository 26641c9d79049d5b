"""The file of ``--defaults``: strict, and clear about what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from voke_operator.__main__ import main
from voke_operator.plan.objects import Defaults
from voke_operator.runtime.defaults import DefaultsError, read_defaults


def written(directory: Path, text: str) -> Path:
    path = directory / "defaults.yaml"
    path.write_text(text)
    return path


def wrong(directory: Path, text: str) -> list[str]:
    path = written(directory, text)
    with pytest.raises(DefaultsError) as refused:
        read_defaults(path)
    return [line.removeprefix(f"{path}: ") for line in str(refused.value).splitlines()]


def test_an_image_is_enough(tmp_path: Path) -> None:
    assert read_defaults(written(tmp_path, "image: voke-gateway:1")) == Defaults(image="voke-gateway:1")


def test_everything_can_be_said(tmp_path: Path) -> None:
    found = read_defaults(
        written(
            tmp_path,
            """
            image: registry.example/voke-gateway@sha256:0123
            imagePullPolicy: Always
            imagePullSecrets: [{name: registry}]
            serviceAccount: gateways
            resources: {requests: {cpu: 100m}}
            user: null
            pool: {voke: {host: voke.example, replayWindow: 20s}, writes: Disabled}
            """,
        )
    )
    assert found.image_pull_secrets == ({"name": "registry"},)
    assert (found.image_pull_policy, found.service_account, found.user) == ("Always", "gateways", None)
    assert found.resources == {"requests": {"cpu": "100m"}}
    assert (found.pool.voke.host, found.pool.voke.replay_window) == ("voke.example", 20.0)
    assert found.pool.writes == "Disabled"


def test_every_mistake_is_named_with_its_path(tmp_path: Path) -> None:
    text = """
        image: 7
        imagePullPolicy: Sometimes
        pool: {voke: {ports: {mtls: "8886"}}, shard: {maxPlant: 1}, pod: {egressCIDRs: [10.0.0.1/8]}}
        user: 0
    """
    places = [line.partition(": ")[0] for line in wrong(tmp_path, text)]
    assert sorted(places) == [
        "image",
        "imagePullPolicy",
        "pool.pod.egressCIDRs[0]",
        "pool.shard.maxPlant",
        "pool.voke.ports.mtls",
        "user",
    ]


def test_a_misspelt_key_gets_a_suggestion(tmp_path: Path) -> None:
    (line,) = wrong(tmp_path, "{image: i, resource: {}}")
    assert line.startswith("resource: unknown field")
    assert "resources" in line


@pytest.mark.parametrize("text", ["", "- image", "image", "{}"])
def test_what_is_no_object_with_an_image_is_refused(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text)


def test_what_is_not_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in " ".join(wrong(tmp_path, "image: i\n  user: 3: 4"))


def test_the_operator_does_not_start_without_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--defaults", str(tmp_path / "nowhere.yaml")]) == 1
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err
