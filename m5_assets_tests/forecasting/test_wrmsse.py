"""Tests of the hierarchy and the WRMSSE: invariants, a naive reimplementation, and the competition's own figures."""

from __future__ import annotations

import importlib.util
import os
import time
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.hierarchy import LEVELS, Floats, Hierarchy

SHARED = Path(os.environ.get("M5_SHARED", Path(__file__).parents[3] / "shared" / "m5"))
HORIZON = 28
ID_COLUMNS = ["item_id", "dept_id", "cat_id", "store_id", "state_id"]

real_data = pytest.mark.skipif(
    not (SHARED / "official.parquet").exists(),
    reason=f"the real M5 data is not at {SHARED}; set M5_SHARED to its folder",
)


def series_of(stores: int = 3, items: int = 4) -> pd.DataFrame:
    """Return a small store-item grid with two departments per category and two stores per state."""
    rows = []
    for store, item in product(range(stores), range(items)):
        category, department, state = f"CAT{item % 2}", f"CAT{item % 2}_{item % 4}", "WXYZ"[store // 2]
        rows.append((f"{department}_{item:03}", department, category, f"{state}_{store % 2}", state))
    return pd.DataFrame(rows, columns=ID_COLUMNS)


def naive_groups(series: pd.DataFrame) -> list[list[list[int]]]:
    """Return, for each level, the rows of every group, found by comparing keys one by one."""
    levels = []
    for level in LEVELS:
        keys = [tuple(row[key] for key in level.keys) for _, row in series.iterrows()]
        levels.append([[i for i, k in enumerate(keys) if k == key] for key in sorted(set(keys))])
    return levels


def naive_wrmsse(series: pd.DataFrame, sales: Floats, price: Floats, forecast: Floats, actual: Floats) -> float:
    """Return the WRMSSE by its definition, group by group and day by day."""
    score = 0.0
    for groups in naive_groups(series):
        for rows in groups:
            units = [sum(sales[i, t] for i in rows) for t in range(sales.shape[1])]
            selling = [t for t, y in enumerate(units) if y != 0]
            if not selling or selling[0] == len(units) - 1:
                continue
            changes = [(units[t] - units[t - 1]) ** 2 for t in range(selling[0] + 1, len(units))]
            scale = sum(changes) / len(changes)
            revenue = [
                sum(sales[i, -28 + t] * price[i, t] for t in range(28) if price[i, t] == price[i, t])
                for i in range(len(series))
            ]
            share = sum(revenue[i] for i in rows) / sum(revenue)
            errors = [sum(forecast[i, h] - actual[i, h] for i in rows) for h in range(forecast.shape[1])]
            if scale > 0:
                score += share / 12 * (sum(e**2 for e in errors) / len(errors) / scale) ** 0.5
    return score


@st.composite
def cases(draw: st.DrawFn) -> tuple[pd.DataFrame, Floats, Floats, Floats, Floats]:
    """Draw series, sales (N, 70) with late starts and unsold series, prices with gaps, forecasts and actuals."""
    series = series_of(draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    count = len(series)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sales = rng.poisson(1.5, (count, 70)).astype(float)
    start = rng.integers(0, 80, count)
    start[draw(st.integers(0, count - 1))] = 0  # at least one series has revenue
    sales[np.arange(70) < start[:, None]] = 0
    sales[:, -1] += start == 0
    price = rng.uniform(1, 9, (count, 28))
    price[:, :-1][rng.random((count, 27)) < 0.1] = np.nan
    return series, sales, price, rng.gamma(1.0, 2.0, (count, HORIZON)), rng.poisson(1.5, (count, HORIZON)).astype(float)


def score_of(series: pd.DataFrame, sales: Floats, price: Floats, forecast: Floats, actual: Floats) -> wrmsse.Score:
    hierarchy = Hierarchy.of(series)
    weight = wrmsse.weights(sales[:, -28:], price, hierarchy)
    return wrmsse.evaluate(forecast, actual, hierarchy, weight, wrmsse.scales(sales, hierarchy))


@settings(deadline=None)
@given(cases())
def test_the_score_matches_a_naive_computation(case: tuple[pd.DataFrame, Floats, Floats, Floats, Floats]) -> None:
    score = score_of(*case)
    assert score.wrmsse == pytest.approx(naive_wrmsse(*case), rel=1e-9)
    assert score.wrmsse == pytest.approx(score.levels.mean(), rel=1e-9)


@settings(deadline=None)
@given(cases())
def test_a_perfect_forecast_scores_zero(case: tuple[pd.DataFrame, Floats, Floats, Floats, Floats]) -> None:
    series, sales, price, _, actual = case
    score = score_of(series, sales, price, actual, actual)
    assert score.wrmsse == 0
    assert score.bias == 0


@settings(deadline=None)
@given(cases(), st.integers(-6, 6).map(lambda power: 2.0**power))  # powers of two are exact in binary
def test_the_unit_of_measure_does_not_matter(
    case: tuple[pd.DataFrame, Floats, Floats, Floats, Floats], unit: float
) -> None:
    series, sales, price, forecast, actual = case
    scaled = score_of(series, sales * unit, price, forecast * unit, actual * unit)
    assert scaled.levels == pytest.approx(score_of(*case).levels, rel=1e-9)


@settings(deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_series_does_not_matter(
    case: tuple[pd.DataFrame, Floats, Floats, Floats, Floats], random: object
) -> None:
    series, *arrays = case
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(series))  # type: ignore[attr-defined]  # a Random
    shuffled = score_of(series.iloc[order], *(array[order] for array in arrays))
    assert shuffled.levels == pytest.approx(score_of(*case).levels, rel=1e-9)


@settings(deadline=None)
@given(cases())
def test_each_levels_weights_sum_to_a_twelfth(case: tuple[pd.DataFrame, Floats, Floats, Floats, Floats]) -> None:
    series, sales, price, _, _ = case
    hierarchy = Hierarchy.of(series)
    weight = wrmsse.weights(sales[:, -28:], price, hierarchy)
    assert [part.sum() * 12 for part in hierarchy.split(weight)] == pytest.approx([1.0] * 12)


def test_one_series_by_hand() -> None:
    series = series_of(1, 1)
    sales = np.array([[0, 0, 5, 7, 0]], dtype=float)  # changes after the first sale: +2, -7
    hierarchy = Hierarchy.of(series)
    scale = wrmsse.scales(sales, hierarchy)
    assert scale == pytest.approx([(4 + 49) / 2] * 12)
    score = wrmsse.evaluate(np.array([[2.0, 4.0]]), np.array([[1.0, 1.0]]), hierarchy, np.full(12, 1 / 12), scale)
    assert score.rmsse == pytest.approx([(5 / 26.5) ** 0.5] * 12)
    assert score.bias == pytest.approx(2.0)


def test_scales_do_not_depend_on_where_a_block_of_days_ends() -> None:
    rng = np.random.default_rng(1)
    series, sales = series_of(), rng.poisson(0.3, (12, 150)).astype(float)
    sales[3, :128] = 0  # a first sale before, on and after a block's edge
    sales[4, :64] = 0
    sales[5, :63] = 0
    hierarchy = Hierarchy.of(series)
    expected = []
    for units in hierarchy.sum(sales):
        first = np.flatnonzero(units)[0]
        expected.append(np.mean(np.diff(units[first:]) ** 2))
    assert wrmsse.scales(sales, hierarchy) == pytest.approx(expected)


def test_a_series_that_never_sold_is_not_scored() -> None:
    series, rng = series_of(1, 2), np.random.default_rng(2)
    sales = np.stack([rng.poisson(3.0, 60), np.zeros(60)]).astype(float)
    score = score_of(series, sales, np.ones((2, 28)), np.ones((2, HORIZON)), np.zeros((2, HORIZON)))
    assert np.isfinite(score.wrmsse)
    assert np.isnan(score.rmsse).sum() == 9  # its own group at each level from category down
    assert np.isnan(score.bias)


def test_labels_and_sums_of_a_subset_of_stores() -> None:
    series = series_of().iloc[::-1]
    hierarchy = Hierarchy.of(series)
    groups = [rows for level in naive_groups(series) for rows in level]
    values = np.random.default_rng(3).random((len(series), 5))
    assert hierarchy.sum(values) == pytest.approx(np.stack([values[rows].sum(axis=0) for rows in groups]))
    assert hierarchy.labels[0] == "Total"
    for level, names in zip(LEVELS[1:], hierarchy.split(hierarchy.labels)[1:], strict=True):
        assert names.tolist() == [
            "_".join(k) for k in sorted(set(series[list(level.keys)].itertuples(index=False, name=None)))
        ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="dept_id"), "dept_id"),
        (lambda s: s.iloc[:0], "0 series"),
        (lambda s: pd.concat([s, s.iloc[[5]]]), "more than once in store"),
    ],
)
def test_series_without_a_hierarchy_are_rejected(change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hierarchy.of(change(series_of()))  # type: ignore[operator]  # a lambda of the table above


def test_forecasts_that_cannot_be_scored_are_rejected() -> None:
    hierarchy, one = Hierarchy.of(series_of(1, 1)), np.ones(12)
    with pytest.raises(ValueError, match="hierarchy of 1 series"):
        wrmsse.evaluate(np.ones((2, 28)), np.ones((2, 28)), hierarchy, one, one)
    bad = np.ones((1, 28))
    bad[0, 6] = np.nan
    with pytest.raises(ValueError, match="series 0, day 7"):
        wrmsse.evaluate(bad, np.ones((1, 28)), hierarchy, one, one)
    with pytest.raises(ValueError, match="no revenue"):
        wrmsse.weights(np.zeros((1, 28)), np.ones((1, 28)), hierarchy)


def test_a_table_of_other_groups_is_rejected() -> None:
    hierarchy = Hierarchy.of(series_of())
    table = pd.DataFrame(
        {
            "level": hierarchy.level_of(),
            "series": hierarchy.labels,
            "weight": np.arange(len(hierarchy.labels)),
            "scale": 2,
        }
    )
    weight, _ = wrmsse.from_table(table.sample(frac=1, random_state=0), hierarchy)
    assert weight.tolist() == table["weight"].tolist()
    with pytest.raises(ValueError, match="1 groups missing"):
        wrmsse.from_table(table.iloc[1:], hierarchy)
    with pytest.raises(ValueError, match="1 groups missing, unknown or duplicate"):
        wrmsse.from_table(pd.concat([table, table.iloc[[0]]]), hierarchy)


# The competition's own figures, on its own data


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    return pd.read_parquet(SHARED / "sales.parquet")


@pytest.fixture(scope="module")
def official() -> pd.DataFrame:
    return pd.read_parquet(SHARED / "official.parquet")


@pytest.fixture(scope="module")
def m5(sales: pd.DataFrame) -> Hierarchy:
    return Hierarchy.of(sales)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score", SHARED / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def units(sales: pd.DataFrame, first: int, last: int) -> npt.NDArray[np.float64]:
    return sales[[f"d_{day}" for day in range(first, last + 1)]].to_numpy(np.float64)


def given_at(official: pd.DataFrame, origin: int, hierarchy: Hierarchy) -> tuple[Floats, Floats]:
    names = {f"weight_{origin}": "weight", f"scale_{origin}": "scale"}
    return wrmsse.from_table(official[["level", "series", *names]].rename(columns=names), hierarchy)


@real_data
@pytest.mark.parametrize("origin", [1857, 1885, 1913])
def test_the_reference_implementation_agrees(
    origin: int, sales: pd.DataFrame, official: pd.DataFrame, m5: Hierarchy, reference: ModuleType
) -> None:
    actual = units(sales, origin + 1, origin + HORIZON)
    noise = np.random.default_rng(origin).gamma(2.0, 0.5, actual.shape)
    forecast = units(sales, origin - 27, origin) * 0.6 + noise * 0.4
    score = wrmsse.evaluate(forecast, actual, m5, *given_at(official, origin, m5))
    expected, levels = reference.wrmsse(forecast, actual, sales[["id", *ID_COLUMNS]], official, origin)
    assert score.wrmsse == pytest.approx(expected, abs=1e-6)
    assert score.levels == pytest.approx(levels, abs=1e-6)


@real_data
@pytest.mark.parametrize(("level", "expected"), [(0.0, 5.44646), (1.0, 2.56305)])
def test_constant_forecasts_of_the_public_window(
    level: float, expected: float, sales: pd.DataFrame, official: pd.DataFrame, m5: Hierarchy
) -> None:
    actual = units(sales, 1914, 1941)
    score = wrmsse.evaluate(np.full_like(actual, level), actual, m5, *given_at(official, 1913, m5))
    assert score.wrmsse == pytest.approx(expected, abs=5e-6)


@real_data
def test_weights_are_the_official_ones(sales: pd.DataFrame, official: pd.DataFrame, m5: Hierarchy) -> None:
    origin = 1913
    weeks = pd.read_csv(SHARED / "calendar.csv", usecols=["d", "wm_yr_wk"]).set_index("d")["wm_yr_wk"]
    week_of_day = weeks.loc[[f"d_{day}" for day in range(origin - 27, origin + 1)]].tolist()
    prices = pd.read_parquet(SHARED / "sell_prices.parquet", filters=[("wm_yr_wk", "in", sorted(set(week_of_day)))])
    wide = prices.astype({"store_id": str, "item_id": str}).pivot_table(
        index=["item_id", "store_id"], columns="wm_yr_wk", values="sell_price"
    )
    price = wide.reindex(pd.MultiIndex.from_frame(sales[["item_id", "store_id"]]))[week_of_day].to_numpy()
    found = wrmsse.weights(units(sales, origin - 27, origin), price, m5)
    assert found == pytest.approx(given_at(official, origin, m5)[0], abs=1e-10)


@real_data
def test_scales_of_whole_departments_are_the_official_ones(official: pd.DataFrame) -> None:
    frame = pd.read_parquet(SHARED / "sales_full_history_4205.parquet")
    subset = Hierarchy.of(frame)
    found = pd.Series(
        wrmsse.scales(units(frame, 1, 1913), subset),
        pd.MultiIndex.from_arrays([subset.level_of(), subset.labels]),
    )
    expected = official.set_index(["level", "series"])["scale_1913"]
    departments = [(9, "TX_3_FOODS_3"), (9, "CA_3_HOBBIES_2"), (9, "CA_1_FOODS_1"), (9, "CA_2_FOODS_1")]
    assert found[departments].tolist() == pytest.approx(expected[departments].tolist(), rel=1e-9)
    items = found.xs(12)
    difference = (items / expected.xs(12).reindex(items.index) - 1).abs()
    assert (difference < 1e-9).mean() > 0.99  # for 0.6%, the table's first day of sale is known only to a few weeks


@real_data
def test_summing_all_levels_is_fast(m5: Hierarchy) -> None:
    error = np.ones((30490, HORIZON))
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        assert m5.sum(error).shape == (42840, HORIZON)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.1
