"""Job names that are idempotency keys: the same work has the same name, so it is never paid twice.

SageMaker's create calls take no client token; the name of a job, unique in an account and region for ever, is the
only one. Here: how a name is made from a request. Not here: which attempt is due (`jobs`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

MAX_NAME_LENGTH = 63
"""Characters of a job's or model's name; the pattern is `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`."""

JOB_NAME_PLACEHOLDER = "{job_name}"
"""Stands for the job's own name in any string of a request, so that each attempt writes below its own prefix."""

_DIGEST_LENGTH = 12
# "-<digest>-a<n>", n up to 999: the prefix must not depend on the attempt.
_MAX_PREFIX_LENGTH = MAX_NAME_LENGTH - 1 - _DIGEST_LENGTH - len("-a999")


def name_prefix(asset_key: str, partition_key: str | None = None) -> str:
    """A readable prefix: the asset and the partition, cleaned, at most 45 characters.

    The partition is kept whole where possible, because it tells the jobs of one asset apart.

    Raises:
        ValueError: The asset key holds no letter or digit.
    """
    asset, partition = _clean(asset_key), _clean(partition_key or "")
    if not asset:
        raise ValueError(f"a job cannot be named after {asset_key!r}: it holds no letter or digit")
    partition = partition[: _MAX_PREFIX_LENGTH // 2].strip("-")
    room = _MAX_PREFIX_LENGTH - (len(partition) + 1 if partition else 0)
    return "-".join(part for part in (asset[:room].strip("-"), partition) if part)


def digest(params: Mapping[str, Any], identity: str = "") -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a request in canonical JSON.

    Args:
        params: The request, with placeholders unresolved. Its tags do not count: they do not change the work.
        identity: What else makes the work, such as the asset and the partition that its messages belong to.
    """
    counted = {name: value for name, value in params.items() if name != "Tags"}
    canonical = json.dumps([identity, counted], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGEST_LENGTH]


def job_name(prefix: str, params_digest: str, attempt: int) -> str:
    """The name `<prefix>-<digest>-a<attempt>`; attempts count from 1."""
    return f"{prefix}-{params_digest}-a{attempt}"


def substitute_job_name(params: Any, name: str) -> Any:
    """A deep copy of a request with `{job_name}` replaced in every string value."""
    if isinstance(params, str):
        return params.replace(JOB_NAME_PLACEHOLDER, name)
    if isinstance(params, Mapping):
        return {key: substitute_job_name(value, name) for key, value in params.items()}
    if isinstance(params, list | tuple):
        return [substitute_job_name(value, name) for value in params]
    return params


def _clean(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")
