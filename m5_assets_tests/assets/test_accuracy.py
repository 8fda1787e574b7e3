"""Tests of a week's accuracy in a real lake, with official weights and scales and with computed ones."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m5_assets.assets.accuracy import forecast_accuracy
from m5_assets.assets.ensemble import forecast_table
from m5_assets.forecasting.hierarchy import LEVELS
from m5_assets.forecasting.history import DailyUnits, join_stores, read_daily
from m5_assets.readers.accuracy_tables import read_accuracy, read_aggregate_accuracy
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import MissingInput
from m5_assets.resources.landing_files import OFFICIAL, LandedSales, Landing
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import settings
from m5_assets.weeks import Week
from m5_assets_tests.forecasting.test_wrmsse import naive_wrmsse

WEEK, ORIGIN_DAY = Week.parse("2016-04-18"), 1913
HISTORY_WEEKS, ALIGNMENT = 8, 0.5
POLICY = ForecastPolicy.of(settings())
MODELS = ("gbm", "lstm", "average", "gbm_aligned", "lstm_aligned", "ensemble", "seasonal_naive")

Units = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Platform:
    """A landing folder and a lake with eight weeks of sales, the next four weeks, and a forecast."""

    lake: Lake
    landing: Path
    sales: LandedSales
    forecasts: dict[str, Units]

    def units(self, first: int, last: int) -> Units:
        return self.sales.units[:, first - self.sales.first_day : last + 1 - self.sales.first_day].astype(float)

    def score(self) -> pd.DataFrame:
        done = dg.materialize(
            [forecast_accuracy],
            partition_key=WEEK.key,
            resources={"landing": LandingFolder(root=str(self.landing)), "lake": self.lake, "policy": POLICY},
        )
        assert done.success
        return read_accuracy(self.lake, WEEK).set_index(["model", "level", "horizon_week"])

    def attributes(self) -> dict[str, object]:
        return dict(self.lake.get("forecast_accuracy", WEEK.key).attributes)


def _publish(
    lake: Lake,
    dataset: str,
    week: str | None,
    table: pa.Table,
    attributes: Mapping[str, object] | None = None,
    inputs: dict[str, str] | None = None,
) -> str:
    with lake.staging() as staged:
        pq.write_table(table, staged / "table.parquet")
        return lake.publish(dataset, week, staged, inputs=inputs or {}, attributes=attributes or {}).digest


def _totals(series: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    groups = series[["store_id", "dept_id"]].drop_duplicates()
    days = pd.DataFrame({"date": pd.date_range(WEEK.shift(1).first_day, periods=28)})
    frame = groups.merge(days, how="cross")
    return frame.assign(units=rng.gamma(4.0, 2.0, len(frame)).astype(np.float32))


def _aligned(series: pd.DataFrame, units: Units, totals: pd.DataFrame) -> Units:
    """Return units with each store-department's days scaled half of the way to its total, geometrically."""
    aligned = units.astype(float).copy()
    for (store, dept), part in totals.groupby(["store_id", "dept_id"]):
        rows = np.flatnonzero((series["store_id"] == store) & (series["dept_id"] == dept))
        ratio = part.sort_values("date")["units"].to_numpy() / units[rows].sum(axis=0)
        aligned[rows] *= ratio**ALIGNMENT
    return aligned


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landed")
    write_sample(folder, items=7, weeks=HISTORY_WEEKS + 4, seed=5)
    return folder


