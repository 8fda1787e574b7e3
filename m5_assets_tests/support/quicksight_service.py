"""A local QuickSight for boto3: an HTTP server with the calls that the platform uses, their states and exceptions.

It stores resources, validates references as the real service does, and advances whatever is in progress by one state
per request. Tests inject failures with `faults` and `outcomes`. It does not model SPICE's data.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from m5_assets.settings import QuickSightSettings

ACCOUNT, REGION = "123456789012", "us-east-1"
_ARN = f"arn:aws:quicksight:{REGION}:{ACCOUNT}"
_INGESTION_STATES = ("INITIALIZED", "QUEUED", "RUNNING")


class Problem(Exception):
    """An error response of the API."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Stored:
    """A resource: its last request, versions or state, permissions and tags."""

    arn: str
    request: dict[str, Any]
    permissions: list[dict[str, Any]]
    status: str = "CREATION_IN_PROGRESS"
    versions: list[dict[str, Any]] = field(default_factory=list)
    published: int = 1
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Service:
    """The service's state, which tests can read and change.

    Attributes:
        calls: the operation of every request, in order.
        faults: problems that an operation's next calls raise, one per call, by operation.
        lost: operations whose next response is lost after the work is done.
        dashboard_errors: errors of the next dashboard definition.
        outcomes: final states of a data set's next ingestions (members of `Ingestion`), by data set id.
    """

    resources: dict[str, Stored] = field(default_factory=dict)
    ingestions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Problem]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    dashboard_errors: list[dict[str, Any]] = field(default_factory=list)
    outcomes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    source_error: dict[str, str] | None = None

    def count(self, operation: str) -> int:
        return self.calls.count(operation)

    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith(("Describe", "List"))]

    # -- data sources, data sets, dashboards

    def create(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        name = f"{kind}/{key}"
        if name in self.resources:
            raise Problem("ResourceExistsException", f"{name} exists", 409)
        self._refer(kind, body)
        stored = Stored(f"{_ARN}:{name}", body, body.pop("Permissions", []))
        self.resources[name] = stored
        return self._changed(kind, key, stored, "CREATION")

    def update(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        stored = self.find(kind, key)
        if stored.status.endswith("IN_PROGRESS"):
            raise Problem("ConflictException", f"{key} is being updated", 409)
        self._refer(kind, body)
        stored.request = stored.request | body
        return self._changed(kind, key, stored, "UPDATE")

    def _changed(self, kind: str, key: str, stored: Stored, verb: str) -> dict[str, Any]:
        answer = {"Arn": stored.arn}
        if kind == "dataset":
            stored.status = f"{verb}_SUCCESSFUL"
            return {**answer, "DataSetId": key, "IngestionId": "automatic"}
        stored.status = f"{verb}_IN_PROGRESS"
        if kind == "dashboard":
            version = {"Status": f"{verb}_IN_PROGRESS", "Errors": self.dashboard_errors, "Verb": verb}
            self.dashboard_errors = []
            stored.versions.append(version)
            return {**answer, "DashboardId": key, "VersionArn": f"{stored.arn}/version/{len(stored.versions)}"}
        return {**answer, "DataSourceId": key}

    def describe(self, kind: str, key: str, version: int | None) -> dict[str, Any]:
        stored = self.find(kind, key)
        shown: dict[str, Any] = {"Arn": stored.arn, "Name": stored.request["Name"]}
        if kind == "dashboard":
            chosen = stored.versions[(version or stored.published) - 1]
            status = chosen["Status"]
            errors = {"Errors": chosen["Errors"]} if chosen["Errors"] and "PROGRESS" not in status else {}
            shown["Version"] = {"Status": status, "VersionNumber": version or stored.published, **errors}
            if status.endswith("IN_PROGRESS"):
                chosen["Status"] = f"{chosen['Verb']}_{'FAILED' if chosen['Errors'] else 'SUCCESSFUL'}"
                stored.status = chosen["Status"]
            return {"Dashboard": shown}
        if kind == "dataset":
            return {"DataSet": shown}
        shown["Status"] = stored.status
        if stored.status.endswith("IN_PROGRESS"):
            end = "FAILED" if self.source_error else "SUCCESSFUL"
            stored.status = stored.status.replace("IN_PROGRESS", end)
        elif stored.status.endswith("FAILED"):
            shown["ErrorInfo"] = self.source_error
        return {"DataSource": shown}

    def grant(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        stored = self.find(kind, key)
        for given in body["GrantPermissions"]:
            others = [p for p in stored.permissions if p["Principal"] != given["Principal"]]
            held = [a for p in stored.permissions if p["Principal"] == given["Principal"] for a in p["Actions"]]
            actions = sorted({*held, *given["Actions"]})
            stored.permissions = [*others, {"Principal": given["Principal"], "Actions": actions}]
        return {}

    def publish(self, key: str, version: int) -> dict[str, Any]:
        stored = self.find("dashboard", key)
        if not stored.versions[version - 1]["Status"].endswith("SUCCESSFUL"):
            raise Problem("InvalidParameterValueException", f"version {version} is not complete")
        stored.published = version
        return {"DashboardId": key}

    def find(self, kind: str, key: str) -> Stored:
        if f"{kind}/{key}" not in self.resources:
            raise Problem("ResourceNotFoundException", f"{kind} {key} is not found", 404)
        return self.resources[f"{kind}/{key}"]

    def _refer(self, kind: str, body: dict[str, Any]) -> None:
        wanted = {"dataset": "datasource", "dashboard": "dataset"}.get(kind)
        if wanted:
            for key in re.findall(rf"{_ARN}:{wanted}/([\w-]+)", json.dumps(body)):
                self.find(wanted, key)

    # -- ingestions

    def ingest(self, data_set: str, key: str) -> dict[str, Any]:
        self.find("dataset", data_set)
        if (data_set, key) in self.ingestions:
            raise Problem("ResourceExistsException", f"ingestion {key} exists", 409)
        outcomes = self.outcomes.get(data_set, [])
        end = outcomes.pop(0) if outcomes else {"IngestionStatus": "COMPLETED", "RowInfo": {"RowsIngested": 5}}
        self.ingestions[data_set, key] = {"states": [*_INGESTION_STATES], "end": end}
        return {"IngestionId": key, "IngestionStatus": "INITIALIZED"}

    def describe_ingestion(self, data_set: str, key: str) -> dict[str, Any]:
        if (data_set, key) not in self.ingestions:
            raise Problem("ResourceNotFoundException", f"ingestion {key} is not found", 404)
        found = self.ingestions[data_set, key]
        shown = {"Arn": f"{_ARN}:dataset/{data_set}/ingestion/{key}", "IngestionId": key, "CreatedTime": 1.4633e9}
        if found["states"]:
            return {"Ingestion": {**shown, "IngestionStatus": found["states"].pop(0)}}
        return {"Ingestion": {**shown, "IngestionTimeInSeconds": 3, **found["end"]}}


_KINDS = {"data-sources": "datasource", "data-sets": "dataset", "dashboards": "dashboard"}
_NOUNS = {"datasource": "DataSource", "dataset": "DataSet", "dashboard": "Dashboard"}
_VERBS = {"GET": "Describe", "PUT": "Update", "POST": "Create"}


class _Handler(BaseHTTPRequestHandler):
    service: ClassVar[Service]
    lock: ClassVar[threading.Lock]
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per response; two would add a delayed acknowledgement of 40 ms

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        with self.lock:
            operation, work = self._route(body)
            self.service.calls.append(operation)
            try:
                if self.service.faults.get(operation):
                    raise self.service.faults[operation].pop(0)
                status, answer = 200, work()
                if operation in self.service.lost:
                    self.service.lost.remove(operation)
                    self.close_connection = True
                    return
            except Problem as problem:
                status, answer = problem.status, {"Message": problem.message}
                headers = {"X-Amzn-ErrorType": problem.code}
            else:
                headers = {}
        text = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def _route(self, body: dict[str, Any]) -> tuple[str, Callable[[], dict[str, Any]]]:
        url, service, method = urlsplit(self.path), self.service, self.command
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[0] == "resources":
            return self._tags(parts[1], body)
        assert parts[:2] == ["accounts", ACCOUNT], self.path
        kind = _KINDS[parts[2]]
        noun = _NOUNS[kind]
        if len(parts) == 6 and parts[4] == "ingestions":
            if method == "PUT":
                return "CreateIngestion", lambda: service.ingest(parts[3], parts[5])
            return "DescribeIngestion", lambda: service.describe_ingestion(parts[3], parts[5])
        if len(parts) == 6 and parts[4] == "versions":
            return "UpdateDashboardPublishedVersion", lambda: service.publish(parts[3], int(parts[5]))
        if len(parts) == 5 and parts[4] == "permissions":
            if method == "GET":
                return f"Describe{noun}Permissions", lambda: {"Permissions": service.find(kind, parts[3]).permissions}
            return f"Update{noun}Permissions", lambda: service.grant(kind, parts[3], body)
        key = parts[3] if len(parts) == 4 else body[f"{noun}Id"]
        if method == "GET":
            version = parse_qs(url.query).get("version-number")
            return f"Describe{noun}", lambda: service.describe(kind, key, int(version[0]) if version else None)
        change = service.create if method == "POST" else service.update
        return f"{_VERBS[method]}{noun}", lambda: change(kind, key, body)

    def _tags(self, arn: str, body: dict[str, Any]) -> tuple[str, Callable[[], dict[str, Any]]]:
        stored = self.service.find(*arn.removeprefix(f"{_ARN}:").split("/", 1))
        if self.command == "GET":
            tags = [{"Key": key, "Value": value} for key, value in stored.tags.items()]
            return "ListTagsForResource", lambda: {"Tags": tags}
        given = {tag["Key"]: tag["Value"] for tag in body["Tags"]}
        return "TagResource", lambda: stored.tags.update(given) or {}

    do_GET = do_PUT = do_POST = _answer  # noqa: N815  # http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # the base's name
        """Suppress the request log."""


@contextmanager
def served() -> Iterator[tuple[Service, str]]:
    """Serve a new, empty QuickSight on a free local port and yield its state and URL."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(address: str) -> dict[str, str]:
    """Return environment variables that point boto3 at the service, with dummy credentials."""
    return {
        "AWS_ENDPOINT_URL_QUICKSIGHT": address,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def account_settings(**changes: Any) -> QuickSightSettings:
    """Return settings for the service's account, with fast polling."""
    given: dict[str, Any] = {
        "account_id": ACCOUNT,
        "owners": (f"arn:aws:quicksight:{REGION}:{ACCOUNT}:user/default/planner",),
        "readers": (f"arn:aws:quicksight:{REGION}:{ACCOUNT}:group/default/buyers",),
        "secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:m5-dev/database/reader-AbCdEf",
        "database_host": "m5-dev.example.internal",
        "refresh": True,
        "poll_seconds": 0.01,
        "timeout_minutes": 0.2,
    }
    return QuickSightSettings(**{**given, **changes})
