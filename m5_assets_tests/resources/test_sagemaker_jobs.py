"""SageMaker jobs on the local runner: requests from settings, retries, and runs that have ended."""

import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_sagemaker.testing import Faults, JobFault
from dagster_sagemaker.validation import validate

from m5_assets.resources.job_requests import Choices
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import JobInput, SageMakerJobs, run_has_ended
from m5_assets.settings import JobSettings, ProcessingResources, TrainingResources, TransformResources

KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
NETWORK = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
PLATFORM = JobSettings(
    kms_key_id=KEY,
    subnets=("subnet-1",),
    security_group_ids=("sg-1",),
    tags={"team": "demand", "stage": "test"},
    features=ProcessingResources(instance_type="ml.m5.large", instance_count=2, tags={"stage": "features"}),
    gbm_training=TrainingResources(instance_type="ml.m5.xlarge", spot=True, volume_gb=50),
    lstm_training=TrainingResources(instance_type="ml.g4dn.xlarge"),
    gbm_transform=TransformResources(instance_type="ml.m5.large", instance_count=3),
)


def jobs_at(root: Path, settings: JobSettings = PLATFORM) -> SageMakerJobs:
    return SageMakerJobs(home=str(root / "home"), lake=Lake(root=str(root / "lake")), job_settings=settings)


def run_features(jobs: SageMakerJobs) -> dg.ExecuteInProcessResult:
    """Run a features job on a file that is not a table, so that its program fails."""
    jobs.lake.write_bytes("in/empty.parquet", b"")

    @dg.asset
    def features(context: dg.AssetExecutionContext) -> None:
        source = {"sales": JobInput("in")}
        jobs.process(
            context,
            "features",
            arguments=["--origin", "2016-05-22", "2014-03-31", "2011-01-29"],
            inputs=source,
            outputs={"2016-05-22": "out/{job_name}"},
        )

    # With the retry policy of the platform's own jobs: it is for other failures.
    job = dg.define_asset_job("features_job", op_retry_policy=dg.RetryPolicy(max_retries=2))
    defs = dg.Definitions(assets=[features], jobs=[job])
    return defs.resolve_job_def("features_job").execute_in_process(raise_on_error=False)


def jobs_of(jobs: SageMakerJobs) -> list[dict[str, Any]]:
    summaries = jobs.service.get_client().list_processing_jobs(SortOrder="Ascending", SortBy="CreationTime")
    names = [summary["ProcessingJobName"] for summary in summaries["ProcessingJobSummaries"]]
    return [dict(jobs.service.get_client().describe_processing_job(ProcessingJobName=name)) for name in names]


def test_a_request_follows_the_settings(tmp_path: Path) -> None:
    jobs = jobs_at(tmp_path)
    assert not run_features(jobs).success
    (job,) = jobs_of(jobs)
    assert job["ProcessingResources"]["ClusterConfig"] == {
        "InstanceType": "ml.m5.large",
        "InstanceCount": 2,
        "VolumeSizeInGB": 30,
        "VolumeKmsKeyId": KEY,
    }
    assert job["ProcessingOutputConfig"]["KmsKeyId"] == KEY
    assert job["NetworkConfig"]["VpcConfig"] == NETWORK
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 10_800}
    tags = {
        tag["Key"]: tag["Value"]
        for tag in jobs.service.get_client().list_tags(ResourceArn=job["ProcessingJobArn"])["Tags"]
    }
    assert tags["team"] == "demand"
    assert tags["stage"] == "features"
    assert "dagster/run_id" in tags


def test_a_failure_of_aws_is_retried_and_a_failure_of_the_program_is_not(tmp_path: Path) -> None:
    jobs = jobs_at(tmp_path)
    Faults(tmp_path / "home/sagemaker").inject(JobFault("capacity", times=1))
    result = run_features(jobs)
    assert not result.success
    reasons = [job["FailureReason"].partition(":")[0] for job in jobs_of(jobs)]
    assert reasons == ["CapacityError", "AlgorithmError"]