@pytest.fixture
def platform(landed: Path, tmp_path: Path) -> Platform:
    lake, reader = Lake(root=str(tmp_path / "lake")), Landing(str(landed))
    whole = reader.sales()
    chosen = np.flatnonzero(whole.series["store_id"].isin(["CA_1", "WI_2"]))
    series = whole.series.iloc[chosen].reset_index(drop=True)
    sales = LandedSales(series, whole.first_day, whole.last_day, whole.units[chosen])
    _publish(lake, "sell_prices", None, reader.sell_prices())
    _publish(lake, "calendar", None, pa.Table.from_pandas(reader.calendar(), preserve_index=False))
    for number in range(HISTORY_WEEKS + 4):
        week = WEEK.shift(number - HISTORY_WEEKS + 1)
        units = DailyUnits(sales.series, week.first_day, np.ascontiguousarray(sales.units[:, number * 7 :][:, :7]))
        landed_since = WEEK.shift(1 - HISTORY_WEEKS).first_day.isoformat()
        _publish(lake, "raw_sales", week.key, units.table(), {"landed_first_day": landed_since})
    rng = np.random.default_rng(7)
    gbm, lstm, average, ensemble = rng.gamma(2.0, 1.0, (4, len(sales.series), 28)).astype(np.float32)
    first = DailyUnits(sales.series, WEEK.shift(1).first_day, gbm)
    forecast = forecast_table(first, {"gbm": gbm, "lstm": lstm}, average, ensemble)
    totals = _totals(sales.series, rng)
    digest = _publish(lake, "totals_forecast", WEEK.key, pa.Table.from_pandas(totals, preserve_index=False))
    _publish(lake, "ensemble_forecast", WEEK.key, forecast, {"alignment": ALIGNMENT}, {"totals_forecast": digest})
    forecasts = {
        "gbm": gbm,
        "lstm": lstm,
        "average": average,
        "gbm_aligned": _aligned(sales.series, gbm, totals),
        "lstm_aligned": _aligned(sales.series, lstm, totals),
        "ensemble": ensemble,
        "seasonal_naive": np.tile(sales.units[:, HISTORY_WEEKS * 7 - 7 : HISTORY_WEEKS * 7], 4),
    }
    (tmp_path / "landing").mkdir()
    return Platform(lake, tmp_path / "landing", sales, {k: v.astype(float) for k, v in forecasts.items()})


def _official(series: pd.DataFrame, days: tuple[int, ...]) -> pd.DataFrame:
    """Return random weights and scales of every group, in the competition's format."""
    parts = []
    for level in LEVELS:
        names = series[list(level.keys)].agg("_".join, axis=1) if level.keys else pd.Series("Total", series.index)
        parts.append(pd.DataFrame({"level": level.number, "series": sorted(names.unique())}))
    frame = pd.concat(parts, ignore_index=True)
    rng = np.random.default_rng(11)
    for day in days:
        weight = pd.Series(rng.uniform(0.1, 1.0, len(frame)))
        frame[f"weight_{day}"] = weight / weight.groupby(frame["level"]).transform("sum") / 12
        frame[f"scale_{day}"] = rng.uniform(0.5, 50.0, len(frame))
    return frame


def _by_the_definition(
    platform: Platform, official: pd.DataFrame, forecast: Units, days: slice, level: int | None = None
) -> float:
    """Return the WRMSSE of some days, computed group by group from the official table."""
    error = pd.DataFrame(forecast - platform.units(ORIGIN_DAY + 1, ORIGIN_DAY + 28)).iloc[:, days]
    table = official.set_index(["level", "series"])
    weight, scale = table[f"weight_{ORIGIN_DAY}"].to_dict(), table[f"scale_{ORIGIN_DAY}"].to_dict()
    score = 0.0
    for each in LEVELS:
        if level in (None, each.number):
            series = platform.sales.series
            names = series[list(each.keys)].agg("_".join, axis=1) if each.keys else pd.Series("Total", series.index)
            for name, summed in error.groupby(names).sum().iterrows():
                group = (each.number, name)
                score += weight[group] * float((summed**2).mean() / scale[group]) ** 0.5
    return score if level is None else score * 12


def _prices(platform: Platform) -> Units:
    """Return the price of every series on the last 28 days, looked up week by week."""
    table = pq.read_table(platform.lake.path(platform.lake.get("sell_prices").files[0].key)).to_pandas()
    wide = table.astype({"item_id": str, "store_id": str}).pivot_table(
        index=["item_id", "store_id"], columns="wm_yr_wk", values="sell_price"
    )
    calendar = pq.read_table(platform.lake.path(platform.lake.get("calendar").files[0].key)).to_pandas()
    weeks = calendar.set_index("d")["wm_yr_wk"].loc[ORIGIN_DAY - 27 : ORIGIN_DAY]
    keys = pd.MultiIndex.from_frame(platform.sales.series[["item_id", "store_id"]])
    price: Units = wide.reindex(index=keys, columns=weeks).to_numpy(float)
    return price


