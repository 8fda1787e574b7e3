"""Tests of the landing sensor with a real landing folder, lake and instance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.assets.features import given_days
from m5_assets.assets.landing import calendar, raw_sales, sell_prices, store_dept_sales
from m5_assets.automation.sensors.landed_files import landed_files
from m5_assets.checks.features import CURRENT
from m5_assets.checks.landing import LANDED, raw_sales_checks
from m5_assets.checks.recording import Finding, weekly_checks
from m5_assets.dagster_internals import AssetCheckExecutionRecordStatus as Status
from m5_assets.partitions import WEEKS
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.limits import CheckLimits
from m5_assets.sample import write_sample
from m5_assets.settings import settings
from m5_assets.weeks import Week, weeks_between

LAST = Week.parse("2016-05-16")
LANDED_WEEKS = 9
SALES = "sales_train_evaluation.csv"


@dg.asset(name="features", partitions_def=WEEKS)
def stand_in() -> None:
    """Stand in for the features, whose job is not tested here; its check is recorded as the real one."""


stand_in_checks = weekly_checks(
    "features", [CURRENT], lambda lake: lambda week: {CURRENT.name: Finding(True, "current")}
)


@pytest.fixture(autouse=True)
def _short_history(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("M5_MIN_HISTORY_WEEKS", "5")
    monkeypatch.setenv("M5_LAST_WEEK", "live")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landed")
    write_sample(folder, items=7, weeks=LANDED_WEEKS, seed=1)
    return folder


@dataclass
class Place:
    """A landing folder, a lake, an instance, and the sensor's cursor."""

    folder: Path
    lake: Lake
    instance: dg.DagsterInstance
    source: Path
    cursor: str | None = None

    def look(self) -> dg.SensorResult:
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            found = landed_files(context, lake=self.lake, landing=self.landing)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        return found

    def requested(self) -> list[tuple[str, str]]:
        """Evaluate the sensor until it requests nothing more; carry out each request at once and return them all."""
        requested = []
        for _ in range(6):
            for request in self.look().run_requests or []:
                requested.append(self.run(request))
        return requested

    def run(self, request: dg.RunRequest) -> tuple[str, str]:
        """Carry out a request and record its run."""
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        job = dg.GraphDefinition(name=str(request.job_name)).to_job()
        self.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
        if request.job_name == "weekly_forecast":
            week = Week.parse(str(request.partition_key))
            self.load(week, week)
            self.load_tables()
            self.forecast(week)
            return "forecast", week.key
        if "dagster/asset_partition_range_start" in tags:
            first, last = tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]
            assert request.asset_selection is not None
            weekly = {asset.key: asset for asset in (raw_sales, store_dept_sales)}
            requested = [weekly[key] for key in request.asset_selection if key in weekly]
            self.load(Week.parse(first), Week.parse(last), *sorted(requested, key=list(weekly.values()).index))
            return "load", f"{first} to {last}"
        assert request.asset_selection is not None
        self.load_tables()
        return "load", request.asset_selection[0].to_user_string()

    @property
    def landing(self) -> LandingFolder:
        return LandingFolder(root=str(self.folder))

    def load(self, first: Week, last: Week, *assets: dg.AssetsDefinition) -> None:
        for asset in assets or (raw_sales, store_dept_sales):
            weeks = dg.PartitionKeyRange(first.key, last.key)
            context = dg.build_asset_context(partition_key_range=weeks, instance=self.instance)
            asset(context, landing=self.landing, lake=self.lake)

    def load_tables(self) -> None:
        sell_prices(landing=self.landing, lake=self.lake)
        calendar(landing=self.landing, lake=self.lake)

    def forecast(self, week: Week) -> None:
        """Publish what a forecast run writes: features with their inputs, and the forecast."""
        known = KnownInputs(self.lake).at(week, ForecastPolicy.of(settings()))
        self.lake.commit(Manifest("features", week.key, (), known.inputs, {"weeks": len(known.sales)}))
        self.lake.commit(Manifest("ensemble_forecast", week.key, ()))

    def check(self, *assets: object, week: Week) -> None:
        """Record the checks of a week, as its run would."""
        resources = {"lake": self.lake, "landing": self.landing, "limits": CheckLimits()}
        done = dg.materialize(assets, instance=self.instance, partition_key=week.key, resources=resources)  # type: ignore[arg-type]
        assert done.success

    def stale(self) -> list[str]:
        """Return the weeks whose features are recorded as based on outdated inputs."""
        key = dg.AssetCheckKey(dg.AssetKey("features"), CURRENT.name)
        infos = self.instance.event_log_storage.get_asset_check_partition_info([key])
        return sorted(str(i.partition_key) for i in infos if i.latest_execution_status == Status.FAILED)

    def land(self, through: Week | None = None, *, change: tuple[Week, int] | None = None) -> None:
        """Write the files as of the end of a week; `change` sets one product's sales on a week's first day."""
        self.folder.mkdir(exist_ok=True)
        for name in ("calendar.csv", "sell_prices.csv"):
            (self.folder / name).write_bytes((self.source / name).read_bytes())
        sales = pd.read_csv(self.source / SALES, dtype=str)
        calendar = pd.read_csv(self.source / "calendar.csv", dtype=str).set_index("date")["d"]
        if through:
            known = set(calendar[calendar.index <= through.origin.isoformat()])
            sales = sales[[c for c in sales.columns if not c.startswith("d_") or c in known]]
        if change:
            sales.loc[5, calendar[change[0].key]] = str(change[1])
        sales.to_csv(self.folder / SALES, index=False)


