"""`m5 quicksight apply`: publishes the definitions with the caller's permissions.

A resource is updated if its definition differs from the one last applied, whose hash is in a tag; so a second call
changes nothing. The tag is written last, so an interrupted update is repeated. Permissions are granted, never revoked.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from m5_assets.extras.quicksight.definition_files import Definitions, Request
from m5_assets.extras.quicksight.definition_rules import check
from m5_assets.extras.quicksight.quicksight_api import QuickSight, QuickSightError

_log = logging.getLogger(__name__)

_TAG = "m5:definition"
_SETTLED = {"CREATION_SUCCESSFUL", "UPDATE_SUCCESSFUL", "CREATION_FAILED", "UPDATE_FAILED", "DELETED"}
_SUCCESSFUL = {"CREATION_SUCCESSFUL", "UPDATE_SUCCESSFUL"}

Action = Literal["create", "update", "unchanged"]


@dataclass(frozen=True)
class _Kind:
    """A kind of resource: its name in the API and what each group may do with it.

    QuickSight accepts only these sets of actions, the console's owner and viewer:
    https://docs.aws.amazon.com/quicksight/latest/APIReference/API_ResourcePermission.html
    """

    noun: str
    words: str
    owner: tuple[str, ...]
    reader: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def id_name(self) -> str:
        return f"{self.noun}Id"


_DATA_SOURCE = _Kind(
    "DataSource",
    "data source",
    owner=(
        "DescribeDataSource",
        "DescribeDataSourcePermissions",
        "PassDataSource",
        "UpdateDataSource",
        "DeleteDataSource",
        "UpdateDataSourcePermissions",
    ),
    fixed=("Type",),
)
_DATA_SET = _Kind(
    "DataSet",
    "data set",
    owner=(
        "DescribeDataSet",
        "DescribeDataSetPermissions",
        "PassDataSet",
        "DescribeIngestion",
        "ListIngestions",
        "UpdateDataSet",
        "DeleteDataSet",
        "CreateIngestion",
        "CancelIngestion",
        "UpdateDataSetPermissions",
    ),
)
_READ_DASHBOARD = ("DescribeDashboard", "ListDashboardVersions", "QueryDashboard")
_DASHBOARD = _Kind(
    "Dashboard",
    "dashboard",
    owner=(
        *_READ_DASHBOARD,
        "UpdateDashboard",
        "DeleteDashboard",
        "DescribeDashboardPermissions",
        "UpdateDashboardPermissions",
        "UpdateDashboardPublishedVersion",
    ),
    reader=_READ_DASHBOARD,
)


@dataclass(frozen=True)
class Change:
    """What apply does with a resource, or would do.

    Attributes:
        name: its kind and id.
        action: what happens to the definition.
        grants: the principals that get permissions.
    """

    name: str
    action: Action
    grants: tuple[str, ...]

    def __str__(self) -> str:
        shared = f", shared with {', '.join(self.grants)}" if self.grants else ""
        return f"{self.action:9} {self.name}{shared}"


def apply(service: QuickSight, definitions: Definitions, *, only_plan: bool = False) -> Iterator[Change]:
    """Create or update the data source, the data sets and the dashboard; yield each change once it is done.

    Args:
        service: the account.
        definitions: what to publish. All are checked before the first call.
        only_plan: yield what would change, and change nothing.

    Raises:
        UserError: a definition is wrong.
        QuickSightError: QuickSight rejects one, or did not answer in time.
    """
    check(definitions)
    yield _apply_one(service, _DATA_SOURCE, definitions.data_source, only_plan)
    for request in definitions.data_sets.values():
        yield _apply_one(service, _DATA_SET, request, only_plan)
    yield _apply_one(service, _DASHBOARD, definitions.dashboard, only_plan)


def dashboard_link(service: QuickSight, definitions: Definitions) -> str:
    """Return the dashboard's address in the console."""
    region = service.region
    return f"https://{region}.quicksight.aws.amazon.com/sn/dashboards/{definitions.dashboard['DashboardId']}"


def _apply_one(service: QuickSight, kind: _Kind, request: Request, only_plan: bool) -> Change:
    name, key = request[kind.id_name], {kind.id_name: request[kind.id_name]}
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    wanted = _permissions(service, kind)
    there = service.find(f"Describe{kind.noun}", **key)
    if there is None:
        change = Change(f"{kind.words} {name}", "create", tuple(p["Principal"] for p in wanted))
        if not only_plan:
            made = service.call(f"Create{kind.noun}", **request, Permissions=wanted)
            _finish(service, kind, name, made, digest)
        return change
    arn = there[kind.noun]["Arn"]
    grants = _missing(wanted, service.call(f"Describe{kind.noun}Permissions", **key).get("Permissions", []))
    tags = service.call("ListTagsForResource", ResourceArn=arn).get("Tags", [])
    same = {"Key": _TAG, "Value": digest} in tags
    change = Change(f"{kind.words} {name}", "unchanged" if same else "update", tuple(g["Principal"] for g in grants))
    if only_plan:
        return change
    if not same:
        kept = {field: value for field, value in request.items() if field not in kind.fixed}
        _finish(service, kind, name, service.call(f"Update{kind.noun}", **kept), digest, publish=True)
    if grants:
        service.call(f"Update{kind.noun}Permissions", **key, GrantPermissions=grants)
    return change


def _finish(service: QuickSight, kind: _Kind, name: str, made: Request, digest: str, *, publish: bool = False) -> None:
    """Wait for a created or updated resource, publish it, and tag it with the hash of its definition."""
    key: dict[str, Any] = {kind.id_name: name}
    if kind is _DASHBOARD:
        key["VersionNumber"] = int(made["VersionArn"].rpartition("/")[2])
    if kind is not _DATA_SET:  # data sets have no status: they exist at once, and QuickSight fills them
        found = service.wait(
            f"{kind.words} {name}",
            lambda: _status_of(service.call(f"Describe{kind.noun}", **key), kind),
            lambda state: str(state["Status"]),
            _SETTLED,
        )
        if found["Status"] not in _SUCCESSFUL:
            raise QuickSightError(f"{kind.words} {name} is {found['Status']}:\n" + "\n".join(_errors(found)))
    if kind is _DASHBOARD and publish:  # the first version is published as it is created
        service.call("UpdateDashboardPublishedVersion", **key)
    service.call("TagResource", ResourceArn=made["Arn"], Tags=[{"Key": _TAG, "Value": digest}])


def _status_of(described: Request, kind: _Kind) -> Mapping[str, Any]:
    found: Mapping[str, Any] = described[kind.noun]
    return found["Version"] if kind is _DASHBOARD else found


def _errors(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each error with its fields."""
    for error in found.get("Errors", [found["ErrorInfo"]] if "ErrorInfo" in found else []):
        fields = ", ".join(entity["Path"] for entity in error.get("ViolatedEntities", []))
        yield f"- {fields + ': ' if fields else ''}{error.get('Type', 'ERROR')}: {error.get('Message', 'no message')}"


def _permissions(service: QuickSight, kind: _Kind) -> list[Request]:
    given = [(principal, kind.owner) for principal in service.owners]
    if kind.reader:
        readers = [principal for principal in service.readers if principal not in service.owners]
        given += [(principal, kind.reader) for principal in readers]
    return [{"Principal": who, "Actions": [f"quicksight:{action}" for action in actions]} for who, actions in given]


def _missing(wanted: Sequence[Request], there: Sequence[Request]) -> list[Request]:
    held = {permission["Principal"]: set(permission["Actions"]) for permission in there}
    return [w for w in wanted if not set(w["Actions"]) <= held.get(w["Principal"], set())]
