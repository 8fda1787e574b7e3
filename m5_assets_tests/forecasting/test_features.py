"""Tests of the features against a naive pandas computation, row by row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m5_assets.forecasting.features import CATALOGUE, MODEL_FEATURES, NAMES, Context, Rows, compute
from m5_assets.forecasting.features.cumulative import LONGEST, accumulate, deviation_of
from m5_assets.forecasting.features.registry import CHUNK, FAMILIES
from m5_assets.forecasting.holidays import dates_of
from m5_assets.forecasting.panel import Panel
from m5_assets_tests.support.panels import make_panel

DAYS = 410


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(seed=3, items=8, stores=3, days=DAYS)


@pytest.fixture(scope="module")
def context(panel: Panel) -> Context:
    return Context.build(panel)


@pytest.fixture(scope="module")
def rows(panel: Panel) -> Rows:
    """Return random rows with short and long histories and all horizons."""
    rng = np.random.default_rng(5)
    count = 200
    horizon = rng.integers(1, 29, count).astype(np.int32)
    origin = rng.integers(0, DAYS, count).astype(np.int32)
    series = rng.integers(0, len(panel.series), count).astype(np.int32)
    return Rows(series, (origin + horizon).astype(np.int32), horizon)


@pytest.fixture(scope="module")
def table(context: Context, rows: Rows) -> pd.DataFrame:
    return pd.DataFrame(compute(context, rows), columns=list(NAMES))


def test_the_catalogue_describes_every_column_once() -> None:
    assert len(set(NAMES)) == len(NAMES) == sum(len(family.FEATURES) for family in FAMILIES)
    assert len({feature.family for feature in CATALOGUE}) == len(FAMILIES)
    assert all(feature.definition and feature.unit for feature in CATALOGUE)
    assert set(MODEL_FEATURES) <= set(NAMES)


def test_every_feature_has_a_value_somewhere(context: Context, table: pd.DataFrame) -> None:
    horizon = pd.DataFrame(compute(context, context.horizon_rows("TX_1")), columns=list(NAMES))
    empty = [name for name in NAMES if table[name].isna().all() and horizon[name].isna().all()]
    # Two years of lag need a longer panel than the test's.
    assert empty == ["store_dept_year_index_2", "store_dept_year_day_2", "store_dept_year_growth_2"]
    assert not np.isinf(table.to_numpy()).any()


def test_selected_names_equal_the_same_columns_of_all(context: Context, rows: Rows, table: pd.DataFrame) -> None:
    names = ["price", "lag_28", "weekday", "rolling_std_28"]
    pd.testing.assert_frame_equal(pd.DataFrame(compute(context, rows, names), columns=names), table[names])


def test_chunks_and_threads_do_not_change_values(context: Context, rows: Rows) -> None:
    many = np.tile(np.arange(len(rows)), CHUNK // len(rows) + 2)
    repeated = Rows(rows.series[many], rows.day[many], rows.horizon[many])
    whole = compute(context, repeated, MODEL_FEATURES, threads=2)
    np.testing.assert_array_equal(whole[: len(rows)], whole[-len(rows) :][np.argsort(many[-len(rows) :])])
    np.testing.assert_array_equal(whole, compute(context, repeated, MODEL_FEATURES, threads=1))


def past(panel: Panel, series: int, origin: int) -> Any:
    """Return the sales from the release to the origin, by day."""
    start = max(int(panel.release[series]), 0)
    return pd.Series(panel.sales[series, start : origin + 1].astype(float), index=range(start, origin + 1), dtype=float)


def naive_sales(panel: Panel, series: int, day: int, horizon: int) -> dict[str, Any]:
    origin = day - horizon
    y = past(panel, series, origin)
    same: Any = y[[d for d in y.index if (day - d) % 7 == 0]]
    sold = y.tail(182)
    values = {
        "origin_lag_1": y.get(origin, np.nan),
        "origin_lag_14": y.get(origin - 13, np.nan),
        "lag_28": y.get(day - 28, np.nan),
        "lag_91": y.get(day - 91, np.nan),
        "same_weekday_last_1": same.iloc[-1] if len(same) else np.nan,
        "same_weekday_last_3": same.iloc[-3] if len(same) > 2 else np.nan,
        "rolling_max_28": y.tail(28).max(),
        "rolling_ratio_7_28": y.tail(7).mean() / y.tail(28).mean() if y.tail(28).sum() else np.nan,
        "rolling_cv_91": y.tail(91).std() / y.tail(91).mean() if y.tail(91).sum() else np.nan,
        "ewm_mean_10": y.tail(364).ewm(alpha=0.1).mean().iloc[-1] if len(y) else np.nan,
        "lag_28_rolling_mean_28": y[(y.index > day - 56) & (y.index <= day - 28)].mean(),
        "lag_28_rolling_std_28": y[(y.index > day - 56) & (y.index <= day - 28)].std(),
        "same_weekday_std_13": same.tail(13).std(),
        "same_weekday_nonzero_share_13": (same.tail(13) > 0).mean() if len(same) else np.nan,
        "nonzero_share_28": (y.tail(28) > 0).mean() if len(y) else np.nan,
        "nonzero_mean_91": y.tail(91)[y.tail(91) > 0].mean(),
        "demand_interval_182": len(sold) / (sold > 0).sum() if (sold > 0).any() else np.nan,
        "demand_size_cv2_182": (sold[sold > 0].std(ddof=0) / sold[sold > 0].mean()) ** 2,
        "days_since_sale": origin - y[y > 0].index[-1] if (y.tail(364) > 0).any() else np.nan,
        "days_since_first_sale": origin - y[y > 0].index[0] if (y > 0).any() else np.nan,
    }
    zero = y.tail(91) == 0
    runs = zero.groupby((~zero).cumsum()).sum()
    values["longest_zero_run_91"] = float(runs.max()) if len(runs) else np.nan
    for window in (7, 28, 91, 364):
        values[f"rolling_mean_{window}"] = y.tail(window).mean()
        values[f"rolling_std_{window}"] = y.tail(window).std()
        values[f"rolling_skew_{window}"] = y.tail(window).skew()
    for weeks in (4, 13):
        values[f"same_weekday_mean_{weeks}"] = same.tail(weeks).mean()
    return values


def naive_price(panel: Panel, series: int, day: int, horizon: int) -> dict[str, Any]:
    keys = panel.series
    prices: Any = pd.DataFrame(panel.price)
    own: Any = prices.loc[series, :day]
    now = own.iloc[-1]
    neighbours = (keys["store_id"] == keys["store_id"][series]) & (keys["dept_id"] == keys["dept_id"][series])
    item = keys["item_id"] == keys["item_id"][series]
    year, quarter = own.tail(364), own.tail(91)
    changed = year.dropna().diff().fillna(0) != 0
    return {
        "price": now,
        "price_cents": round(float(now) * 100) % 100 if now == now else np.nan,
        "price_momentum_7": now / own.get(day - 7, np.nan),
        "price_ratio_origin": now / own[day - horizon],
        "price_ratio_mean_28": now / own.tail(28).mean(),
        "price_ratio_max_364": now / year.max(),
        "price_ratio_min_364": now / year.min(),
        "price_volatility_91": quarter.std(ddof=0) / quarter.mean() if now == now else np.nan,
        "price_changes_364": changed.sum() if now == now else np.nan,
        "days_since_price_change": (
            np.nan if now != now else day - (changed[changed].index[-1] if changed.any() else year.dropna().index[0])
        ),
        "price_discount_share_28": ((own.tail(28) < year.max()).sum() / own.tail(28).count() if now == now else np.nan),
        "price_ratio_store_dept": now / prices.loc[neighbours, day].mean(),
        "price_ratio_item": now / prices.loc[item, day].mean(),
        "days_since_release": day - panel.release[series] if day >= panel.release[series] else np.nan,
        "item_stores": prices.loc[item, day].count(),
    }


def naive_calendar(panel: Panel, series: int, day: int, horizon: int) -> dict[str, Any]:
    calendar = panel.calendar
    date = pd.Timestamp(calendar["date"][day])
    known = range(day, day - horizon + 28 + 1)
    is_event = calendar["event_name_1"] != ""
    ahead = [d - day for d in known if is_event[d]]
    snap = calendar[f"snap_{panel.series['state_id'][series]}"].astype(float)
    return {
        "weekday": date.day_of_week,
        "week_of_month": (date.day - 1) // 7 + 1,
        "days_to_month_end": (date + pd.offsets.MonthEnd(0) - date).days,
        "closed": float((date.month, date.day) == (12, 25)),
        "days_to_event": ahead[0] if ahead else np.nan,
        "events_nearby": float(
            is_event[[d for d in range(max(day - 3, 0), day + 4) if d in {*known, *range(day)}]].sum()
        ),
        "snap": snap[day],
        "snap_previous_day": snap.get(day - 1, np.nan),
        "snap_next_day": snap[day + 1] if horizon < 28 else np.nan,
        "snap_share_28": snap[day - 27 : day + 1].mean() if day >= 27 else np.nan,
        "snap_days_before": snap[day - 14 : day].sum() if day >= 14 else np.nan,
    }


def naive_groups(panel: Panel, series: int, day: int, horizon: int) -> dict[str, Any]:
    keys, origin = panel.series, day - horizon
    sales = pd.DataFrame(panel.sales[:, : origin + 1])
    item = sales[keys["item_id"] == keys["item_id"][series]].sum()
    neighbours = (keys["store_id"] == keys["store_id"][series]) & (keys["dept_id"] == keys["dept_id"][series])
    department = sales[neighbours].sum()
    same = department[[d for d in department.index if (day - d) % 7 == 0]].tail(8).mean()
    snap = panel.calendar[f"snap_{keys['state_id'][series]}"].to_numpy()[: origin + 1]
    recent, recent_snap = department.tail(91), snap[-91:]
    level = department.loc[origin - 364 - 27 : origin - 364].mean() if origin - 364 - 27 >= 0 else np.nan
    around = department.loc[day - 364 - 3 : day - 364 + 3].mean() if day - 364 - 3 >= 0 else np.nan
    return {
        "item_mean_28": item.tail(28).mean(),
        "store_dept_ratio_28_91": department.tail(28).mean() / department.tail(91).mean(),
        "share_of_store_dept_28": sales.loc[series].tail(28).sum() / department.tail(28).sum(),
        "store_dept_weekday_profile_8": same / department.tail(56).mean(),
        "store_dept_snap_lift_91": recent[recent_snap].mean() / recent[~recent_snap].mean(),
        "store_dept_year_index_1": around / level,
        "total_ratio_7_28": sales.sum().tail(7).mean() / sales.sum().tail(28).mean(),
    }


@pytest.mark.parametrize("naive", [naive_sales, naive_price, naive_calendar, naive_groups])
def test_features_match_a_naive_computation(naive, panel: Panel, rows: Rows, table: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]  # four functions of one shape
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = pd.DataFrame(
            [naive(panel, int(s), int(t), int(h)) for s, t, h in zip(rows.series, rows.day, rows.horizon, strict=True)]
        ).astype(float)
    expected = expected.replace([np.inf, -np.inf], np.nan)
    assert expected.notna().any().all()
    pd.testing.assert_frame_equal(table[expected.columns].astype(float), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("super_bowl", dt.date(2016, 2, 7)),
        ("easter", dt.date(2016, 3, 27)),
        ("mothers_day", dt.date(2016, 5, 8)),
        ("memorial_day", dt.date(2016, 5, 30)),
        ("fathers_day", dt.date(2016, 6, 19)),
        ("labor_day", dt.date(2016, 9, 5)),
        ("thanksgiving", dt.date(2016, 11, 24)),
    ],
)
def test_holidays_fall_on_their_dates(name: str, date: dt.date) -> None:
    assert dates_of(2016)[name] == date


def test_easter_in_other_years() -> None:
    assert [dates_of(year)["easter"] for year in (2011, 2012, 2013, 2014, 2015)] == [
        dt.date(2011, 4, 24),
        dt.date(2012, 4, 8),
        dt.date(2013, 3, 31),
        dt.date(2014, 4, 20),
        dt.date(2015, 4, 5),
    ]


@pytest.mark.parametrize("units", [1, 3, 763])
def test_the_deviation_of_a_constant_is_exactly_zero(units: int) -> None:
    for days in range(2, LONGEST + 1):
        assert deviation_of(days, float(days * units), float(days * units * units)) == 0
    assert np.isnan(deviation_of(1, units, units * units))


@pytest.mark.parametrize("start", [0, 3, 4, 9])
def test_accumulate_overwrites_uninitialized_memory(start: int) -> None:
    sums = np.full((3, 5), np.nan)
    accumulate(np.array([[1, 2, 0, 3]], np.float32), 0, start, sums)
    counted = np.where(np.arange(4) >= start, [1, 2, 0, 3], 0)
    for power in (1, 2, 3):
        assert sums[power - 1].tolist() == [0, *np.cumsum(counted**power)]


def test_rows_outside_the_panel_and_unknown_names_are_rejected(context: Context) -> None:
    def row(series: int, day: int, horizon: int) -> Rows:
        return Rows(*(np.array([value], np.int32) for value in (series, day, horizon)))

    with pytest.raises(ValueError, match="origin"):
        compute(context, row(0, DAYS + 5, 5))
    with pytest.raises(ValueError, match="h <= 28"):
        compute(context, row(0, 100, 29))
    with pytest.raises(ValueError, match="series"):
        compute(context, row(10_000, 100, 1))
    with pytest.raises(ValueError, match="no_such_feature"):
        compute(context, row(0, 100, 1), ["no_such_feature"])
    with pytest.raises(ValueError, match="its stores are"):
        context.horizon_rows("XX_1")
