"""A place in the hierarchy (state, store, category, department, item) and its URL, SQL filter, trail and next level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import ClassVar
from urllib.parse import urlencode

_LABELS = {"state": "State", "store": "Store", "cat": "Category", "dept": "Department", "item": "Item"}


@dataclass(frozen=True)
class Scope:
    """A place in the hierarchy; None means all."""

    state: str | None = None
    store: str | None = None
    cat: str | None = None
    dept: str | None = None
    item: str | None = None

    DRILL: ClassVar = ("state", "store", "dept", "item")
    """The drill-down the pages offer; the category is only a filter."""

    WHERE: ClassVar = (
        "(:state IS NULL OR h.state_id = :state) AND (:store IS NULL OR h.store_id = :store) "
        "AND (:cat IS NULL OR h.cat_id = :cat) AND (:dept IS NULL OR h.dept_id = :dept) "
        "AND (:item IS NULL OR h.item_id = :item)"
    )
    """The filter on a relation `h` with the hierarchy's columns; `parameters` binds it."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Scope:
        """Read the scope from a query string; an empty value means all."""
        return cls(**{name: query.get(name) or None for name in _LABELS})

    @property
    def parameters(self) -> dict[str, str | None]:
        """The values that `WHERE` binds."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The place's display name, such as "FOODS_3 in CA_1"."""
        place = self.store or self.state
        goods = self.item or self.dept or self.cat
        if goods and place:
            return f"{goods} in {place}"
        return goods or place or "All stores"

    @property
    def below(self) -> str | None:
        """The next level of the drill-down, `store` for an item in all stores, None at the bottom."""
        if self.item:
            return None if self.store else "store"
        set_already = {name for name in self.DRILL if getattr(self, name)}
        if self.store:
            set_already.add("state")
        return next((name for name in self.DRILL if name not in set_already), None)

    @property
    def trail(self) -> list[tuple[str, Scope]]:
        """The breadcrumb trail from all stores to this place: names and scopes, this place last."""
        steps, scope = [("All stores", Scope())], Scope()
        for level in _LABELS:
            value = getattr(self, level)
            if value:
                scope = replace(scope, **{level: value})
                steps.append((value, scope))
        return steps

    def down(self, value: str) -> Scope:
        """Return the place with this name one level below."""
        return replace(self, **{str(self.below): value})

    def query(self, **more: str | int | None) -> str:
        """Return the query string of this place plus further parameters, without None and empty values."""
        return urlencode({k: v for k, v in {**asdict(self), **more}.items() if v not in (None, "")})


def label(level: str) -> str:
    """Return a level's display name."""
    return _LABELS[level]
