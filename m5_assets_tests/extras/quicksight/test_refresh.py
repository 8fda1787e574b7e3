"""The asset quicksight_refresh on a real PostgreSQL and a local QuickSight over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from m5_assets.extras.quicksight.definition_files import DATA_SETS
from m5_assets.extras.quicksight.quicksight_api import QuickSight
from m5_assets.extras.quicksight.refresh import NOT_REFRESHED, quicksight_refresh
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.roles import OWNER, READER
from m5_assets.settings import QuickSightSettings
from m5_assets_tests.resources.conftest import new_home
from m5_assets_tests.support import dashboard_data
from m5_assets_tests.support.quicksight_service import Problem, Service, Stored, account_settings, environment, served


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresResource]:
    with new_home() as home:
        postgres = PostgresResource(home=str(home))
        dashboard_data.fill(postgres.engine(OWNER))
        yield postgres
        for role in (READER, OWNER):
            postgres.engine(role).dispose()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with served() as (service, address):
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        for data_set in DATA_SETS:
            service.resources[f"dataset/m5-{data_set.name}"] = Stored("arn", {}, [])
        yield service


def materialised(postgres: PostgresResource, source: QuickSightSettings) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [quicksight_refresh],
        partition_key=dashboard_data.NEWEST.key,
        resources={"postgres": postgres, "quicksight": QuickSight.of(source)},
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    [materialization] = result.asset_materializations_for_node("quicksight_refresh")
    return {name: value.value for name, value in materialization.metadata.items()}


def test_without_an_account_it_says_so_and_reads_nothing() -> None:
    nowhere = PostgresResource(url="postgresql://nobody@127.0.0.1:1/none", home="none")
    assert metadata_of(materialised(nowhere, QuickSightSettings())) == {"state": NOT_REFRESHED}


def test_a_load_is_refreshed_once(postgres: PostgresResource, service: Service) -> None:
    found = metadata_of(materialised(postgres, account_settings()))
    assert found["state"] == "refreshed"
    assert found["dagster/row_count"] == 35
    assert found["seconds"] == 3
    assert found["dashboard"] == "https://us-east-1.quicksight.aws.amazon.com/sn/dashboards/m5-forecasts"
    assert "sn/data-sets/m5-forecast) | 5 | 3 | `2016-05-16-" in found["ingestions"]
    assert service.count("CreateIngestion") == 7
    again = metadata_of(materialised(postgres, account_settings()))
    assert again["ingestions"].count(", adopted") == 7
    assert service.count("CreateIngestion") == 7


@pytest.mark.parametrize(
    ("problem", "tried_again"),
    [(Problem("AccessDeniedException", "not you", 403), False), (Problem("LimitExceededException", "32", 409), True)],
)
def test_it_fails_with_what_quicksight_says(
    postgres: PostgresResource, service: Service, problem: Problem, tried_again: bool
) -> None:
    service.faults["CreateIngestion"] = [problem]
    with pytest.raises(dg.Failure) as failure:
        materialised(postgres, account_settings())
    assert problem.code in str(failure.value.description)
    assert failure.value.allow_retries is tried_again