def test_a_retried_training_finds_the_checkpoints_of_the_last_attempt(tmp_path: Path) -> None:
    jobs = jobs_at(tmp_path)
    jobs.lake.write_bytes("features/panel/empty.parquet", b"")

    @dg.asset
    def gbm_model(context: dg.AssetExecutionContext) -> None:
        jobs.train(
            context, "gbm", channels={"panel": "features/panel"}, hyperparameters={"seed": "1"}, prefix="gbm_model"
        )

    for _ in range(2):
        assert not dg.materialize([gbm_model], raise_on_error=False).success
    names = [job["TrainingJobName"] for job in jobs.service.get_client().list_training_jobs()["TrainingJobSummaries"]]
    described = [jobs.service.get_client().describe_training_job(TrainingJobName=name) for name in names]
    assert len({job["TrainingJobName"] for job in described}) == 2
    (place,) = {job["CheckpointConfig"]["S3Uri"] for job in described}
    assert place.startswith("s3://m5-lake/gbm_model/checkpoints/")
    assert all(job["EnableManagedSpotTraining"] for job in described)


def test_spot_training_waits_for_capacity_and_a_transform_has_no_volume() -> None:
    training = Choices(PLATFORM, PLATFORM.training("gbm"))
    assert training.limits == {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 10_800, "MaxWaitTimeInSeconds": 21_600},
    }
    assert training.instances["VolumeSizeInGB"] == 50
    transform = Choices(PLATFORM, PLATFORM.transform("gbm"))
    assert transform.instances == {"InstanceType": "ml.m5.large", "InstanceCount": 3, "VolumeKmsKeyId": KEY}


def test_an_instance_with_local_disks_gets_no_key_which_aws_would_reject() -> None:
    chosen = Choices(PLATFORM, PLATFORM.training("lstm"))
    assert "VolumeKmsKeyId" not in chosen.instances
    assert chosen.output_key == {"KmsKeyId": KEY}


def test_a_jobs_own_setting_wins_and_unset_settings_are_not_sent() -> None:
    own = ProcessingResources(
        instance_type="ml.m5.large", kms_key_id="alias/own", subnets=("subnet-9",), security_group_ids=("sg-9",)
    )
    chosen = Choices(PLATFORM, own)
    assert chosen.output_key == {"KmsKeyId": "alias/own"}
    assert chosen.vpc == {"VpcConfig": {"Subnets": ["subnet-9"], "SecurityGroupIds": ["sg-9"]}}
    bare = Choices(JobSettings(), JobSettings().features)
    assert (bare.output_key, bare.vpc, bare.tags) == ({}, {}, [])


def test_training_and_transform_requests_with_all_settings_are_valid(tmp_path: Path) -> None:
    client = jobs_at(tmp_path).service.get_client()
    training, transform = Choices(PLATFORM, PLATFORM.training("gbm")), Choices(PLATFORM, PLATFORM.transform("gbm"))
    role = PLATFORM.role_arn
    validate(
        client,
        "CreateTrainingJob",
        {
            "TrainingJobName": "gbm-a1",
            "RoleArn": role,
            "AlgorithmSpecification": {"TrainingImage": "gbm", "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": "s3://lake/models", **training.output_key},
            "ResourceConfig": training.instances,
            **training.limits,
            **training.vpc,
            "Tags": training.tags,
        },
    )
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}
    validate(
        client,
        "CreateTransformJob",
        {
            "TransformJobName": "gbm-a1",
            "ModelName": "gbm",
            "TransformInput": {"DataSource": {"S3DataSource": source}},
            "TransformOutput": {"S3OutputPath": "s3://lake/out", **transform.output_key},
            "TransformResources": transform.instances,
        },
    )


@pytest.mark.parametrize(("age", "expected"), [(3600.0, True), (60.0, False)])
def test_a_run_counts_as_ended_only_some_time_after_its_end(
    monkeypatch: pytest.MonkeyPatch, age: float, expected: bool
) -> None:
    @dg.asset
    def nothing() -> None: ...

    with dg.instance_for_test() as instance:
        run_id = dg.materialize([nothing], instance=instance).run_id
        assert not run_has_ended(instance, run_id)
        seen = time.monotonic()
        monkeypatch.setattr("time.time", lambda: 0.0)  # steps of the system's clock change nothing
        monkeypatch.setattr("m5_assets.resources.sagemaker_jobs.time.monotonic", lambda: seen + age)
        assert run_has_ended(instance, run_id) is expected
        assert not run_has_ended(instance, "a run of another instance")
