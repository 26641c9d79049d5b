"""Files with keys are their owner's, and never half there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from voke_cli.private_file import NotPrivateError, private_directory, write_private


def test_a_file_is_replaced_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("an old one, readable by all")
    path.chmod(0o644)
    with path.open() as reader:
        write_private(path, b"new")
        assert reader.read() == "an old one, readable by all", "whoever reads has the old one whole"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "key").symlink_to("elsewhere")
    write_private(tmp_path / "key", b"new")
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_where_it_cannot_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "other").touch()
    with pytest.raises(OSError, match="key"):
        write_private(tmp_path / "key", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_a_directory_for_keys_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "keys"
    with private_directory(path) as descriptor:
        write_private(Path("key"), b"new", directory=descriptor)
    with private_directory(path) as descriptor:
        write_private(Path("key"), b"newer", directory=descriptor)
    assert path.stat().st_mode & 0o777 == 0o700
    assert [each.read_bytes() for each in path.iterdir()] == [b"newer"]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702, 0o1777])
def test_keys_are_not_written_where_others_may_look_or_write(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "our keys"
    path.mkdir()
    path.chmod(mode)
    remedy = rf"open to others \(mode {mode:04o}\): chmod 700 '{path}'"
    with pytest.raises(NotPrivateError, match=remedy), private_directory(path):
        pytest.fail("it is open to others")


def test_keys_are_not_written_into_somebody_elses_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(NotPrivateError, match="belongs to somebody else"), private_directory(path):
        pytest.fail("it is somebody else's")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_directory_is_not_followed(tmp_path: Path, there: bool) -> None:  # noqa: FBT001 - a case
    if there:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "keys").symlink_to("elsewhere")
    with (
        pytest.raises(NotPrivateError, match="is a symbolic link: name the directory itself"),
        private_directory(tmp_path / "keys"),
    ):
        pytest.fail("it is a link")
    assert not list(tmp_path.glob("elsewhere/*"))


def test_files_go_where_it_was_looked_whatever_takes_its_place(tmp_path: Path) -> None:
    path, kept, other = (tmp_path / name for name in ("keys", "kept", "other"))
    other.mkdir()
    with private_directory(path) as descriptor:
        path.rename(kept)
        path.symlink_to(other)
        write_private(Path("key"), b"new", directory=descriptor)
    assert (kept / "key").read_bytes() == b"new"
    assert not list(other.iterdir())
