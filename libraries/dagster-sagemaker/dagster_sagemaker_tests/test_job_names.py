from __future__ import annotations

import re
from typing import Any

import pytest
from dagster_sagemaker.job_names import digest, job_name, name_prefix, substitute_job_name
from hypothesis import given
from hypothesis import strategies as st

PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")

values = st.recursive(
    st.text(max_size=20) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    asset=st.text(min_size=1, max_size=200).filter(lambda text: re.search("[a-zA-Z0-9]", text)),
    partition=st.none() | st.text(max_size=200),
    attempt=st.integers(1, 999),
)
def test_every_name_is_one_that_sagemaker_takes(asset: str, partition: str | None, attempt: int) -> None:
    name = job_name(name_prefix(asset, partition), digest({}), attempt)
    assert len(name) <= 63
    assert PATTERN.fullmatch(name)


@given(params=st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_members(params: dict[str, Any]) -> None:
    assert digest(params) == digest(dict(reversed(params.items())))


def test_the_digest_tells_work_apart_but_not_tags() -> None:
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}, "features|w1") != digest({"a": 1}, "features|w2")
    assert digest({"a": 1, "Tags": [{"Key": "k", "Value": "v"}]}) == digest({"a": 1})


def test_a_long_asset_key_is_cut_and_the_partition_kept() -> None:
    prefix = name_prefix("demand/" + "very_long_" * 10 + "features", "2016-04-18")
    assert prefix.startswith("demand-very-long")
    assert prefix.endswith("-2016-04-18")
    assert len(prefix) == 45


def test_a_key_without_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="no letter or digit"):
        name_prefix("__")


def test_the_placeholder_is_replaced_in_every_string_and_nowhere_else() -> None:
    params = {"Uri": "s3://b/{job_name}/x", "List": [{"Deep": "{job_name}"}], "Count": 3, "Braces": "{other}"}
    assert substitute_job_name(params, "j-a1") == {
        "Uri": "s3://b/j-a1/x",
        "List": [{"Deep": "j-a1"}],
        "Count": 3,
        "Braces": "{other}",
    }
    assert params["Uri"] == "s3://b/{job_name}/x"
