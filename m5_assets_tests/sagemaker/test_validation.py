from __future__ import annotations

import copy
from typing import Any

import botocore.session
import pytest

from m5_assets.sagemaker import RequestValidationError, validate
from m5_assets.sagemaker.validation import uncompilable_patterns

MODEL = botocore.session.get_session().get_service_model("sagemaker")
ROLE = "arn:aws:iam::123456789012:role/jobs"

PROCESSING: dict[str, Any] = {
    "ProcessingJobName": "features-2016-04-18-a1",
    "RoleArn": ROLE,
    "AppSpecification": {
        "ImageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/features:1",
        "ContainerArguments": ["x"],
    },
    "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}},
    "ProcessingInputs": [
        {
            "InputName": "in",
            "S3Input": {
                "S3Uri": "s3://lake/in/",
                "LocalPath": "/opt/ml/processing/in",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
            },
        }
    ],
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    "Environment": {"KEY": "value"},
    "Tags": [{"Key": "dagster/run_id", "Value": "6b1f"}],
}
TRAINING: dict[str, Any] = {
    "TrainingJobName": "gbm-a1",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": "gbm:1", "TrainingInputMode": "File"},
    "HyperParameters": {"rounds": "100"},
    "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
    "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}
TRANSFORM: dict[str, Any] = {
    "TransformJobName": "score-a1",
    "ModelName": "gbm",
    "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}}},
    "TransformOutput": {"S3OutputPath": "s3://lake/out"},
    "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
    "MaxConcurrentTransforms": 4,
    "MaxPayloadInMB": 25,
}
VALID = {"CreateProcessingJob": PROCESSING, "CreateTrainingJob": TRAINING, "CreateTransformJob": TRANSFORM}


def changed(request: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    result = copy.deepcopy(request)
    target: Any = result
    for part in path[:-1]:
        target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
    target[path[-1]] = value
    return result


@pytest.mark.parametrize("operation", sorted(VALID))
def test_a_valid_request_passes(operation: str) -> None:
    validate(MODEL, operation, VALID[operation])


@pytest.mark.parametrize(
    ("operation", "path", "value", "expected"),
    [
        ("CreateProcessingJob", ("ProcessingJobName",), "x" * 64, "ProcessingJobName: .* has 64 characters.*63"),
        ("CreateProcessingJob", ("ProcessingJobName",), "a_b", "ProcessingJobName: 'a_b' does not match the pattern"),
        ("CreateProcessingJob", ("ProcessingJobName",), "ends-", "does not match the pattern"),
        ("CreateProcessingJob", ("Environment", "KEY"), "v" * 257, "Environment.KEY: <257 characters>.*256"),
        ("CreateProcessingJob", ("Environment",), {f"K{i}": "" for i in range(101)}, "Environment: 101 entries.*100"),
        (
            "CreateProcessingJob",
            ("AppSpecification", "ContainerArguments"),
            ["y" * 257],
            r"ContainerArguments\[0\].*256",
        ),
        ("CreateProcessingJob", ("ProcessingInputs",), PROCESSING["ProcessingInputs"] * 11, "ProcessingInputs: 11.*10"),
        ("CreateProcessingJob", ("StoppingCondition", "MaxRuntimeInSeconds"), 777_601, "777601 given.*777600"),
        ("CreateProcessingJob", ("StoppingCondition", "MaxRuntimeInSeconds"), 0, "MaxRuntimeInSeconds"),
        ("CreateProcessingJob", ("StoppingCondition", "MaxRuntimeInSeconds"), "1h", "MaxRuntimeInSeconds"),
        ("CreateProcessingJob", ("Colour",), "red", "Colour"),
        (
            "CreateProcessingJob",
            ("ProcessingResources", "ClusterConfig", "InstanceType"),
            "ml.m5.lage",
            r"InstanceType: 'ml.m5.lage' is not one of .*ml\.m5\.large",
        ),
        ("CreateProcessingJob", ("ProcessingInputs", 0, "S3Input", "S3Uri"), "s3://lake/in", "must end with '/'"),
        ("CreateProcessingJob", ("ProcessingInputs", 0, "S3Input", "LocalPath"), "/opt/ml/in", "/opt/ml/processing/"),
        (
            "CreateProcessingJob",
            ("ProcessingInputs", 0, "S3Input", "LocalPath"),
            "/opt/ml/processing/../x",
            "LocalPath",
        ),
        ("CreateProcessingJob", ("ProcessingInputs", 0, "S3Input", "S3Uri"), "ftp://lake/in/", "S3Uri.*pattern"),
        ("CreateProcessingJob", ("Tags", 0, "Value"), "a|b", r"Tags\[0\].Value: 'a\|b' may hold only"),
        ("CreateTrainingJob", ("HyperParameters", "rounds"), "9" * 2501, "HyperParameters.rounds.*2500"),
        ("CreateTrainingJob", ("Environment", "KEY"), "v" * 513, "Environment.KEY.*512"),
        ("CreateTrainingJob", ("StoppingCondition", "MaxWaitTimeInSeconds"), 60, "MaxWaitTimeInSeconds: 60 .*3600"),
        ("CreateTransformJob", ("MaxPayloadInMB",), 26, "4 x 26 = 104, the maximum is 100"),
        ("CreateTransformJob", ("Environment",), {f"K{i}": "" for i in range(17)}, "Environment: 17 entries.*16"),
        ("CreateTransformJob", ("ModelClientConfig", "InvocationsMaxRetries"), 4, "InvocationsMaxRetries: 4 .*3"),
        ("CreateTransformJob", ("BatchStrategy",), "Multi", "BatchStrategy: 'Multi' is not one of MultiRecord"),
    ],
)
def test_a_broken_limit_is_named(operation: str, path: tuple[str | int, ...], value: Any, expected: str) -> None:
    with pytest.raises(RequestValidationError, match=expected):
        validate(MODEL, operation, changed(VALID[operation], path, value))


def test_all_problems_are_told_at_once() -> None:
    request = changed(changed(PROCESSING, ("ProcessingJobName",), "a_b"), ("Environment", "KEY"), "v" * 300)
    del request["RoleArn"]
    with pytest.raises(RequestValidationError) as caught:
        validate(MODEL, "CreateProcessingJob", request)
    assert len(caught.value.problems) == 3


def test_values_of_the_environment_are_not_shown() -> None:
    with pytest.raises(RequestValidationError) as caught:
        validate(MODEL, "CreateProcessingJob", changed(PROCESSING, ("Environment", "KEY"), "secret" * 50))
    assert "secret" not in str(caught.value)


def test_only_tags_matter_among_the_patterns_that_cannot_be_compiled() -> None:
    skipped = {name for operation in VALID for name in uncompilable_patterns(MODEL, operation)}
    assert skipped == {"AthenaCatalog", "TagKey", "TagValue", "TrainingRepositoryCredentialsProviderArn"}
