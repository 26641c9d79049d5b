"""In which format a gateway's bundle is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_operator.plan.formats import bundle_format, mismatch

FORMATS = st.sets(st.integers(1, 9), min_size=1).map(lambda found: tuple(sorted(found)))


@given(FORMATS, FORMATS, st.none() | st.integers(1, 9))
def test_a_gateway_that_has_answered_gets_the_newest_that_both_know(
    reads: tuple[int, ...], known: tuple[int, ...], held: int | None
) -> None:
    chosen = bundle_format(reads, held, known)
    common = [each for each in known if each in reads]
    assert chosen == (common[-1] if common else None)


@given(FORMATS, st.data())
def test_a_bundle_stays_what_it_is_until_its_gateway_has_answered(
    known: tuple[int, ...], data: st.DataObject
) -> None:
    held = data.draw(st.sampled_from(known))
    assert bundle_format(None, held, known) == held


@given(FORMATS)
def test_a_new_bundle_begins_with_what_the_oldest_gateway_reads(known: tuple[int, ...]) -> None:
    assert bundle_format(None, None, known) == known[0]


@pytest.mark.parametrize(
    ("reads", "known", "said"),
    [
        (
            (1,),
            (2, 3),
            "reads bundle format 1 and this operator writes 2, 3: take a newer image, or an older operator",
        ),
        (
            (2, 3),
            (1,),
            "reads bundle format 2, 3 and this operator writes 1: take an older image, or a newer operator",
        ),
    ],
)
def test_it_is_said_which_of_both_is_too_old(
    reads: tuple[int, ...], known: tuple[int, ...], said: str
) -> None:
    assert mismatch(reads, known).endswith(said)
