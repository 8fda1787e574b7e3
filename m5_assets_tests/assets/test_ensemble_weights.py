"""Tests of the ensemble's weights in a real lake: the past weeks they use, and that later data change nothing."""

from __future__ import annotations

import json
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

from m5_assets.assets.ensemble import ensemble_forecast
from m5_assets.assets.ensemble_weights import ensemble_weights, read_weights
from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.hierarchy import Hierarchy
from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.readers.forecasts import read_forecast, totals_of
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest, MissingInput
from m5_assets.resources.landing_files import LandedSales, Landing, content_by_week
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import settings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-04-18")
WEEKS_LANDED = 20
LANDED = {"landed_first_day": WEEK.shift(5 - WEEKS_LANDED).first_day.isoformat()}
POLICY = ForecastPolicy.of(settings())
PRIOR = POLICY.prior

Units = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Platform:
    """A lake with 20 weeks of sales, the last four of them after `WEEK`, and forecasts that a test chooses."""

    lake: Lake
    landing: Path
    sales: LandedSales

    def sold(self, week: Week, days: int = 28) -> Units:
        """Return the units sold in the days after the week's origin, or before it if `days` is negative."""
        offset = self.sales.units.shape[1] - 28 - (WEEK.origin - week.origin).days
        first, last = sorted((offset, offset + days))
        units: Units = self.sales.units[:, first:last].astype(np.float32)
        return units

    def forecast(self, week: Week, gbm: Units, lstm: Units) -> None:
        """Publish both models' forecasts, and a totals forecast equal to the actual sales."""
        first = week.shift(1).first_day
        for kind, units in (("gbm", gbm), ("lstm", lstm)):
            table = DailyUnits(self.sales.series, first, units).table()
            self.publish(f"{kind}_predictions", week.key, table)
        sold = DailyUnits(self.sales.series, first, self.sold(week)).table().to_pandas()
        totals = sold.groupby(["store_id", "dept_id", "date"], observed=True, as_index=False)["units"].sum()
        self.publish("totals_forecast", week.key, pa.Table.from_pandas(totals, preserve_index=False))

    def publish(
        self, dataset: str, week: str | None, table: pa.Table, attributes: Mapping[str, object] | None = None
    ) -> None:
        with self.lake.staging() as staged:
            pq.write_table(table, staged / "table.parquet")
            self.lake.publish(dataset, week, staged, inputs={}, attributes=dict(attributes or {}))

    def fit(self, week: Week = WEEK) -> Manifest:
        return self.make(ensemble_weights, week)

    def make(self, asset: dg.AssetsDefinition, week: Week = WEEK) -> Manifest:
        resources = {"landing": LandingFolder(root=str(self.landing)), "lake": self.lake, "policy": POLICY}
        assert dg.materialize([asset], partition_key=week.key, resources=resources).success
        return self.lake.get(asset.key.to_user_string(), week.key)

    def scores(self, manifest: Manifest) -> pd.DataFrame:
        """Return the scores that a week's weights were fitted on."""
        return pd.read_parquet(self.lake.path(_scores_file(manifest)))


def _scores_file(manifest: Manifest) -> str:
    return next(file.key for file in manifest.files if file.key.endswith("scores.parquet"))


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landed")
    write_sample(folder, items=7, weeks=WEEKS_LANDED, seed=5)
    return folder


@pytest.fixture
def platform(landed: Path, tmp_path: Path) -> Platform:
    reader = Landing(str(landed))
    whole = reader.sales()
    chosen = np.flatnonzero(whole.series["store_id"].isin(["CA_1", "WI_2"]))
    series = whole.series.iloc[chosen].reset_index(drop=True)
    (tmp_path / "landing").mkdir()
    sales = LandedSales(series, whole.first_day, whole.last_day, whole.units[chosen])
    platform = Platform(Lake(root=str(tmp_path / "lake")), tmp_path / "landing", sales)
    prices = reader.sell_prices()
    platform.publish("sell_prices", None, prices, {"contents": content_by_week(prices, reader.calendar())})
    platform.publish("calendar", None, pa.Table.from_pandas(reader.calendar(), preserve_index=False))
    for number in range(WEEKS_LANDED):
        week = WEEK.shift(number - WEEKS_LANDED + 5)
        units = DailyUnits(series, week.first_day, np.ascontiguousarray(sales.units[:, number * 7 :][:, :7]))
        platform.publish("raw_sales", week.key, units.table(), LANDED)
    return platform


