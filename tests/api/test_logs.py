"""Logs: whatever is logged, a line is one line and steers no terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from voke_api.logs import LogFormat, configure


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(log_format: LogFormat, text: str) -> str:
    """The line about a device that says ``text``."""
    to = io.StringIO()
    configure(log_format, to=to)
    structlog.get_logger("test").warning("device says", said=text)
    return to.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\u001b[2Jgone"),
        ("plain\rforged", r"plain\rforged"),
        ("a\tb\x07\x7f", r"a\tb\u0007\u007f"),
        ("\x9b2J", r"\u009b2J"),
        ("\u202egnp", r"\u202egnp"),
        ("one\ntwo", r"one\ntwo"),
        ("Čtvrť 230 V", "Čtvrť 230 V"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped_as_in_json(text: str, shown: str) -> None:
    assert f"{shown}" in logged("logfmt", text)


def test_what_a_library_logs_is_escaped_too() -> None:
    to = io.StringIO()
    configure(to=to)
    logging.getLogger("paho").warning("reason %s", "\x1b]0;evil\x07")
    assert r"\u001b]0;evil\u0007" in to.getvalue()


@given(st.text(st.characters(codec=None)))
def test_a_line_is_one_line_of_what_can_be_shown(text: str) -> None:
    line = logged("logfmt", text)
    assert line.endswith("\n")
    assert line[:-1].isprintable()


@given(st.text(st.characters(codec="utf-8")))
def test_json_holds_what_was_said(text: str) -> None:
    assert json.loads(logged("json", text))["said"] == text
