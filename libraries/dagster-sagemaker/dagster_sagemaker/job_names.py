"""Job names that are idempotency keys: the same work has the same name, so it is never paid for twice.

SageMaker's create calls take no client token. A job's name, unique in an account and region forever, is the only key.
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
# "-<digest>-a<n>" with n up to 999: the prefix must not depend on the attempt.
_MAX_PREFIX_LENGTH = MAX_NAME_LENGTH - 1 - _DIGEST_LENGTH - len("-a999")


def name_prefix(asset_key: str, partition_key: str | None = None) -> str:
    """Return a readable prefix of at most 45 characters, made from the asset and the partition.

    The partition is kept whole where possible, because it distinguishes the jobs of one asset.

    Raises:
        ValueError: the asset key has no letter or digit.
    """
    asset, partition = _clean(asset_key), _clean(partition_key or "")
    if not asset:
        raise ValueError(f"a job cannot be named after {asset_key!r}: it has no letter or digit")
    partition = partition[: _MAX_PREFIX_LENGTH // 2].strip("-")
    room = _MAX_PREFIX_LENGTH - (len(partition) + 1 if partition else 0)
    return "-".join(part for part in (asset[:room].strip("-"), partition) if part)


def digest(params: Mapping[str, Any], identity: str = "") -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of a request in canonical JSON.

    Args:
        params: the request, with placeholders unresolved. Tags do not count: they do not change the work.
        identity: what else identifies the work, such as the asset and the partition that its messages belong to.
    """
    counted = {name: value for name, value in params.items() if name != "Tags"}
    canonical = json.dumps([identity, counted], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGEST_LENGTH]


def job_name(prefix: str, params_digest: str, attempt: int) -> str:
    """Return the name `<prefix>-<digest>-a<attempt>`; attempts count from 1."""
    return f"{prefix}-{params_digest}-a{attempt}"


def substitute(params: Any, placeholder: str, value: str) -> Any:
    """Return a deep copy of a request with a placeholder replaced in every string value."""
    if isinstance(params, str):
        return params.replace(placeholder, value)
    if isinstance(params, Mapping):
        return {key: substitute(item, placeholder, value) for key, item in params.items()}
    if isinstance(params, list | tuple):
        return [substitute(item, placeholder, value) for item in params]
    return params


def substitute_job_name(params: Any, name: str) -> Any:
    """Return a deep copy of a request with `{job_name}` replaced in every string value."""
    return substitute(params, JOB_NAME_PLACEHOLDER, name)


def _clean(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")
