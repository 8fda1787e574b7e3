"""Tests that the policy evaluator of the tests follows IAM and rejects what it does not support."""

from __future__ import annotations

import json
from typing import Any

import pytest

from m5_assets_tests.support.iam_policies import Rights, allows


def test_the_evaluator_supports_deny_wildcards_and_conditions() -> None:
    def one(effect: str, **more: Any) -> dict[str, Any]:
        return {"Statement": {"Effect": effect, "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*", **more}}

    key = "arn:aws:s3:::b/key"
    assert allows(Rights([one("Allow")]), "S3:getobject", key)
    assert not allows(Rights([one("Allow")]), "s3:PutObject", key)
    assert not allows(Rights([one("Allow")]), "s3:GetObject", "arn:aws:s3:::c/key")
    assert not allows(Rights([one("Allow"), one("Deny")]), "s3:GetObject", key)
    assert not allows(Rights([]), "s3:GetObject", key)
    conditional = one("Allow", Condition={"StringLike": {"k": ["a*", "b"]}})
    assert allows(Rights([conditional]), "s3:GetObject", key, {"k": "b"})
    assert not allows(Rights([conditional]), "s3:GetObject", key, {"k": "c"})
    assert not allows(Rights([conditional]), "s3:GetObject", key)
    absent = one("Allow", Condition={"Null": {"k": "true"}})
    assert allows(Rights([absent]), "s3:GetObject", key)
    assert not allows(Rights([absent]), "s3:GetObject", key, {"k": "c"})
    open_to_none = one("Allow", Condition={"StringEqualsIfExists": {"k": "a"}})
    assert allows(Rights([open_to_none]), "s3:GetObject", key)
    assert allows(Rights([open_to_none]), "s3:GetObject", key, {"k": "a"})
    assert not allows(Rights([open_to_none]), "s3:GetObject", key, {"k": "c"})
    for unknown in ({"Condition": {"DateLessThan": {"k": "1"}}}, {"NotAction": "s3:*"}):
        with pytest.raises(NotImplementedError):
            allows(Rights([one("Allow", **unknown)]), "s3:GetObject", key)
    assert json.dumps(conditional)  # plain JSON, like IAM policies
