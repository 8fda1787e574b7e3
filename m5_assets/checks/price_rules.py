"""Rules for the landed prices: in range, of the series that are sold, known for the weeks ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m5_assets.checks.recording import Finding
from m5_assets.resources.landing_files.id_matching import IdMatch
from m5_assets.settings import Limit


def prices_in_range(table: pa.Table, factor: Limit) -> Finding:
    """Check that every price is a number above zero, and neither too many times above nor below the median."""
    prices = table["sell_price"].to_numpy().astype(np.float64)
    valid = prices[np.isfinite(prices) & (prices > 0)]
    if not valid.size:
        return Finding(False, f"none of {prices.size:,} prices is above 0")
    usual = float(np.median(valid))
    low, high = usual / factor.value, usual * factor.value
    wrong = np.flatnonzero(~((prices >= low) & (prices <= high)))
    text = f"{prices.size:,} prices from {valid.min():,.6g} to {valid.max():,.6g}, median {usual:,.6g}"
    if not wrong.size:
        return Finding(True, text)
    row = table.slice(int(wrong[0]), 1).to_pylist()[0]
    where = f"{row['store_id']}, {row['item_id']} in week {row['wm_yr_wk']}: {row['sell_price']:,.6g}"
    remedy = factor.remedy(max(float(valid.max()) / usual, usual / float(valid.min())))
    return Finding(
        False,
        f"{text}; {low:,.6g} to {high:,.6g} passes ({factor} times below or above), but not {wrong.size:,} of them, "
        f"such as {where}; correct sell_prices.csv, or {remedy}",
    )


def live_series_priced(prices: pa.Table, sold: pd.MultiIndex, weeks: Sequence[int], tolerated: Limit) -> Finding:
    """Check that every product sold in the newest week has a price in each of these calendar weeks."""
    if not len(sold) or not weeks:
        return Finding(True, "no week of sales yet")
    known = prices.filter(pc.is_in(prices["wm_yr_wk"], pa.array(weeks, pa.int32()))).to_pandas()
    counts = known.groupby(["store_id", "item_id"], observed=True)["wm_yr_wk"].nunique()
    counts.index = counts.index.set_levels([level.astype(str) for level in counts.index.levels])
    missing = sold[counts.reindex(sold).fillna(0).to_numpy() < len(weeks)]
    share = len(missing) / len(sold)
    text = (
        f"{len(missing):,} of {len(sold):,} sold products lack a price in calendar weeks {min(weeks)} to {max(weeks)}"
    )
    named = f", such as {'/'.join(missing[0])}" if len(missing) else ""
    remedy = f"; up to {tolerated.value:.1%} passes, {tolerated.remedy(share)}" if share > tolerated.value else ""
    return Finding(not remedy, text + named + remedy, {"without_price": len(missing)})


def ids_match(ids: IdMatch, limit: Limit) -> Finding:
    """Check that the landed sales and prices are about the same series; beyond the limit they are not loaded at all."""
    figures = {"live_unpriced": ids.live_unpriced, "others_unpriced": ids.others_unpriced, "unsold": ids.unsold}
    text = "; ".join(ids.texts()) or f"every series of the sales has prices, {ids.live:,} of them sold lately"
    passed = ids.share <= limit.value
    remedy = "" if passed else f"; up to {limit.value:.1%} passes, {limit.remedy(ids.share)}"
    return Finding(passed, text + remedy, figures)
