"""`m5 quicksight apply` against a local QuickSight over HTTP."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from m5_assets.errors import UserError
from m5_assets.extras.quicksight.definition_files import Definitions, read_definitions
from m5_assets.extras.quicksight.publishing import Change, apply
from m5_assets.extras.quicksight.quicksight_api import QuickSight, QuickSightError, Refused
from m5_assets_tests.extras.quicksight.test_definition_files import FOLDER, sheet_of
from m5_assets_tests.support.quicksight_service import (
    ACCOUNT,
    REGION,
    Problem,
    Service,
    account_settings,
    environment,
    served,
)

PLANNER = account_settings().owners[0]
BUYERS = account_settings().readers[0]
THROTTLED = Problem("ThrottlingException", "slow down", 429)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with served() as (service, address):
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        yield service


@pytest.fixture
def definitions() -> Definitions:
    return read_definitions(FOLDER, account_settings())


def applied(definitions: Definitions, *, only_plan: bool = False, **changes: object) -> list[Change]:
    return list(apply(QuickSight.of(account_settings(**changes)), definitions, only_plan=only_plan))


def test_an_empty_account_gets_everything(service: Service, definitions: Definitions) -> None:
    changes = applied(definitions)
    assert [change.action for change in changes] == ["create"] * 9
    creations = [call for call in service.writes() if call != "TagResource"]
    assert creations == ["CreateDataSource", *["CreateDataSet"] * 7, "CreateDashboard"]
    board = service.find("dashboard", "m5-forecasts")
    assert board.request["Definition"] == definitions.dashboard["Definition"]
    rights = {p["Principal"]: p["Actions"] for p in board.permissions}
    assert "quicksight:UpdateDashboard" in rights[PLANNER]
    assert rights[BUYERS] == [
        "quicksight:DescribeDashboard",
        "quicksight:ListDashboardVersions",
        "quicksight:QueryDashboard",
    ]
    assert {p["Principal"] for p in service.find("dataset", "m5-outlook").permissions} == {PLANNER}
    source = service.find("datasource", "m5-database").request
    assert source["Credentials"] == {"SecretArn": account_settings().secret_arn}


def test_a_second_call_changes_nothing(service: Service, definitions: Definitions) -> None:
    applied(definitions)
    service.calls.clear()
    assert [str(change).split()[0] for change in applied(definitions)] == ["unchanged"] * 9
    assert service.writes() == []


def test_what_changed_is_updated_alone(service: Service, definitions: Definitions) -> None:
    applied(definitions)
    service.calls.clear()
    changed = copy.deepcopy(definitions)
    sheet_of(changed, "overview")["Name"] = "This week"
    assert [change.action for change in applied(changed)] == ["unchanged"] * 8 + ["update"]
    assert service.writes() == ["UpdateDashboard", "UpdateDashboardPublishedVersion", "TagResource"]
    assert service.find("dashboard", "m5-forecasts").published == 2


def test_a_plan_changes_nothing(service: Service, definitions: Definitions) -> None:
    assert [change.action for change in applied(definitions, only_plan=True)] == ["create"] * 9
    applied(definitions)
    service.calls.clear()
    del sheet_of(definitions, "overview")["Description"]
    planned = applied(definitions, only_plan=True, readers=(BUYERS, f"{BUYERS}-2"))
    assert str(planned[-1]) == f"update    dashboard m5-forecasts, shared with {BUYERS}-2"
    assert service.writes() == []


def test_rights_are_granted_and_not_taken_away(service: Service, definitions: Definitions) -> None:
    applied(definitions)
    applied(definitions, owners=(f"{PLANNER}-2",), readers=())
    for kind, key in (("datasource", "m5-database"), ("dataset", "m5-accuracy")):
        held = {p["Principal"] for p in service.find(kind, key).permissions}
        assert held == {PLANNER, f"{PLANNER}-2"}
    assert {p["Principal"] for p in service.find("dashboard", "m5-forecasts").permissions} == {
        PLANNER,
        f"{PLANNER}-2",
        BUYERS,
    }


def test_an_error_of_the_dashboard_is_told_by_its_field(service: Service, definitions: Definitions) -> None:
    applied(definitions)
    path = "sheet/overview/visual/overview-units"
    service.dashboard_errors = [
        {
            "Type": "COLUMN_TYPE_MISMATCH",
            "Message": "forecast_28 is a date",
            "ViolatedEntities": [{"Path": path}],
        }
    ]
    changed = copy.deepcopy(definitions)
    sheet_of(changed, "overview")["Name"] = "This week"
    with pytest.raises(QuickSightError) as problem:
        applied(changed)
    assert "UPDATE_FAILED" in str(problem.value)
    assert f"{path}: COLUMN_TYPE_MISMATCH: forecast_28 is a date" in str(problem.value)
    assert service.find("dashboard", "m5-forecasts").published == 1
    assert applied(changed)[-1].action == "update"
    assert service.find("dashboard", "m5-forecasts").published == 3


def test_a_dashboard_that_could_not_be_created_is_mended(service: Service, definitions: Definitions) -> None:
    service.dashboard_errors = [{"Type": "DATA_SET_NOT_FOUND", "Message": "outlook"}]
    with pytest.raises(QuickSightError, match=r"m5-forecasts is CREATION_FAILED:\n- DATA_SET_NOT_FOUND: outlook"):
        applied(definitions)
    assert [change.action for change in applied(definitions)] == ["unchanged"] * 8 + ["update"]
    assert service.find("dashboard", "m5-forecasts").published == 2


def test_a_principal_that_cannot_be_is_not_sent(service: Service, definitions: Definitions) -> None:
    with pytest.raises(QuickSightError, match=r"not sent: CreateDataSource: .*\n- Permissions\[0\].Principal"):
        applied(definitions, owners=("x" * 300,))
    assert service.resources == {}


def test_a_data_source_that_cannot_be_made_stops_the_rest(service: Service, definitions: Definitions) -> None:
    service.source_error = {"Type": "UNROUTABLE_HOST", "Message": "no way to m5-dev.example.internal"}
    with pytest.raises(QuickSightError, match=r"m5-database is CREATION_FAILED:\n- UNROUTABLE_HOST: no way to m5-dev"):
        applied(definitions)
    assert service.count("CreateDataSet") == 0
    service.source_error = None
    assert [change.action for change in applied(definitions)] == ["update", *["create"] * 8]


def test_what_was_interrupted_is_done_again(service: Service, definitions: Definitions) -> None:
    applied(definitions)
    changed = copy.deepcopy(definitions)
    sheet_of(changed, "overview")["Name"] = "This week"
    service.faults["UpdateDashboardPublishedVersion"] = [Problem("AccessDeniedException", "not you", 403)]
    with pytest.raises(Refused, match="UpdateDashboardPublishedVersion: AccessDeniedException: not you"):
        applied(changed)
    assert applied(changed)[-1].action == "update"
    assert service.find("dashboard", "m5-forecasts").published == 3


def test_what_passes_by_itself_is_waited_for(service: Service, definitions: Definitions) -> None:
    service.faults = {
        "CreateDataSet": [THROTTLED, THROTTLED, Problem("InternalFailureException", "oh", 500)],
        "DescribeDashboard": [THROTTLED],
        "TagResource": [Problem("ServiceUnavailable", "back soon", 503)],
    }
    service.lost = ["DescribeDataSource"]
    assert len(applied(definitions)) == 9
    assert service.count("CreateDataSet") == 7 + 3
    assert len(service.resources) == 9


def test_wrong_definitions_are_not_sent(service: Service, definitions: Definitions) -> None:
    definitions.dashboard["Name"] = ""
    with pytest.raises(UserError, match=r"dashboard.json: .*Name"):
        applied(definitions)
    assert service.calls == []


def test_the_command(service: Service) -> None:
    address = os.environ["AWS_ENDPOINT_URL_QUICKSIGHT"]
    given = account_settings()
    variables = {
        "M5_QUICKSIGHT_ACCOUNT_ID": ACCOUNT,
        "M5_QUICKSIGHT_REGION": REGION,
        "M5_QUICKSIGHT_OWNERS": f'["{PLANNER}"]',
        "M5_QUICKSIGHT_SECRET_ARN": given.secret_arn,
        "M5_QUICKSIGHT_DATABASE_HOST": given.database_host,
        "M5_QUICKSIGHT_POLL_SECONDS": "0.01",
    }

    def m5(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **environment(address), **more}
        program = "from m5_assets.cli.main import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, "quicksight", "apply", *arguments],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip

    refused = m5()
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("Error: QuickSight needs the settings M5_QUICKSIGHT_ACCOUNT_ID")
    planned = m5("--plan", **variables)
    assert planned.stdout.splitlines()[0] == f"create    data source m5-database, shared with {PLANNER}"
    assert service.resources == {}
    done = m5(**variables)
    assert done.stdout.splitlines()[-1] == f"https://{REGION}.quicksight.aws.amazon.com/sn/dashboards/m5-forecasts"
    assert len(service.resources) == 9