def _random(platform: Platform, seed: int) -> Units:
    units: Units = np.random.default_rng(seed).gamma(1.0, 4.0, (len(platform.sales.series), 28)).astype(np.float32)
    return units


def test_until_a_week_has_matured_the_weights_are_the_settings(platform: Platform) -> None:
    for number in (0, -1, -3):  # their days end after the week's origin, although the lake holds those sales
        week = WEEK.shift(number)
        platform.forecast(week, _random(platform, 1), platform.sold(week))
    manifest = platform.fit()
    assert read_weights(platform.lake, WEEK) == PRIOR
    assert (manifest.inputs, manifest.attributes) == ({}, {"weeks": []})


def test_the_better_model_gains_weight_with_each_matured_week(platform: Platform) -> None:
    for number, trust in ((-4, 1 / 5), (-8, 2 / 6)):
        week = WEEK.shift(number)
        platform.forecast(week, _random(platform, 1), platform.sold(week))
        platform.fit()
        prior, fitted = PRIOR.shares["lstm"], read_weights(platform.lake, WEEK).shares["lstm"]
        assert fitted == pytest.approx(prior + trust * (1 - prior), abs=1e-3)


def test_past_weeks_do_not_overlap(platform: Platform) -> None:
    for number in (-4, -5, -6, -7, -9, -13, -14):
        platform.forecast(WEEK.shift(number), _random(platform, 1), _random(platform, 2))
    manifest = platform.fit()
    assert manifest.attributes == {
        "weeks": [WEEK.shift(-9).key, WEEK.shift(-4).key]
    }  # not -13: there are no sales 28 days before it
    assert {name.split()[-1] for name in manifest.inputs if name.startswith("totals_forecast")} == {
        WEEK.shift(-9).key,
        WEEK.shift(-4).key,
    }
    assert manifest.inputs[f"gbm_predictions {WEEK.shift(-9)}"] == (
        platform.lake.get("gbm_predictions", WEEK.shift(-9).key).digest
    )


def test_scores_use_the_measure_as_of_each_weeks_origin(platform: Platform) -> None:
    past = WEEK.shift(-4)
    gbm, lstm = _random(platform, 1), _random(platform, 2)
    platform.forecast(past, gbm, lstm)
    manifest = platform.fit()
    found = platform.scores(manifest).set_index(["week", "lstm_weight", "alignment"])["wrmsse"]
    history = platform.sold(past, days=-7 * (WEEKS_LANDED - 8))
    reader = [pq.read_table(platform.lake.path(platform.lake.get(d).files[0].key)) for d in ("sell_prices", "calendar")]
    first = past.shift(-3).first_day
    price = build_panel(DailyUnits(platform.sales.series, first, history[:, -28:]), *reader).price[:, :28]
    hierarchy = Hierarchy.of(platform.sales.series)
    measure = wrmsse.weights(history[:, -28:], price, hierarchy), wrmsse.scales(history, hierarchy)
    totals = pd.read_parquet(platform.lake.path(platform.lake.get("totals_forecast", past.key).files[0].key))
    forecast = align(gbm * 0.6 + lstm * 0.4, *totals_of(platform.sales.series, totals), 0.5)
    score = wrmsse.evaluate(forecast, platform.sold(past), hierarchy, *measure)
    assert found[(past.key, 0.4, 0.5)] == pytest.approx(score.wrmsse, rel=1e-5)


def test_the_same_lake_gives_the_same_bytes_and_later_weeks_change_nothing(platform: Platform) -> None:
    platform.forecast(WEEK.shift(-4), _random(platform, 1), _random(platform, 2))
    before = platform.fit()
    platform.forecast(WEEK.shift(-2), _random(platform, 3), _random(platform, 4))
    platform.forecast(WEEK, _random(platform, 3), _random(platform, 4))
    last = WEEK.shift(4)
    platform.publish(
        "raw_sales",
        last.key,
        DailyUnits(platform.sales.series, last.first_day, platform.sales.units[:, :7]).table(),
        LANDED,
    )
    assert platform.fit() == before


