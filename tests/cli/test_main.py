"""What ``voke`` itself says."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from voke_cli.main import app


def test_the_version_is_that_of_the_package() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout) == (0, f"voke {version('voke-fleet')}\n")


def test_without_a_command_the_commands_are_shown() -> None:
    said = CliRunner().invoke(app, [])
    assert said.exit_code == 2
    assert "Bridges the PLCs" in said.output
    assert "credentials" in said.output
    assert "plan-bundle" not in said.output


def test_who_puts_a_flag_before_the_command_is_told_where_it_goes() -> None:
    said = CliRunner().invoke(app, ["--state", "state", "credentials"])
    assert said.exit_code == 2
    assert "flags follow the command" in said.output


def test_the_paragraphs_of_help_are_as_wide_as_the_terminal() -> None:
    said = CliRunner().invoke(app, ["probe", "--help"], env={"COLUMNS": "200"}).output
    (line,) = (line for line in said.splitlines() if "Where a value cannot be right" in line)
    assert "a few more reads are made for a guess" in line
