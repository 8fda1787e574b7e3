"""Digests of the landed sales by week, and the weeks that the lake holds with other contents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd

from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import LandedSales
from m5_assets.weeks import week_containing, weeks_between


def sales_contents(sales: LandedSales, days: pd.Series[pd.Timestamp]) -> dict[str, str]:
    """Return a digest of the landed sales for each of their weeks; the first one may be incomplete.

    Args:
        sales: the landed sales.
        days: dates by day number.
    """
    first, last = days[sales.first_day].date(), days[sales.last_day].date()
    found = {}
    for week in weeks_between(week_containing(first), week_containing(last + dt.timedelta(days=1)).shift(-1)):
        begin = sales.first_day + (max(week.first_day, first) - first).days
        found[week.key] = sales.content(begin, sales.first_day + (week.origin - first).days)
    return found


def differing_weeks(lake: Lake, dataset: str, contents: Mapping[str, str]) -> set[str]:
    """Return the weeks of a dataset whose landed content differs from what the lake holds.

    Args:
        lake: the lake.
        dataset: `raw_sales` or `store_dept_sales`.
        contents: digests of the landed content by week.
    """
    manifests = {key: lake.find(dataset, key) for key in lake.partitions(dataset) if key in contents}
    # A manifest that cannot be read names no content, so its week is loaded again.
    held = {key: found.attributes.get("content") if found else "" for key, found in manifests.items()}
    # Totals without a content digest are sums of raw_sales, whose own digest shows corrections.
    same = {key for key, content in held.items() if content is None and dataset == "store_dept_sales"}
    return {key for key, content in held.items() if content != contents[key]} - same
