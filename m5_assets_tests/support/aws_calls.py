"""The AWS calls of the platform and the IAM action that each needs."""

from __future__ import annotations

from dagster_sagemaker.job_kinds import KINDS

from m5_assets_tests.infrastructure.conftest import ACCOUNT
from m5_assets_tests.support.iam_policies import Context

LAKE = f"arn:aws:s3:::m5-prod-lake-{ACCOUNT}"
AWS = f"us-east-1:{ACCOUNT}"
ORCHESTRATOR = "m5-prod-orchestrator"
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
BY_S3 = {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:ResourceAliases": "alias/m5-prod-data"}
IN_CLUSTER = {"ecs:cluster": f"arn:aws:ecs:{AWS}:cluster/m5-prod"}

# A week's job and model names in the format of dagster_sagemaker.job_names.
NAMES = {
    "processing": ["features-2016-05-16-0a1b2c3d4e5f-a1"],
    "training": [f"{kind}-model-2016-05-16-0a1b2c3d4e5f-a1" for kind in ("gbm", "lstm", "totals")],
    "transform": [
        f"{asset}-2016-05-16-0a1b2c3d4e5f-a1" for asset in ("gbm-predictions", "lstm-predictions", "totals-forecast")
    ],
}

# The boto3 operations in the platform's code and their actions; `test_calls` compares them with the code. The calls of
# Dagster's launcher and step logs are further below.
OPERATIONS = {
    ("logs", "DescribeLogStreams"): "logs:DescribeLogStreams",
    ("logs", "GetLogEvents"): "logs:GetLogEvents",
    ("s3", "GetObject"): "s3:GetObject",
    ("s3", "PutObject"): "s3:PutObject",
    ("sagemaker", "AddTags"): "sagemaker:AddTags",
    ("sagemaker", "CreateModel"): "sagemaker:CreateModel",
    ("sagemaker", "ListTags"): "sagemaker:ListTags",
    ("quicksight", "CreateIngestion"): "quicksight:CreateIngestion",
    ("quicksight", "DescribeIngestion"): "quicksight:DescribeIngestion",
    ("sns", "Publish"): "sns:Publish",
    ("sts", "GetCallerIdentity"): "sts:GetCallerIdentity",
    **{
        ("sagemaker", f"{verb}{kind.title}Job{plural}"): f"sagemaker:{verb}{kind.title}Job{plural}"
        for kind in KINDS.values()
        for verb, plural in (("Create", ""), ("Describe", ""), ("Stop", ""), ("List", "s"))
    },
}


def orchestrator_calls() -> list[tuple[str, str, Context]]:
    """Return the orchestrator's calls on AWS: action, resource, condition keys."""
    jobs: list[tuple[str, str, Context]] = []
    for kind, names in NAMES.items():
        title = kind.capitalize()
        jobs += [(f"sagemaker:List{title}Jobs", "*", {})]
        for name in names:
            arn = f"arn:aws:sagemaker:{AWS}:{kind}-job/{name}"
            jobs += [(f"sagemaker:{verb}{title}Job", arn, {}) for verb in ("Create", "Describe", "Stop")]
            jobs += [("sagemaker:AddTags", arn, {}), ("sagemaker:ListTags", arn, {})]
            jobs += [
                (action, f"arn:aws:logs:{AWS}:log-group:/aws/sagemaker/{title}Jobs:log-stream:{name}/algo-1-1", {})
                for action in ("logs:DescribeLogStreams", "logs:GetLogEvents")
            ]
    for name in NAMES["transform"]:
        arn = f"arn:aws:sagemaker:{AWS}:model/{name.removesuffix('-a1')}"
        jobs += [("sagemaker:CreateModel", arn, {}), ("sagemaker:AddTags", arn, {})]
    roles = [f"arn:aws:iam::{ACCOUNT}:role/m5-prod-job-{kind}" for kind in ("features", "gbm", "lstm", "totals")]
    jobs += [("iam:PassRole", role, TO_SAGEMAKER) for role in roles]
    return [
        *jobs,
        ("s3:GetObject", f"{LAKE}/landing/calendar.csv", {}),
        ("s3:ListBucket", LAKE, {"s3:prefix": "landing/"}),
        # Looking for a key that may not be there: no prefix is named.
        ("s3:ListBucket", LAKE, {}),
        *[
            (f"s3:{action}", f"{LAKE}/lake/features/week=2016-05-16/manifest.json", {})
            for action in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListMultipartUploadParts")
        ],
        ("s3:PutObject", f"{LAKE}/lake/pipes/features-2016-05-16-0a1b2c3d4e5f-a1/context.json", {}),
        ("s3:PutObject", f"{LAKE}/dagster/storage/run/compute_logs/step.err", {}),
        ("s3:GetObject", f"{LAKE}/dagster/storage/run/compute_logs/step.err", {}),
        # dagster_aws.ecs.EcsRunLauncher
        ("ecs:RunTask", f"arn:aws:ecs:{AWS}:task-definition/m5-prod-run:7", IN_CLUSTER),
        ("ecs:TagResource", f"arn:aws:ecs:{AWS}:task/m5-prod/0a1b", {"ecs:CreateAction": "RunTask"}),
        ("ecs:DescribeTasks", f"arn:aws:ecs:{AWS}:task/m5-prod/0a1b", {}),
        ("ecs:StopTask", f"arn:aws:ecs:{AWS}:task/m5-prod/0a1b", {}),
        ("ecs:DescribeTaskDefinition", "*", {}),
        ("ec2:DescribeNetworkInterfaces", "*", {}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-orchestrator", TO_TASKS),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-execution", TO_TASKS),
        ("logs:GetLogEvents", f"arn:aws:logs:{AWS}:log-group:/m5/prod/dagster:log-stream:run/m5/0a1b", {}),
        ("ssmmessages:OpenDataChannel", "*", {}),
        ("quicksight:CreateIngestion", f"arn:aws:quicksight:{AWS}:dataset/m5-forecast/ingestion/run-1", {}),
        ("quicksight:DescribeIngestion", f"arn:aws:quicksight:{AWS}:dataset/m5-forecast/ingestion/run-1", {}),
        ("sns:Publish", f"arn:aws:sns:{AWS}:m5-prod-alerts", {}),
    ]
