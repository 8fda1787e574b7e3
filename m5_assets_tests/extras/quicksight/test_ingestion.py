"""SPICE ingestions against a local QuickSight over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.extras.quicksight.definition_files import DATA_SETS
from m5_assets.extras.quicksight.ingestion import Ingestion, Load, ingestion_id, refresh
from m5_assets.extras.quicksight.quicksight_api import QuickSight, QuickSightError
from m5_assets_tests.support.quicksight_service import Problem, Service, Stored, account_settings, environment, served

TABLES = (
    "calendar", "sales", "store_dept_sales", "forecast", "series_outlook", "store_dept_forecast", "accuracy",
    "aggregate_accuracy",
)  # fmt: skip
LOADS = [
    Load(table, "" if table == "calendar" else week, 10 * week_number + number, f"{week}{table}")
    for week_number, week in enumerate(("2016-05-09", "2016-05-16"))
    for number, table in enumerate(TABLES)
    if table != "calendar" or week_number
]
COMPLETED = {"IngestionStatus": "COMPLETED", "RowInfo": {"RowsIngested": 853720, "RowsDropped": 0}}
FAILED = {
    "IngestionStatus": "FAILED",
    "ErrorInfo": {"Type": "SQL_TABLE_NOT_FOUND", "Message": "m5.bi_outlook is gone"},
    "RowInfo": {"RowsIngested": 12, "RowsDropped": 7},
}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with served() as (service, address):
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        for data_set in DATA_SETS:
            service.resources[f"dataset/m5-{data_set.name}"] = Stored("arn", {}, [])
        yield service


def refreshed(loads: list[Load], **changes: object) -> dict[str, Ingestion]:
    return {i.data_set_id: i for i in refresh(QuickSight.of(account_settings(**changes)), loads)}


def reloaded(table: str, week: str, load_id: int, sha256: str = "new") -> list[Load]:
    others = [load for load in LOADS if (load.table, load.week) != (table, week)]
    return [*others, Load(table, week, load_id, sha256)]


def test_every_data_set_is_refreshed_and_reported(service: Service) -> None:
    service.outcomes["m5-forecast"] = [COMPLETED]
    found = refreshed(LOADS)
    assert list(found) == [f"m5-{data_set.name}" for data_set in DATA_SETS]
    one = found["m5-forecast"]
    assert (one.rows, one.seconds, one.adopted) == (853720, 3, False)
    assert one.ingestion_id.startswith("2016-05-16-")
    assert one.link == "https://us-east-1.quicksight.aws.amazon.com/sn/data-sets/m5-forecast"
    # The orchestrator's role allows these two.
    assert set(service.calls) == {"CreateIngestion", "DescribeIngestion"}


def test_asked_again_it_adopts(service: Service) -> None:
    first = refreshed(LOADS)
    service.calls.clear()
    again = refreshed(LOADS)
    assert {i.ingestion_id for i in again.values()} == {i.ingestion_id for i in first.values()}
    assert all(ingestion.adopted for ingestion in again.values())
    assert service.count("CreateIngestion") == 0


def test_a_running_one_is_adopted_and_waited_for(service: Service) -> None:
    key = ingestion_id(DATA_SETS[0], LOADS)
    service.ingest("m5-forecast", str(key))
    found = refreshed(LOADS)
    assert found["m5-forecast"].adopted
    assert found["m5-forecast"].rows == 5


@pytest.mark.parametrize(
    ("table", "week", "new"),
    [
        ("forecast", "2016-05-16", {"m5-forecast", "m5-freshness"}),
        ("series_outlook", "2016-05-16", {"m5-outlook", "m5-exceptions", "m5-freshness"}),
        ("accuracy", "2016-05-09", {"m5-accuracy", "m5-freshness"}),
        ("store_dept_sales", "2016-05-09", {"m5-store-dept"}),
        ("forecast", "2016-05-09", set()),
    ],
)
def test_only_what_shows_a_new_load_is_refreshed(service: Service, table: str, week: str, new: set[str]) -> None:
    refreshed(LOADS)
    found = refreshed(reloaded(table, week, 99))
    assert {name for name, ingestion in found.items() if not ingestion.adopted} == new


def test_content_that_returns_to_an_earlier_state_is_ingested_again(service: Service) -> None:
    original = next(load for load in LOADS if (load.table, load.week) == ("forecast", "2016-05-16"))
    refreshed(LOADS)
    refreshed(reloaded("forecast", "2016-05-16", 98, "other"))
    back = refreshed(reloaded("forecast", "2016-05-16", 99, original.sha256))
    assert not back["m5-forecast"].adopted


def test_what_is_not_loaded_is_not_refreshed(service: Service) -> None:
    found = refreshed([load for load in LOADS if "accuracy" not in load.table])
    assert {f"m5-{d.name}" for d in DATA_SETS} - set(found) == {"m5-accuracy", "m5-aggregate-accuracy"}
    assert refreshed([]) == {}


def test_a_failure_is_told_and_the_next_call_begins_anew(service: Service) -> None:
    service.outcomes["m5-outlook"] = [FAILED]
    service.outcomes["m5-accuracy"] = [{"IngestionStatus": "CANCELLED"}]
    with pytest.raises(QuickSightError) as problem:
        refreshed(LOADS)
    told = str(problem.value)
    assert told.startswith("2 data sets were not refreshed:\n- m5-outlook, 2016-05-16-")
    assert "FAILED, SQL_TABLE_NOT_FOUND: m5.bi_outlook is gone; 7 rows dropped, 12 ingested" in told
    assert "m5-accuracy" in told
    assert all(not found["states"] for found in service.ingestions.values())  # the others were waited for
    again = refreshed(LOADS)
    assert again["m5-outlook"].ingestion_id == f"{ingestion_id(DATA_SETS[1], LOADS)}-2"
    assert [name for name, i in again.items() if not i.adopted] == ["m5-outlook", "m5-accuracy"]


def test_dropped_rows_are_a_failure(service: Service) -> None:
    service.outcomes["m5-outlook"] = [{**COMPLETED, "RowInfo": {"RowsIngested": 30489, "RowsDropped": 1}}]
    with pytest.raises(QuickSightError, match="1 rows dropped, 30489 ingested"):
        refreshed(LOADS)
    assert not refreshed(LOADS)["m5-outlook"].adopted


def test_throttling_faults_and_lost_answers_are_survived(service: Service) -> None:
    throttled = [Problem("ThrottlingException", "slow down", 429) for _ in range(4)]
    service.faults = {
        "DescribeIngestion": throttled,
        "CreateIngestion": [Problem("InternalFailureException", "oh", 500)],
    }
    service.lost = ["CreateIngestion"]
    found = refreshed(LOADS)
    assert len(found) == 7
    # The answer that was lost: the ingestion is there, is found and is waited for.
    assert [i.adopted for i in found.values()].count(True) == 1
    assert len(service.ingestions) == 7


def test_patience_ends(service: Service) -> None:
    service.faults["DescribeIngestion"] = [Problem("ThrottlingException", "slow down", 429) for _ in range(500)]
    with pytest.raises(QuickSightError, match=r"DescribeIngestion: retried for 0.005 minutes; .*slow down"):
        refreshed(LOADS, timeout_minutes=0.005)
    service.faults.clear()
    service.outcomes["m5-forecast"] = [{"IngestionStatus": "RUNNING"}]
    with pytest.raises(QuickSightError, match=r"m5-forecast: ingestion .* is RUNNING .*M5_QUICKSIGHT_TIMEOUT_MINUTES"):
        refreshed(LOADS, timeout_minutes=0.005)


def test_a_remedy_is_named(service: Service) -> None:
    service.faults["CreateIngestion"] = [Problem("LimitExceededException", "too many", 409)]
    with pytest.raises(
        QuickSightError, match=r"^1 data sets .*\n- m5-forecast: .*LimitExceededException.*32 ingestions .* in 24 hours"
    ):
        refreshed(LOADS)
    assert len(service.ingestions) == 6  # the others continued
    service.resources.clear()
    with pytest.raises(QuickSightError, match=r"- m5-outlook: .*ResourceNotFoundException.*m5 quicksight apply"):
        refreshed(reloaded("series_outlook", "2016-05-16", 99))


@given(st.permutations(LOADS))
def test_an_id_depends_on_what_is_loaded_alone(loads: list[Load]) -> None:
    assert [ingestion_id(d, loads) for d in DATA_SETS] == [ingestion_id(d, LOADS) for d in DATA_SETS]
