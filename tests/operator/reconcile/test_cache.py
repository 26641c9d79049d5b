"""What is kept is what was used last, never more than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voke_operator.reconcile.cache import Cache


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "drop"]), st.sampled_from("abcdef"), st.integers(0, 12)),
        max_size=60,
    )
)
def test_it_holds_the_last_used_that_fit(steps: list[tuple[str, str, int]]) -> None:
    cache: Cache[str, int] = Cache(most=4, size=10)
    model: list[tuple[str, int]] = []
    for step, key, size in steps:
        held = dict(model)
        if step == "get":
            assert cache.get(key) == held.get(key)
        else:
            (cache.put(key, size, size=size) if step == "put" else cache.drop(key))
            held = {**held, key: size} if step == "put" else held
        model = [each for each in model if each[0] != key]
        if key in held and step != "drop":
            model.append((key, held[key]))
        while len(model) > 4 or sum(size for _, size in model) > 10:
            del model[0]
        assert (len(cache), cache.used) == (len(model), sum(size for _, size in model))
    assert {key: cache.get(key) for key in "abcdef"} == {key: dict(model).get(key) for key in "abcdef"}


def test_what_is_larger_than_all_room_is_not_kept() -> None:
    cache: Cache[str, int] = Cache(most=4, size=10)
    cache.put("large", 1, size=11)
    assert (cache.get("large"), cache.used) == (None, 0)
