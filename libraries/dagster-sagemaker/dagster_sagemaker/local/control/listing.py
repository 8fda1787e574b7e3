"""The filters, order and pages of the List operations, for jobs and models alike."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dagster_sagemaker.local.control.transport import ApiError

_DEFAULT_PAGE = 10


def list_page(
    request: Mapping[str, Any],
    summaries: Iterable[dict[str, Any]],
    *,
    name_member: str,
    status_member: str | None,
    results_member: str,
) -> dict[str, Any]:
    """Return one page of the entries that a List request asks for.

    Args:
        request: the request: NameContains, StatusEquals, CreationTimeAfter and its siblings, SortBy, SortOrder,
            MaxResults, NextToken.
        summaries: all entries.
        name_member: the member of an entry that holds its name.
        status_member: the member that holds its status, if it has one.
        results_member: the member of the response that holds the entries.
    """
    key = _sort_key(request, name_member, status_member)
    descending = request.get("SortOrder") == "Descending"
    found = sorted(
        (entry for entry in summaries if _matches(request, entry, name_member, status_member)),
        key=key,
        reverse=descending,
    )
    if "NextToken" in request:
        last = _decode(request["NextToken"])
        found = [entry for entry in found if (key(entry) < last if descending else key(entry) > last)]
    size = request.get("MaxResults", _DEFAULT_PAGE)
    page: dict[str, Any] = {results_member: found[:size]}
    if len(found) > size:
        page["NextToken"] = base64.urlsafe_b64encode(json.dumps(key(found[size - 1])).encode()).decode()
    return page


def _matches(request: Mapping[str, Any], entry: Mapping[str, Any], name_member: str, status_member: str | None) -> bool:
    """Return whether an entry passes the filters of a request."""
    if request.get("NameContains", "") not in entry[name_member]:
        return False
    if status_member and request.get("StatusEquals", entry[status_member]) != entry[status_member]:
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        # Models have no LastModifiedTime.
        moment = entry.get(member, entry["CreationTime"])
        if not request.get(f"{member}After", float("-inf")) < moment < request.get(f"{member}Before", float("inf")):
            return False
    return True


def _sort_key(
    request: Mapping[str, Any], name_member: str, status_member: str | None
) -> Callable[[Mapping[str, Any]], list[Any]]:
    members = {"Name": name_member, "Status": status_member or name_member, "CreationTime": "CreationTime"}
    first = members[request.get("SortBy", "CreationTime")]
    # The name breaks ties, so that pages neither repeat nor lose an entry.
    return lambda entry: [entry[first], entry[name_member]]


def _decode(token: str) -> list[Any]:
    try:
        last: list[Any] = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise ApiError("ValidationException", "Invalid NextToken") from error
    return last
