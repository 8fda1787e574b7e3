"""The landing sensor over a real landing folder, a real lake and a real instance: whatever lands, and when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from m5_assets.assets.landing import raw_sales, store_dept_sales
from m5_assets.checks.features import CURRENT
from m5_assets.checks.landing import LANDED, raw_sales_checks
from m5_assets.checks.recording import Finding, weekly_checks
from m5_assets.resources.lake import Lake, Manifest
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.sample import write_sample
from m5_assets.sensors.landing import landed_files
from m5_assets.settings import settings
from m5_assets.weeks import WEEKS, Week, weeks_between

LAST = Week.parse("2016-05-16")
LANDED_WEEKS = 9
SALES = "sales_train_evaluation.csv"


@dg.asset(name="features", partitions_def=WEEKS)
def stand_in() -> None:
    """Stands for the features, whose job is not what is tested here; its check is recorded as the real one's."""


stand_in_checks = weekly_checks(
    "features", [CURRENT], lambda lake: lambda week: {CURRENT.name: Finding(True, "current")}
)


@pytest.fixture(autouse=True)
def _short_history(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("M5_MIN_HISTORY_WEEKS", "5")
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
    """A landing folder, a lake, an instance, and the sensor's cursor between two looks."""

    folder: Path
    lake: Lake
    instance: dg.DagsterInstance
    source: Path
    cursor: str | None = None

    def look(self) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        found = landed_files(context, lake=self.lake, landing=LandingResource(root=str(self.folder)))
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        return found

    def asked(self) -> list[tuple[str, str]]:
        """Look until nothing is asked for, do at once what is asked for as the runs would, and return what it was."""
        asked = []
        for _ in range(6):
            for request in self.look().run_requests or []:
                asked.append(self._run(request))
        return asked

    def _run(self, request: dg.RunRequest) -> tuple[str, str]:
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        if request.job_name == "back_history":
            first, last = tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]
            self.load(first, last, tags)
            return "load", f"{first} to {last}"
        week = str(request.partition_key)
        self.load(week, week, {})
        self.forecast(Week.parse(week))
        return "forecast", week

    def load(self, first: str, last: str, tags: dict[str, str] | None = None) -> None:
        span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        resources = {"lake": self.lake, "landing": LandingResource(root=str(self.folder))}
        done = dg.materialize(
            [raw_sales, store_dept_sales, raw_sales_checks],
            resources=resources,
            instance=self.instance,
            tags=(tags or {}) | span,
        )
        assert done.success

    def forecast(self, week: Week) -> None:
        """Publish what a forecast leaves: features that name their inputs, and the forecast."""
        from m5_assets.assets.features import digest_of

        windows = {
            name: [self.lake.get(name, key) for key in self.lake.partitions(name) if key <= week.key]
            for name in ("raw_sales", "store_dept_sales")
        }
        inputs = {name: digest_of(manifests) for name, manifests in windows.items()}
        self.lake.commit(Manifest("features", week.key, (), inputs, {"weeks": len(windows["raw_sales"])}))
        self.lake.commit(Manifest("ensemble_forecast", week.key, ()))
        done = dg.materialize(
            [stand_in, stand_in_checks], instance=self.instance, partition_key=week.key, resources={"lake": self.lake}
        )
        assert done.success

    def land(self, through: Week | None = None, *, change: tuple[Week, int] | None = None) -> None:
        """Write the files as they were after a week, with one product's sales of a week's first day changed."""
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
    place.folder.joinpath(SALES).write_bytes(place.folder.joinpath(SALES).read_bytes())  # it is still being written
    assert "complete?" in str(place.look().skip_reason)
    oldest = LAST.shift(1 - LANDED_WEEKS)
    assert place.asked() == [("load", f"{oldest} to {LAST.shift(-1)}"), ("forecast", LAST.key)]
    assert place.asked() == []


def _settled(place: Place, through: Week) -> None:
    place.land(through)
    place.asked()


def test_the_same_file_landed_again_starts_nothing(place: Place) -> None:
    _settled(place, LAST)
    place.land(LAST)
    assert place.asked() == []


def test_late_weeks_are_made_in_order_and_once(place: Place) -> None:
    _settled(place, LAST.shift(-2))
    place.land(LAST)
    place.look()
    requests = place.look().run_requests or []
    assert [request.partition_key for request in requests] == [LAST.shift(-1).key, LAST.key]
    for request in requests:
        place._run(request)
    assert place.asked() == []


def test_half_a_week_waits_for_its_other_half(place: Place) -> None:
    _settled(place, LAST.shift(-1))
    place.land(LAST)
    sales = pd.read_csv(place.folder / SALES, dtype=str)
    sales.iloc[:, :-3].to_csv(place.folder / SALES, index=False)
    assert place.asked() == []
    place.land(LAST)
    assert place.asked() == [("forecast", LAST.key)]


def test_a_corrected_file_loads_exactly_the_weeks_it_changes_and_says_which_forecasts_are_stale(place: Place) -> None:
    _settled(place, LAST.shift(-2))
    place.land(LAST)
    place.asked()
    digests = {key: place.lake.get("raw_sales", key).digest for key in place.lake.partitions("raw_sales")}
    changed = LAST.shift(-1)
    place.land(LAST, change=(changed, 77))
    # The newest forecast saw the changed week, and is made again; the one before saw it too; the oldest did not.
    assert place.asked() == [("load", f"{changed} to {changed}"), ("forecast", LAST.key)]
    now = {key: place.lake.get("raw_sales", key).digest for key in place.lake.partitions("raw_sales")}
    assert [key for key in now if now[key] != digests[key]] == [changed.key]
    key = dg.AssetCheckKey(dg.AssetKey("features"), CURRENT.name)
    infos = place.instance.event_log_storage.get_asset_check_partition_info([key])
    stale = [info.partition_key for info in infos if info.latest_execution_status == Status.FAILED]
    assert stale == [changed.key]  # the newest is current again


def test_a_broken_file_is_refused_and_told_and_the_next_good_one_taken(place: Place) -> None:
    _settled(place, LAST.shift(-1))
    place.land(LAST)
    text = (place.folder / SALES).read_text().splitlines(keepends=True)
    (place.folder / SALES).write_text("".join([*text[:3], text[3].replace(",", ",-", 9), *text[4:]]))
    place.look()
    assert "refused" in str(place.look().skip_reason)
    key = dg.AssetCheckKey(dg.AssetKey("raw_sales"), LANDED.name)

    def status() -> Status:
        records = place.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        return records[0].status

    assert status() == Status.FAILED
    place.land(LAST)
    assert place.asked() == [("forecast", LAST.key)]


def test_weeks_that_could_not_be_loaded_are_not_asked_for_for_ever(place: Place) -> None:
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


def test_the_weeks_of_the_tests_are_over() -> None:
    assert dt.datetime.now(dt.UTC).date() > LAST.last_forecast_day
    assert len(weeks_between(LAST.shift(1 - LANDED_WEEKS), LAST)) == LANDED_WEEKS