def test_without_the_file_weights_and_scales_are_computed(platform: Platform) -> None:
    found = platform.score()
    assert platform.attributes()["weights_and_scales"] == "own"
    assert OFFICIAL not in platform.lake.get("forecast_accuracy", WEEK.key).inputs
    series, sales = platform.sales.series, platform.units(ORIGIN_DAY - HISTORY_WEEKS * 7 + 1, ORIGIN_DAY)
    actual = platform.units(ORIGIN_DAY + 1, ORIGIN_DAY + 28)
    for model, forecast in platform.forecasts.items():
        expected = naive_wrmsse(series, sales, _prices(platform), forecast, actual)
        assert found.loc[(model, 0, 0), "wrmsse"] == pytest.approx(expected, rel=1e-6)


def test_official_numbers_are_used_if_the_file_has_the_origin(platform: Platform) -> None:
    own = platform.score()
    official = _official(platform.sales.series, (1885, ORIGIN_DAY))
    official.to_parquet(platform.landing / OFFICIAL, index=False)
    found = platform.score()
    assert platform.attributes() == {
        "rows": 7 * 5 * 13,
        "series": 14,
        "origin_day": ORIGIN_DAY,
        "weights_and_scales": "official",
    }
    digest = hashlib.sha256((platform.landing / OFFICIAL).read_bytes()).hexdigest()
    assert platform.lake.get("forecast_accuracy", WEEK.key).inputs[OFFICIAL] == digest
    assert found.index.equals(own.index)
    for model, forecast in platform.forecasts.items():
        expected = _by_the_definition(platform, official, forecast, slice(None))
        assert found.loc[(model, 0, 0), "wrmsse"] == pytest.approx(expected, rel=1e-6)
        assert found.loc[(model, 9, 0), "wrmsse"] == pytest.approx(
            _by_the_definition(platform, official, forecast, slice(None), level=9), rel=1e-6
        )
        for week in range(1, 5):
            days = slice(week * 7 - 7, week * 7)
            expected = _by_the_definition(platform, official, forecast, days)
            assert found.loc[(model, 0, week), "wrmsse"] == pytest.approx(expected, rel=1e-6)
            level = _by_the_definition(platform, official, forecast, days, level=3)
            assert found.loc[(model, 3, week), "wrmsse"] == pytest.approx(level, rel=1e-6)
            sold = platform.units(ORIGIN_DAY + 1, ORIGIN_DAY + 28)[:, days].sum()
            assert found.loc[(model, 0, week), "bias"] == pytest.approx(forecast[:, days].sum() / sold - 1, rel=1e-5)


def _groups(series: pd.DataFrame, values: Units, *keys: str) -> dict[tuple[str, ...], Units]:
    """Return sums grouped by some columns."""
    sums: dict[tuple[str, ...], Units] = {}
    for row, names in enumerate(series[list(keys)].itertuples(index=False, name=None)):
        sums[names] = sums.get(names, np.zeros(28)) + values[row]
    return sums


def test_every_aggregate_is_scored(platform: Platform) -> None:
    levels = platform.score()
    found = read_aggregate_accuracy(platform.lake, WEEK)
    series, actual = platform.sales.series, platform.units(ORIGIN_DAY + 1, ORIGIN_DAY + 28)
    keys = ("state_id", "store_id", "cat_id", "dept_id")
    for model in MODELS:
        own = found[found["model"] == model]
        assert own["level"].max() == (12 if model in ("ensemble", "seasonal_naive") else 9)
        departments = own[own["level"] == 9].set_index(list(keys))
        expected = _groups(series, platform.forecasts[model], *keys)
        sold = _groups(series, actual, *keys)
        assert len(departments) == len(expected)
        for names, units in expected.items():
            assert departments.loc[names, "units"] == sold[names].sum()
            assert departments.loc[names, "mae"] == pytest.approx(np.abs(units - sold[names]).mean(), rel=1e-5)
            bias = units.sum() / sold[names].sum() - 1
            assert departments.loc[names, "bias"] == pytest.approx(bias, rel=1e-5)
        mean = levels.loc[[(model, 9, 0)]].iloc[0]
        assert mean["mae"] == pytest.approx(departments["mae"].mean())
        assert mean["rmsse"] == pytest.approx(departments["rmsse"].mean())
    whole = found[found["model"] == "ensemble"]
    assert (whole["weight"] * whole["rmsse"]).sum() == pytest.approx(levels.loc[("ensemble", 0, 0), "wrmsse"])
    assert levels.loc[("ensemble", 0, 0), "mae"] == pytest.approx(whole.groupby("level")["mae"].mean().mean())


