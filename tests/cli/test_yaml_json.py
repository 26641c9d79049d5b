"""YAML is read as Kubernetes reads it, or refused where that would surprise."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_cli.yaml_json import YamlDocument, read_yaml


def only(text: str) -> YamlDocument:
    (document,) = read_yaml(text)
    return document


def value(text: str) -> Any:
    document = only(text)
    assert not document.faults, document.faults
    return document.value


def fault(text: str) -> tuple[int | None, str]:
    (found,) = only(text).faults
    return found.line, found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("1:30", "1:30"),
        ("0xFFFF", 65535),
        ("0o17", 15),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("-0.5", -0.5),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("'010'", "010"),
        ("!!str 10", "10"),
        ("10.20.3.11", "10.20.3.11"),
        ("3f2c1a9e-7b64", "3f2c1a9e-7b64"),
        ("12e45678", float("inf")),
    ],
)
def test_plain_scalars(text: str, expected: object) -> None:
    found = value(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_nan_is_a_number_here_and_refused_later() -> None:
    assert math.isnan(value("a: .nan")["a"])


def test_keys_are_text() -> None:
    assert value("{1: a, true: b, null: c, 1.5: d}") == {"1": "a", "true": "b", "null": "c", "1.5": "d"}


def test_anchors_aliases_and_merges() -> None:
    text = "a: &a {p: 1, q: 2}\nb: *a\nc: {<<: *a, q: 3}\nd: {<<: [*a, {r: 4}]}"
    assert value(text) == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 1, "q": 2},
        "c": {"p": 1, "q": 3},
        "d": {"p": 1, "q": 2, "r": 4},
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "given twice, first on line 1"),
        ("a:\n  b: 010", 2, "begins with 0"),
        ("a:\n\tb: 1", 2, "tab"),
        ("a: [1\nb: 2", 2, "not YAML: did not find expected a comma or ]"),
        ("a: {b: 1\nc: 2", 2, "not YAML: did not find expected a comma or }"),
        ("a: *b", 1, "quoted"),
        ("a: !secret x", 1, "tags"),
        ("a: &a [*a]", 1, "alias contains itself"),
        ("? [1]\n: 2", 1, "a key must be text"),
        ("a: x\x07", 1, "control character"),
        ("a: \ud800", 1, "surrogate"),
    ],
)
def test_what_cannot_be_read_has_a_line_and_a_reason(text: str, line: int, message: str) -> None:
    found_line, found_message = fault(text)
    assert found_line == line
    assert message in found_message


def test_nesting_has_an_end() -> None:
    assert fault("a: " + "[" * 5000)[1]
    assert "nests too deep" in fault("[" * 150 + "]" * 150)[1]
    assert value("[" * 100 + "]" * 100) is not None


def test_nesting_that_would_overflow_the_stack_of_the_parser_is_refused_where_it_happens() -> None:
    for text in ("a: 1\nb: " + "[" * 50_000 + "]" * 50_000, "a: 1\nb: " + "{a: " * 50_000 + "}" * 50_000):
        assert fault(text) == (2, "nests too deep, or an alias contains itself")


def test_an_object_cannot_be_merged_into_itself() -> None:
    assert "alias contains itself" in fault("a: &a\n  <<: *a\n  b: 1\n")[1]


def test_a_prefix_without_digits_is_text_not_a_number() -> None:
    assert value("[0x_, 0o__, 0b_, 0x, 0x_1f]") == ["0x_", "0o__", "0b_", "0x", 31]


def test_a_fault_never_quotes_the_file() -> None:
    for text in (
        "password: *hunter2",
        "password: !hunter2 x",
        "password: 'hunter2",
        "{hunter2: [",
        "a: @hunter2",
    ):
        assert "hunter2" not in repr(only(text).faults)


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(8)]
    assert "blow" in fault("\n".join(lines))[1]


def test_a_broken_document_does_not_hide_the_others() -> None:
    documents = list(read_yaml("a: 1\n---\nb: [\n---\n# nothing\n---\nc: 3\n"))
    assert [bool(document.faults) for document in documents] == [False, True, False]
    assert documents[2].value == {"c": 3}
    assert [document.line for document in documents] == [1, 2, 7]


def test_a_line_of_dashes_inside_a_text_block_separates_nothing() -> None:
    assert value("a: |\n  x\n  ---\n  y\n") == {"a": "x\n---\ny\n"}


def test_directives_and_end_markers_are_no_documents() -> None:
    assert value("%YAML 1.1\n---\na: 1\n...\n") == {"a": 1}


def test_every_value_has_its_line() -> None:
    document = only("a:\n  - p: 1\n    q:\n      - 2\n      - 3\n")
    assert document.lines["a", 0, "q", 1] == 5
    assert document.lines["a", 0, "q"] == 3


@given(
    st.text(alphabet=st.sampled_from("abc0123:-[]{}&*!|>'\"#%@`,?\n\t \x00é") | st.characters(), max_size=80)
)
def test_no_text_crashes_the_reader(text: str) -> None:
    for document in read_yaml(text):
        assert document.line >= 1
