"""Every way of starting a week first loads the same: what the landed files correct, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.assets.landing import calendar, raw_sales, sell_prices, store_dept_sales
from m5_assets.automation.schedules import weekly
from m5_assets.automation.sensors.landed_files import landed_files
from m5_assets.cli import back_history, backfill, backtest, forecast, score
from m5_assets.dagster_internals import UnresolvedAssetJobDefinition
from m5_assets.errors import UserError
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import settings
from m5_assets.weeks import Week

SALES = "sales_train_evaluation.csv"
LAST = Week.parse("2016-05-16")
SCORED = LAST.shift(-4)
CORRECTED = "2016-04-11 to 2016-04-11"
"""A week before both."""

Ran = list[tuple[str, Mapping[str, str]]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return landing files of twelve weeks."""
    folder = tmp_path_factory.mktemp("whole")
    write_sample(folder, items=7, weeks=12, seed=1)
    return folder


@pytest.fixture
def home(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a platform with short histories; the landed files are a copy of `whole`."""
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("M5_MIN_HISTORY_WEEKS", "5")
    settings.cache_clear()
    (tmp_path / "landing").mkdir()
    for file in whole.iterdir():
        (tmp_path / "landing" / file.name).write_bytes(file.read_bytes())
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Record the runs that commands would start, as job and tags."""
    found: Ran = []

    def record(job: UnresolvedAssetJobDefinition, tags: Mapping[str, str], _: object = None, *, note: str = "") -> None:
        found.append((job.name, tags))

    for module in (back_history, backfill, forecast, score):
        monkeypatch.setattr(module, "execute", record)
    monkeypatch.setattr(backfill, "_compute_features", lambda weeks: None)
    monkeypatch.setattr(back_history, "_lacking", lambda *_: {})  # looks into PostgreSQL
    return found


def _load(home: Path) -> Lake:
    """Load all landed weeks but the last, forecast the scored and the last but one, and return the lake."""
    lake, landing = Lake(root=str(home / "lake")), LandingFolder(root=str(home / "landing"))
    weeks = dg.PartitionKeyRange(LAST.shift(-11).key, LAST.shift(-1).key)
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in (raw_sales, store_dept_sales):
            asset(dg.build_asset_context(partition_key_range=weeks, instance=instance), landing=landing, lake=lake)
    sell_prices(landing=landing, lake=lake)
    calendar(landing=landing, lake=lake)
    for week in (SCORED, LAST.shift(-1)):
        known = KnownInputs(lake).at(week, ForecastPolicy.of(settings()))
        lake.commit(Manifest("features", week.key, (), known.inputs, {"weeks": len(known.sales)}))
        lake.commit(Manifest("ensemble_forecast", week.key, ()))
    return lake


def _correct(home: Path) -> None:
    """Land a file in which one product sold more on one day of the corrected week."""
    days = pd.read_csv(home / "landing" / "calendar.csv", dtype=str).set_index("date")["d"]
    sales = pd.read_csv(home / "landing" / SALES, dtype=str)
    sales.loc[3, days[CORRECTED[:10]]] = "9"
    sales.to_csv(home / "landing" / SALES, index=False)


def _by_schedule(lake: Lake, landing: LandingFolder) -> list[str]:
    with dg.instance_for_test() as instance:
        at = pd.Timestamp("2016-05-23T02:00", tz="UTC").to_pydatetime()
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
            found = weekly(context, lake=lake, landing=landing)
    assert isinstance(found, list)
    assert found[-1].partition_key == LAST.key
    return [" to ".join(request.tags.values()) for request in found[:-1]]


def _by_sensor(lake: Lake, landing: LandingFolder) -> list[str]:
    cursor, requests = None, list[dg.RunRequest]()
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):  # the first look waits until the file is complete
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                found = landed_files(context, lake=lake, landing=landing)
            assert isinstance(found, dg.SensorResult)
            cursor, requests = found.cursor, [*(found.run_requests or [])]
    return [" to ".join(request.tags.values()) for request in requests]


def _loads(ran: Ran) -> list[str]:
    return [" to ".join(tags.values()) for job, tags in ran if job == "back_history" and tags]


def test_all_ways_of_starting_a_week_load_corrected_weeks(home: Path, ran: Ran) -> None:
    lake, landing = _load(home), LandingFolder(root=str(home / "landing"))
    _correct(home)
    assert KnownInputs(lake).changed(SCORED) == []  # nothing shows it before the load

    def loads_of(start: Callable[[], object]) -> list[str]:
        ran.clear()
        start()
        return _loads(ran)

    assert loads_of(lambda: forecast.forecast_week(LAST)) == [CORRECTED]
    assert ran[-1] == ("weekly_forecast", {"dagster/partition": LAST.key})
    assert loads_of(lambda: backfill.backfill_weeks([LAST])) == [CORRECTED, f"{LAST} to {LAST}"]
    assert loads_of(lambda: score.score_weeks([SCORED])) == [CORRECTED, f"{LAST} to {LAST}"]
    assert loads_of(lambda: backtest.carry_out(lake, [SCORED], again=False))[:1] == [CORRECTED]
    assert _by_schedule(lake, landing) == [CORRECTED]
    assert _by_sensor(lake, landing) == [CORRECTED]


def test_a_file_of_other_series_reloads_the_whole_history(home: Path, ran: Ran) -> None:
    """Try a subset of the products first, and then all of them in the same home."""
    sales = pd.read_csv(home / "landing" / SALES, dtype=str)
    sales[sales["item_id"].isin(sales["item_id"].unique()[:3])].to_csv(home / "landing" / SALES, index=False)
    _load(home)
    sales.to_csv(home / "landing" / SALES, index=False)
    forecast.forecast_week(LAST)
    assert _loads(ran) == [f"{LAST.shift(-11)} to {LAST.shift(-1)}"]


def test_an_unchanged_file_loads_nothing(home: Path, ran: Ran) -> None:
    _load(home)
    forecast.forecast_week(LAST)
    assert ran == [("weekly_forecast", {"dagster/partition": LAST.key})]


@pytest.mark.parametrize(
    ("week", "said"),
    [
        (LAST.shift(-9), "has fewer than M5_MIN_HISTORY_WEEKS=5 weeks of sales behind it"),
        (LAST.shift(1), "is not in the landed sales file"),
        (LAST.shift(-40), "is not in the landed sales file"),
    ],
)
def test_a_week_that_cannot_be_forecast_is_refused_before_anything_runs(
    home: Path, ran: Ran, week: Week, said: str
) -> None:
    for start in (forecast.forecast_week, lambda each: backfill.backfill_weeks([each])):
        with pytest.raises(UserError, match=said):
            start(week)
    assert ran == []
    assert not (home / "lake").exists()