def test_an_aggregate_has_the_keys_of_its_level_and_those_they_imply(platform: Platform) -> None:
    platform.score()
    found = read_aggregate_accuracy(platform.lake, WEEK)
    known = {
        level: {column for column in part if part[column].notna().all()}
        for level, part in found[["level", "state_id", "store_id", "cat_id", "dept_id", "item_id"]].groupby("level")
    }
    assert {level: columns - {"level"} for level, columns in known.items()} == {
        **{1: set(), 2: {"state_id"}, 3: {"state_id", "store_id"}, 4: {"cat_id"}, 5: {"cat_id", "dept_id"}},
        **{6: {"state_id", "cat_id"}, 7: {"state_id", "cat_id", "dept_id"}, 8: {"state_id", "store_id", "cat_id"}},
        **{9: {"state_id", "store_id", "cat_id", "dept_id"}, 10: {"cat_id", "dept_id", "item_id"}},
        11: {"state_id", "cat_id", "dept_id", "item_id"},
        12: {"state_id", "store_id", "cat_id", "dept_id", "item_id"},
    }


def test_totals_rebuilt_after_the_forecast_are_rejected(platform: Platform) -> None:
    other = pa.Table.from_pandas(_totals(platform.sales.series, np.random.default_rng(8)), preserve_index=False)
    _publish(platform.lake, "totals_forecast", WEEK.key, other)
    with pytest.raises(dg.Failure, match="aligned to other totals than those in the lake; materialize it again"):
        platform.score()


@pytest.mark.parametrize("case", ["another origin", "other series"])
def test_a_file_for_other_origins_or_series_is_not_used(
    case: str, platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    own = platform.score()
    series = platform.sales.series
    official = _official(series, (1885,)) if case == "another origin" else _official(series.iloc[1:], (ORIGIN_DAY,))
    official.to_parquet(platform.landing / OFFICIAL, index=False)
    pd.testing.assert_frame_equal(platform.score(), own)
    assert platform.attributes()["weights_and_scales"] == "own"
    said = f"does not hold d_{ORIGIN_DAY}" if case == "another origin" else "covers other series than the lake"
    assert said in capfd.readouterr().err


def test_a_malformed_file_fails_the_week_and_is_named(platform: Platform) -> None:
    (platform.landing / OFFICIAL).write_bytes(b"PAR1")
    with pytest.raises(dg.Failure, match=r"official\.parquet: cannot be read as Parquet"):
        platform.score()
    assert platform.lake.find("forecast_accuracy", WEEK.key) is None


def _add_store(platform: Platform, store: str, weeks: list[Week], units: int) -> None:
    """Add a copy of the first store's series to these weeks of sales, with the same units on each day."""
    for week in weeks:
        manifest = platform.lake.get("raw_sales", week.key)
        known = read_daily(platform.lake.path(manifest.files[0].key))
        own = known.series[known.series["store_id"] == "CA_1"].assign(store_id=store, state_id=store[:2])
        added = DailyUnits(own.reset_index(drop=True), week.first_day, np.full((len(own), 7), units, np.int32))
        _publish(platform.lake, "raw_sales", week.key, join_stores([known, added]).table(), manifest.attributes)


def test_stores_that_open_after_the_origin_or_have_left_before_it_are_not_scored(platform: Platform) -> None:
    expected = platform.score()
    past = [WEEK.shift(number) for number in range(1 - HISTORY_WEEKS, 1)]
    _add_store(platform, "TX_1", past[:-1], units=9)  # closed in the forecast's week
    _add_store(platform, "WI_3", past, units=0)  # listed before it opened, in a file that landed later
    _add_store(platform, "WI_3", [WEEK.shift(number) for number in range(1, 5)], units=5)
    pd.testing.assert_frame_equal(platform.score(), expected)


def test_a_store_with_sales_and_without_a_forecast_is_an_error(platform: Platform) -> None:
    _add_store(platform, "WI_3", [WEEK], units=1)
    with pytest.raises(dg.Failure, match="7 series with sales have no forecast"):
        platform.score()


def test_a_gap_in_the_history_is_named_instead_of_shortening_it(platform: Platform) -> None:
    shutil.rmtree(platform.lake.path(f"raw_sales/week={WEEK.shift(-3)}"))
    with pytest.raises(MissingInput, match=f"raw_sales, week {WEEK.shift(-3)}, is not in the lake"):
        platform.score()
