"""The List operations' filters, order and pages, the same for jobs and models."""

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
    """One page of what a List request asks for.

    Args:
        request: The request: NameContains, StatusEquals, CreationTimeAfter and so on, SortBy, SortOrder, MaxResults,
            NextToken.
        summaries: All entries.
        name_member: The member of an entry that holds its name.
        status_member: The member that holds its status, if it has one.
        results_member: The member of the response that holds the entries.
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
    """Whether an entry is asked for; jobs of the same home may have vanished or changed since the last page."""
    if request.get("NameContains", "") not in entry[name_member]:
        return False
    if status_member and request.get("StatusEquals", entry[status_member]) != entry[status_member]:
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        # A model has no time of modification.
        moment = entry.get(member, entry["CreationTime"])
        if not request.get(f"{member}After", float("-inf")) < moment < request.get(f"{member}Before", float("inf")):
            return False
    return True


def _sort_key(
    request: Mapping[str, Any], name_member: str, status_member: str | None
) -> Callable[[Mapping[str, Any]], list[Any]]:
    members = {"Name": name_member, "Status": status_member or name_member, "CreationTime": "CreationTime"}
    first = members[request.get("SortBy", "CreationTime")]
    # The name decides between equals, so that pages neither repeat nor lose an entry.
    return lambda entry: [entry[first], entry[name_member]]


def _decode(token: str) -> list[Any]:
    try:
        last: list[Any] = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise ApiError("ValidationException", "Invalid NextToken") from error
    return last
