from __future__ import annotations

import copy
from typing import Any

import botocore.session
import pytest
from dagster_sagemaker import RequestValidationError, validate
from dagster_sagemaker.aws_rules import has_local_storage
from dagster_sagemaker.validation import uncompilable_patterns

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
SPOT_POOL: dict[str, Any] = {
    **TRAINING,
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    "ResourceConfig": {
        "InstanceCount": 1,
        "InstanceType": "ml.g4dn.xlarge",
        "VolumeSizeInGB": 10,
        "VolumeKmsKeyId": "1234abcd-12ab-34cd-56ef-1234567890ab",
        "KeepAlivePeriodInSeconds": 600,
    },
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
        ("CreateTrainingJob", ("StoppingCondition", "MaxWaitTimeInSeconds"), 7200, "only with EnableManagedSpot"),
        ("CreateTrainingJob", ("EnableManagedSpotTraining",), True, "MaxWaitTimeInSeconds: missing"),
        ("CreateTrainingJob", ("AlgorithmSpecification", "AlgorithmName"), "xgb", "2 of TrainingImage and Algorithm"),
        ("CreateTrainingJob", ("ResourceConfig",), SPOT_POOL["ResourceConfig"], "VolumeKmsKeyId: ml.g4dn.xlarge has"),
        ("CreateProcessingJob", ("Tags", 0, "Key"), "AWS:mine", "'AWS:mine' begins with 'aws:'"),
        ("CreateProcessingJob", ("Tags",), PROCESSING["Tags"] * 2, r"Tags\[1\].Key: 'dagster/run_id' appears twice"),
        (
            "CreateProcessingJob",
            ("ProcessingInputs",),
            PROCESSING["ProcessingInputs"] * 2,
            r"ProcessingInputs\[1\].InputName: 'in' appears twice",
        ),
        ("CreateTransformJob", ("MaxPayloadInMB",), 101, "MaxPayloadInMB: 101 given, the maximum is 100"),
        ("CreateTransformJob", ("BatchStrategy",), "MultiRecord", "'MultiRecord' needs a TransformInput.SplitType"),
        ("CreateTransformJob", ("DataProcessing",), {"JoinSource": "Input"}, "ContentType: '' cannot be filtered"),
        ("CreateTransformJob", ("MaxPayloadInMB",), 26, "4 x 26 = 104, the maximum is 100"),
        ("CreateTransformJob", ("Environment",), {f"K{i}": "" for i in range(17)}, "Environment: 17 entries.*16"),
        ("CreateTransformJob", ("ModelClientConfig", "InvocationsMaxRetries"), 4, "InvocationsMaxRetries: 4 .*3"),
        ("CreateTransformJob", ("BatchStrategy",), "Multi", "BatchStrategy: 'Multi' is not one of MultiRecord"),
    ],
)
def test_a_broken_limit_is_named(operation: str, path: tuple[str | int, ...], value: Any, expected: str) -> None:
    with pytest.raises(RequestValidationError, match=expected):
        validate(MODEL, operation, changed(VALID[operation], path, value))


def test_spot_training_has_no_warm_pool() -> None:
    with pytest.raises(RequestValidationError, match="a warm pool cannot be used") as caught:
        validate(MODEL, "CreateTrainingJob", SPOT_POOL)
    assert len(caught.value.problems) == 2


def test_local_disks_are_known_by_the_instance_type() -> None:
    with_disks = (
        "ml.m5d.large",
        "ml.g4dn.xlarge",
        "ml.g5.xlarge",
        "ml.p4de.24xlarge",
        "ml.c6id.xlarge",
        "ml.trn1.2xlarge",
    )
    without = (
        "ml.m5.large",
        "ml.c5.xlarge",
        "ml.c5n.xlarge",
        "ml.m6i.large",
        "ml.p3.2xlarge",
        "ml.t3.medium",
        "ml.r5.large",
    )
    assert [name for name in (*with_disks, *without) if has_local_storage(name)] == list(with_disks)


def test_a_filtered_transform_of_csv_passes() -> None:
    request = changed(TRANSFORM, ("DataProcessing",), {"InputFilter": "$[1:]", "JoinSource": "Input"})
    request["TransformInput"] |= {"ContentType": "text/csv; charset=utf-8", "SplitType": "Line"}
    request["TransformOutput"] |= {"Accept": "text/csv", "AssembleWith": "Line"}
    validate(MODEL, "CreateTransformJob", {**request, "BatchStrategy": "MultiRecord"})


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
