"""Files with keys are their owner's, and never half there."""

from __future__ import annotations

from pathlib import Path

import pytest

from voke_cli.private_file import write_private


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
