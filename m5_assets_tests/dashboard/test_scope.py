"""Places in the hierarchy."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from m5_assets.dashboard.scope import Scope

_NAMES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1))


@given(_NAMES, _NAMES, _NAMES, _NAMES, _NAMES)
def test_a_place_round_trips_through_its_url(state: str, store: str, cat: str, dept: str, item: str) -> None:
    scope = Scope(state, store, cat, dept, item)
    assert Scope.of(dict(parse_qsl(scope.query(week="2016-05-16")))) == scope


def test_the_drill_down_goes_from_state_to_item() -> None:
    scope, seen = Scope(), []
    for value in ("CA", "CA_1", "FOODS_1", "FOODS_1_001"):
        seen.append(scope.below)
        scope = scope.down(value)
    assert seen == ["state", "store", "dept", "item"]
    assert scope.below is None
    assert [name for name, _ in scope.trail] == ["All stores", "CA", "CA_1", "FOODS_1", "FOODS_1_001"]
    assert Scope(item="FOODS_1_001").below == "store"