@pytest.fixture
def place(landed: Path, tmp_path: Path) -> Iterator[Place]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Place(tmp_path / "landing", Lake(root=str(tmp_path / "lake")), instance, landed)


def test_a_new_file_waits_for_a_second_look_and_starts_its_newest_week(place: Place) -> None:
    assert "no file" in str(place.look().skip_reason)
    place.land()
    first = place.look()
    assert not first.run_requests
    assert "complete?" in str(first.skip_reason)
    place.folder.joinpath(SALES).write_bytes(place.folder.joinpath(SALES).read_bytes())  # still being written
    assert "complete?" in str(place.look().skip_reason)
    oldest = LAST.shift(1 - LANDED_WEEKS)
    assert place.requested() == [("load", f"{oldest} to {LAST.shift(-1)}"), ("forecast", LAST.key)]
    assert place.requested() == []


def _settled(place: Place, through: Week) -> None:
    place.land(through)
    place.requested()


def test_the_same_file_landed_again_starts_nothing(place: Place) -> None:
    _settled(place, LAST)
    place.land(LAST)
    assert place.requested() == []


def test_given_closed_days_are_an_input_of_the_features_that_starts_nothing_by_itself(place: Place) -> None:
    _settled(place, LAST)
    recorded = place.lake.get("features", LAST.key).inputs
    source = settings()
    assert KnownInputs(place.lake).at(LAST, ForecastPolicy.of(source)).inputs == recorded
    given = source.model_copy(update={"closed_days": "12-25", "open_days": "TX_1:12-25"})
    known = KnownInputs(place.lake).at(LAST, ForecastPolicy.of(given))
    assert known.inputs == {**recorded, "M5_CLOSED_DAYS": "12-25", "M5_OPEN_DAYS": "TX_1:12-25"}
    assert given_days(known) == ["--closed-days", "12-25", "--open-days", "TX_1:12-25"]
    place.lake.commit(Manifest("features", LAST.key, (), known.inputs, {"weeks": len(known.sales)}))
    assert KnownInputs(place.lake).changed(LAST) == []
    assert place.requested() == []


def test_late_weeks_run_in_order_and_once(place: Place) -> None:
    _settled(place, LAST.shift(-2))
    place.land(LAST)
    place.look()
    requests = place.look().run_requests or []
    assert [request.partition_key for request in requests] == [LAST.shift(-1).key, LAST.key]
    for request in requests:
        place.run(request)
    assert place.requested() == []


def test_half_a_week_waits_for_the_other_half(place: Place) -> None:
    _settled(place, LAST.shift(-1))
    place.land(LAST)
    sales = pd.read_csv(place.folder / SALES, dtype=str)
    sales.iloc[:, :-3].to_csv(place.folder / SALES, index=False)
    assert place.requested() == []
    place.land(LAST)
    assert place.requested() == [("forecast", LAST.key)]


def test_a_corrected_file_reloads_exactly_its_changed_weeks_and_marks_stale_forecasts(place: Place) -> None:
    _settled(place, LAST.shift(-2))
    place.land(LAST)
    place.requested()
    changed = LAST.shift(-1)
    place.check(stand_in, stand_in_checks, week=changed)
    digests = {key: place.lake.get("raw_sales", key).digest for key in place.lake.partitions("raw_sales")}
    place.land(LAST, change=(changed, 77))
    # The newest two forecasts use the changed week, the oldest does not; only the newest is rebuilt.
    assert place.requested() == [("load", f"{changed} to {changed}"), ("forecast", LAST.key)]
    now = {key: place.lake.get("raw_sales", key).digest for key in place.lake.partitions("raw_sales")}
    assert [key for key in now if now[key] != digests[key]] == [changed.key]
    assert place.stale() == [changed.key]  # the newest is up to date again
    place.land(LAST)  # and back: the newest is rebuilt again
    assert place.requested() == [("load", f"{changed} to {changed}"), ("forecast", LAST.key)]
    place.land(LAST, change=(changed, 77))
    assert place.requested() == [("load", f"{changed} to {changed}"), ("forecast", LAST.key)]