def test_a_past_week_is_scored_again_only_if_its_inputs_change(platform: Platform) -> None:
    before, past = WEEK.shift(-4), WEEK.shift(-8)
    for week in (past, before):
        platform.forecast(week, _random(platform, 1), _random(platform, 2))
    from_nothing = platform.fit()
    scored = platform.scores(from_nothing)
    shutil.rmtree(platform.lake.path(f"ensemble_weights/week={WEEK}"))
    earlier = platform.fit(before)
    assert platform.fit() == from_nothing  # one week scored, the other reused

    # Impossible scores show whether they were reused or computed.
    with platform.lake.staging() as staged:
        pq.write_table(
            pa.Table.from_pandas(scored[scored["week"] == past.key].assign(wrmsse=7.0), preserve_index=False),
            staged / "scores.parquet",
        )
        platform.lake.publish("ensemble_weights", before.key, staged, inputs=earlier.inputs, attributes={})
    shutil.rmtree(platform.lake.path(f"ensemble_weights/week={WEEK}"))
    kept = platform.scores(platform.fit())
    assert set(kept.loc[kept["week"] == past.key, "wrmsse"]) == {7.0}
    assert kept[kept["week"] == before.key].equals(scored[scored["week"] == before.key])
    platform.forecast(past, _random(platform, 1), _random(platform, 3))
    rescored = platform.scores(platform.fit())
    assert 7.0 not in set(rescored["wrmsse"])
    assert rescored[rescored["week"] == before.key].equals(scored[scored["week"] == before.key])


def test_the_ensemble_uses_its_own_weeks_weights(platform: Platform) -> None:
    platform.forecast(WEEK.shift(-4), _random(platform, 1), platform.sold(WEEK.shift(-4)))
    gbm, lstm = _random(platform, 3), _random(platform, 4)
    platform.forecast(WEEK, gbm, lstm)
    fitted = platform.fit()
    weights = read_weights(platform.lake, WEEK)
    manifest = platform.make(ensemble_forecast)
    assert manifest.inputs["ensemble_weights"] == fitted.digest
    assert (manifest.attributes["lstm_weight"], manifest.attributes["alignment"]) == (
        weights.shares["lstm"],
        weights.alignment,
    )
    assert weights.shares["lstm"] > PRIOR.shares["lstm"]
    table = read_forecast(platform.lake, WEEK)
    average = table["average"].to_numpy().reshape(-1, 28)
    np.testing.assert_allclose(average, gbm * (1 - weights.shares["lstm"]) + lstm * weights.shares["lstm"], rtol=1e-5)
    frame = pd.read_parquet(platform.lake.path(platform.lake.get("totals_forecast", WEEK.key).files[0].key))
    groups, totals = totals_of(platform.sales.series, frame)
    aligned = align(average, groups, totals, weights.alignment)
    np.testing.assert_allclose(table["ensemble"].to_numpy().reshape(-1, 28), aligned, rtol=1e-4)
    written = platform.lake.path(next(f.key for f in fitted.files if f.key.endswith("weights.json")))
    assert json.loads(Path(written).read_text())["weeks"] == [WEEK.shift(-4).key]


def test_a_gap_in_the_history_is_named_instead_of_shortening_it(platform: Platform) -> None:
    shutil.rmtree(platform.lake.path(f"raw_sales/week={WEEK.shift(-3)}"))
    with pytest.raises(MissingInput, match=f"raw_sales, week {WEEK.shift(-3)}, is not in the lake"):
        platform.fit()


def test_a_forecast_of_an_earlier_version_is_rejected(platform: Platform) -> None:
    """Earlier versions had no average column."""
    table = DailyUnits(platform.sales.series, WEEK.shift(1).first_day, _random(platform, 1)).table()
    platform.publish("ensemble_forecast", WEEK.key, table.rename_columns({"units": "gbm"}))
    with pytest.raises(MissingInput, match="the column lstm, week 2016-04-18, is not in the lake; run `m5 forecast"):
        read_forecast(platform.lake, WEEK)
