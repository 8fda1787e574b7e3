"""Which ids the sales and the prices do not share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.sales_file import RECENT_DAYS, SalesSummary

_NAMED = 3


@dataclass(frozen=True)
class IdMatch:
    """How the series of the sales and of the prices match; examples are store and item.

    Attributes:
        live: number of series that sold on the last `RECENT_DAYS` days.
        live_unpriced: those of them without a price in any week.
        others_unpriced: further series without a price in any week.
        unsold: series with prices that the sales do not list.
        examples: some of the three, by their attribute's name.
    """

    live: int
    live_unpriced: int
    others_unpriced: int
    unsold: int
    examples: dict[str, list[str]]

    @classmethod
    def of(cls, sales: SalesSummary, prices: pa.Table) -> IdMatch:
        """Compare the series of both files."""
        sold = pd.MultiIndex.from_frame(sales.series[["store_id", "item_id"]].astype(object))
        priced = _series_of(prices)
        live, unpriced = sales.recent > 0, ~sold.isin(priced)
        found = {
            "live_unpriced": sold[live & unpriced],
            "others_unpriced": sold[~live & unpriced],
            "unsold": priced[~priced.isin(sold)],
        }
        similar = {_folded(key): key for key in map("/".join, found["unsold"])}
        examples = {name: [*map("/".join, keys[:_NAMED])] for name, keys in found.items()}
        for name in ("live_unpriced", "others_unpriced"):
            examples[name] = [_with_similar(key, similar) for key in examples[name]]
        counts = {name: len(keys) for name, keys in found.items()}
        return cls(live=int(live.sum()), **counts, examples=examples)

    @property
    def share(self) -> float:
        """The share of live series without a price in any week."""
        return self.live_unpriced / max(self.live, 1)

    def live_text(self) -> str:
        """Return how many live series have no price, and which."""
        text = f"{self.live_unpriced:,} of {self.live:,} series that sold in the last {RECENT_DAYS // 7} weeks have "
        return f"{text}no price in any week{self._such_as('live_unpriced')}"

    def texts(self) -> Iterator[str]:
        """Yield a text for each kind of series that only one file has."""
        if self.live_unpriced:
            yield self.live_text()
        if self.others_unpriced:
            yield f"{self.others_unpriced:,} other series have no price in any week{self._such_as('others_unpriced')}"
        if self.unsold:
            yield f"{self.unsold:,} series with prices are not in the sales{self._such_as('unsold')}"

    def _such_as(self, name: str) -> str:
        return f", such as {', '.join(self.examples[name])}" if self.examples[name] else ""


def _series_of(prices: pa.Table) -> pd.MultiIndex:
    """Return the distinct pairs of store and item."""
    store, item = (prices[name].combine_chunks() for name in ("store_id", "item_id"))
    width = len(item.dictionary)
    pairs = np.unique(store.indices.to_numpy().astype(np.int64) * width + item.indices.to_numpy())
    names = [np.array(each.dictionary.to_pylist(), object) for each in (store, item)]
    return pd.MultiIndex.from_arrays([names[0][pairs // width], names[1][pairs % width]])


def _folded(key: str) -> str:
    """Return an id without what is easily lost: case, signs, leading zeros."""
    text = unicodedata.normalize("NFKC", key).casefold()
    return "".join(letter for letter in re.sub(r"(?<!\d)0+(?=\d)", "", text) if letter.isalnum())


def _with_similar(key: str, similar: dict[str, str]) -> str:
    other = similar.get(_folded(key))
    return f"{key} (sell_prices.csv has {other})" if other else key