@pytest.mark.parametrize(("name", "table"), [("sell_prices.csv", "sell_prices"), ("calendar.csv", "calendar")])
def test_corrected_prices_and_days_make_the_weeks_that_use_them_stale(place: Place, name: str, table: str) -> None:
    """Correct the last day of the newest forecast's horizon, which earlier forecasts do not use."""
    _settled(place, LAST.shift(-1))
    place.land(LAST)
    place.requested()
    place.check(stand_in, stand_in_checks, week=LAST.shift(-1))
    days = pd.read_csv(place.folder / "calendar.csv", dtype=str, keep_default_na=False)
    last = days["date"] == LAST.last_forecast_day.isoformat()
    frame = pd.read_csv(place.folder / name, dtype=str, keep_default_na=False)
    if table == "calendar":
        frame.loc[last, "snap_CA"] = "1" if (frame.loc[last, "snap_CA"] == "0").all() else "0"
    else:
        of_week = frame["wm_yr_wk"] == days.loc[last, "wm_yr_wk"].item()
        frame.loc[frame.index[of_week][0], "sell_price"] = "99.99"
    frame.to_csv(place.folder / name, index=False)
    assert place.requested() == [("load", table), ("forecast", LAST.key)]
    assert place.stale() == []
    assert KnownInputs(place.lake).changed(LAST.shift(-1)) == []


def test_additional_prices_and_calendar_days_change_nothing(place: Place) -> None:
    _settled(place, LAST)
    whole = {name: (place.folder / name).read_text() for name in ("calendar.csv", "sell_prices.csv")}
    calendar = pd.read_csv(place.folder / "calendar.csv", dtype=str, keep_default_na=False)
    shorter = calendar[calendar["date"] <= LAST.last_forecast_day.isoformat()]
    prices = pd.read_csv(place.folder / "sell_prices.csv", dtype=str)
    shorter.to_csv(place.folder / "calendar.csv", index=False)
    prices[prices["wm_yr_wk"].isin(shorter["wm_yr_wk"])].to_csv(place.folder / "sell_prices.csv", index=False)
    place.load_tables()
    for name, text in whole.items():
        (place.folder / name).write_text(text)
    assert place.requested() == []


def test_corrected_totals_are_reloaded(place: Place) -> None:
    """Correct a day before the item sales begin, because the two must agree where both exist."""
    _settled(place, LAST)
    days = pd.read_csv(place.folder / "calendar.csv", dtype=str).set_index("date")["d"]
    first = LAST.shift(-LANDED_WEEKS)
    numbers = [days[(first.first_day + dt.timedelta(days=i)).isoformat()] for i in range(7)]
    sales = pd.read_csv(place.folder / SALES)
    groups = sales.groupby(["store_id", "dept_id"], as_index=False).size()[["store_id", "dept_id"]]
    totals = groups.assign(**dict.fromkeys(numbers, 5))
    totals.to_csv(place.folder / "sales_store_dept_history.csv", index=False)
    place.requested()
    place.load(first, first, store_dept_sales)
    place.forecast(LAST)
    totals.assign(**{numbers[3]: 6}).to_csv(place.folder / "sales_store_dept_history.csv", index=False)
    assert place.requested() == [("load", f"{first} to {first}"), ("forecast", LAST.key)]


def test_a_broken_file_is_rejected_and_reported_and_the_next_good_one_used(place: Place) -> None:
    _settled(place, LAST.shift(-1))
    place.check(raw_sales, raw_sales_checks, week=LAST.shift(-1))
    for name in ("store_dept_sales", "rds_sales", "rds_store_dept_sales"):  # which the same run loads
        loaded = dg.AssetMaterialization(dg.AssetKey(name), partition=LAST.shift(-1).key)
        place.instance.report_runless_asset_event(loaded)
    place.land(LAST)
    text = (place.folder / SALES).read_text().splitlines(keepends=True)
    (place.folder / SALES).write_text("".join([*text[:3], text[3].replace(",", ",-", 9), *text[4:]]))
    place.look()
    assert "rejected" in str(place.look().skip_reason)
    key = dg.AssetCheckKey(dg.AssetKey("raw_sales"), LANDED.name)

    def status() -> Status:
        records = place.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        return records[0].status

    assert status() == Status.FAILED
    place.land(LAST)
    assert place.requested() == [("forecast", LAST.key)]


def test_weeks_that_cannot_be_loaded_are_not_requested_forever(place: Place) -> None:
    _settled(place, LAST)
    place.land(LAST, change=(LAST.shift(-3), 55))
    place.look()
    (request,) = place.look().run_requests or []
    job = dg.GraphDefinition(name="back_history").to_job()
    place.instance.create_run_for_job(
        job, tags={"dagster/run_key": str(request.run_key)}, status=dg.DagsterRunStatus.FAILURE
    )
    assert "could not be loaded" in str(place.look().skip_reason)
    assert "nothing has landed" in str(place.look().skip_reason)


def test_the_weeks_of_these_tests_are_over() -> None:
    assert dt.datetime.now(dt.UTC).date() > LAST.last_forecast_day
    assert len(weeks_between(LAST.shift(1 - LANDED_WEEKS), LAST)) == LANDED_WEEKS
