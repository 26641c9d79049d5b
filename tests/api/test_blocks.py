"""The request planner: fewest requests, each within what the device can take."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_api.blocks import Block, Item, gap, halves, plan_blocks, register_count
from voke_api.resources.common import Table
from voke_api.resources.points import Point


def item(key: str, address: int, count: int = 1, table: Table = "holding") -> Item:
    return Item(key, table, address, count)


def spans(blocks: tuple[Block, ...]) -> list[tuple[str, int, int]]:
    return [(block.table, block.address, block.count) for block in blocks]


def test_neighbours_are_read_in_one_request() -> None:
    blocks = plan_blocks([item("b", 2, 2), item("a", 0, 2)], max_registers=100, max_gap=0)
    assert spans(blocks) == [("holding", 0, 4)]
    assert [i.key for i in blocks[0].items] == ["a", "b"]


def test_a_gap_is_read_along_up_to_the_limit() -> None:
    points = [item("a", 0), item("b", 9)]
    assert spans(plan_blocks(points, max_registers=100, max_gap=8)) == [("holding", 0, 10)]
    assert spans(plan_blocks(points, max_registers=100, max_gap=7)) == [("holding", 0, 1), ("holding", 9, 1)]


def test_a_point_is_never_split() -> None:
    points = [item("a", 0, 3), item("b", 3, 2)]
    assert spans(plan_blocks(points, max_registers=4, max_gap=0)) == [("holding", 0, 3), ("holding", 3, 2)]


def test_tables_are_separate_and_coils_have_two_thousand() -> None:
    points = [item(f"c{n}", n, table="coil") for n in range(2001)] + [item("i", 0, table="input")]
    assert spans(plan_blocks(points, max_registers=10, max_gap=0)) == [
        ("input", 0, 1),
        ("coil", 0, 2000),
        ("coil", 2000, 1),
    ]


def test_the_top_of_the_address_space_is_an_address_like_any_other() -> None:
    assert spans(plan_blocks([item("a", 65535)], max_registers=1, max_gap=0)) == [("holding", 65535, 1)]


def test_an_item_longer_than_a_request_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="serial needs 8 registers, a request takes 4"):
        plan_blocks([item("serial", 0, 8)], max_registers=4, max_gap=0)


def test_without_a_refused_point_its_address_is_not_read_along() -> None:
    points = [item("a", 10), item("c", 12)]
    rest = plan_blocks(points, max_registers=100, max_gap=8, avoid=[item("b", 11)])
    assert spans(rest) == [("holding", 10, 1), ("holding", 12, 1)]


def test_a_point_that_covers_a_refused_one_is_still_read_whole() -> None:
    rest = plan_blocks([item("word", 10, 4)], max_registers=100, max_gap=8, avoid=[item("bad", 11)])
    assert spans(rest) == [("holding", 10, 4)]


def test_halving_ends_at_single_things() -> None:
    (block,) = plan_blocks([item("a", 0), item("b", 1), item("c", 2)], max_registers=100, max_gap=8)
    split = halves(block)
    assert split is not None
    lower, upper = split
    assert spans((lower, upper)) == [("holding", 0, 1), ("holding", 1, 2)]
    assert halves(lower) is None


def test_points_at_the_same_address_are_one_thing_to_halve() -> None:
    (block,) = plan_blocks([item("bit:0", 7), item("bit:1", 7)], max_registers=100, max_gap=8)
    assert halves(block) is None


def test_a_refused_gap_between_two_good_halves_is_planned_around() -> None:
    points = [item("a", 0), item("b", 5)]
    (block,) = plan_blocks(points, max_registers=100, max_gap=8)
    split = halves(block)
    assert split is not None
    refused = gap(*split)
    assert refused == Item("gap", "holding", 1, 4)
    assert len(plan_blocks(points, max_registers=100, max_gap=8, avoid=[refused])) == 2


@pytest.mark.parametrize(
    ("type_", "count"),
    [("bool", 1), ("uint16", 1), ("int32", 2), ("float32", 2), ("uint64", 4), ("float64", 4)],
)
def test_each_type_has_its_width(type_: str, count: int) -> None:
    point = Point.model_validate(
        {"field": "f", "table": "holding", "address": 0, "type": type_}
        | ({"registerBit": 0} if type_ == "bool" else {})
    )
    assert register_count(point) == count


@pytest.mark.parametrize(("length", "count"), [(1, 1), (2, 1), (3, 2), (16, 8)])
def test_a_string_takes_half_as_many_registers_as_bytes(length: int, count: int) -> None:
    point = Point.model_validate(
        {"field": "f", "table": "holding", "address": 0, "type": "string", "length": length}
    )
    assert register_count(point) == count


few_items = st.lists(
    st.builds(
        Item,
        st.uuids().map(str),
        st.sampled_from(["holding", "input"]),
        st.integers(0, 24),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=6,
)


@given(few_items, st.integers(4, 12), st.integers(0, 6))
def test_every_plan_is_valid(points: list[Item], max_registers: int, max_gap: int) -> None:
    blocks = plan_blocks(points, max_registers=max_registers, max_gap=max_gap)
    assert sorted(i.key for block in blocks for i in block.items) == sorted(i.key for i in points)
    for block in blocks:
        assert readable(
            block.table, block.address, block.end, points=points, limit=max_registers, max_gap=max_gap
        )
        assert block.address == min(i.address for i in block.items)
        assert block.end == max(i.end for i in block.items)
        assert all(i.table == block.table for i in block.items)


@given(few_items, st.integers(4, 12), st.integers(0, 6))
def test_no_plan_has_fewer_requests(points: list[Item], max_registers: int, max_gap: int) -> None:
    blocks = plan_blocks(points, max_registers=max_registers, max_gap=max_gap)
    assert len(blocks) == fewest(points, max_registers, max_gap)


@given(few_items, st.randoms())
def test_the_order_of_the_points_does_not_matter(points: list[Item], random: object) -> None:
    shuffled = sorted(points, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert plan_blocks(shuffled, max_registers=8, max_gap=2) == plan_blocks(
        points, max_registers=8, max_gap=2
    )


def readable(table: str, start: int, end: int, *, points: list[Item], limit: int, max_gap: int) -> bool:
    declared = {a for i in points if i.table == table for a in range(i.address, i.end)}
    run = 0
    for address in range(start, end):
        run = 0 if address in declared else run + 1
        if run > max_gap:
            return False
    return end - start <= limit


def fewest(points: list[Item], limit: int, max_gap: int) -> int:
    """By trying all sets of requests that start and end on declared items."""
    windows = {
        (a.table, a.address, b.end)
        for a in points
        for b in points
        if a.table == b.table
        and a.address < b.end
        and readable(a.table, a.address, b.end, points=points, limit=limit, max_gap=max_gap)
    }
    for size in range(1, len(points) + 1):
        for chosen in combinations(windows, size):
            if all(
                any(t == i.table and start <= i.address and i.end <= end for t, start, end in chosen)
                for i in points
            ):
                return size
    raise AssertionError("each item alone is a window")
