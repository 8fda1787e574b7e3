from __future__ import annotations

import hashlib
import json
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dagster_sagemaker_tests.conftest import Lab

TRAIN = """
assert sys.argv[1:] == ["train"], sys.argv
rounds = json.loads((base / "input/config/hyperparameters.json").read_text())["rounds"]
assert os.environ["TRAINING_JOB_NAME"] in os.environ["TRAINING_JOB_ARN"]
(base / "model/deep").mkdir()
(base / "model/deep/b.txt").write_text((base / "input/data/train/a.txt").read_text())
(base / "model/a.json").write_text(json.dumps({"rounds": rounds}))
"""

AUGMENTED = {
    "ChannelName": "train",
    "DataSource": {"S3DataSource": {"S3DataType": "AugmentedManifestFile", "S3Uri": "s3://lake/m.jsonl"}},
}
GROUP = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "group"}


def test_the_model_is_what_the_container_left(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    request = lab.training(lab.image("train", TRAIN), HyperParameters={"rounds": "100"})
    description = lab.run("training", "job", request)
    assert description["TrainingJobStatus"] == "Completed"
    assert description["SecondaryStatus"] == "Completed"
    assert description["BillableTimeInSeconds"] >= 1
    assert description["ModelArtifacts"]["S3ModelArtifacts"] == "s3://lake/models/job/output/model.tar.gz"
    with tarfile.open(lab.lake / "models/job/output/model.tar.gz") as tar:
        assert tar.getnames() == ["a.json", "deep/b.txt"]
        stored = tar.extractfile("a.json")
        assert stored is not None
        assert json.load(stored) == {"rounds": "100"}


def test_the_same_model_has_the_same_bytes(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    image = lab.image("train", TRAIN + 'os.utime(base / "model/a.json", (time.time() - 99, 1e9 + time.time() % 1e6))')
    digests = set()
    for name in ("one", "two"):
        lab.run("training", name, lab.training(image, HyperParameters={"rounds": "1"}))
        archive = lab.lake / f"models/{name}/output/model.tar.gz"
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_configuration_files(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    image = lab.image(
        "config",
        """
        for path in (base / "input/config").iterdir():
            (base / "model" / path.name).write_text(path.read_text())
        """,
    )
    lab.run("training", "job", lab.training(image))
    with tarfile.open(lab.lake / "models/job/output/model.tar.gz") as tar:
        tar.extractall(lab.root / "model", filter="data")
    found = {path.stem: json.loads(path.read_text()) for path in (lab.root / "model").iterdir()}
    assert found["hyperparameters"] == {}
    assert found["inputdataconfig"] == {
        "train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    }
    assert found["resourceconfig"]["current_host"] == "algo-1"
    assert found["resourceconfig"]["network_interface_name"]


def test_the_failure_file_is_the_failure_reason(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    image = lab.image("fail", '(base / "output/failure").write_text("loss is not finite" * 100); sys.exit(7)')
    description = lab.run("training", "job", lab.training(image))
    assert description["TrainingJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("AlgorithmError: loss is not finite")
    assert len(description["FailureReason"]) <= 1024
    assert "ModelArtifacts" not in description
    assert not (lab.lake / "models").exists()


def test_the_exit_code_survives_without_a_failure_file(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    description = lab.run("training", "job", lab.training(lab.image("fail", "sys.exit(7)")))
    assert description["FailureReason"].endswith("exit code: 7")


def test_checkpoints_outlive_a_failed_job(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    image = lab.image(
        "steps",
        """
        path = base / "checkpoints/step.txt"
        step = int(path.read_text()) if path.exists() else 0
        path.write_text(str(step + 1))
        sys.exit(0 if step else 1)
        """,
    )
    request = lab.training(image, CheckpointConfig={"S3Uri": "s3://lake/checkpoints/work/"})
    assert lab.run("training", "one", request)["TrainingJobStatus"] == "Failed"
    assert lab.run("training", "two", request)["TrainingJobStatus"] == "Completed"
    assert (lab.lake / "checkpoints/work/step.txt").read_text() == "2"


def test_further_output_is_archived_too(lab: Lab) -> None:
    lab.put("in/a.txt", "data")
    lab.run("training", "job", lab.training(lab.image("extra", '(base / "output/data/plot.txt").write_text("~")')))
    with tarfile.open(lab.lake / "models/job/output/output.tar.gz") as tar:
        assert tar.getnames() == ["plot.txt"]
    assert list((lab.lake / ".uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"AlgorithmSpecification": {"AlgorithmName": "own", "TrainingInputMode": "File"}}, "needs a TrainingImage"),
        ({"InputDataConfig": [AUGMENTED]}, "S3DataType AugmentedManifestFile: the local runner offers S3Prefix"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://lake/m", "CompressionType": "NONE"}}, "stores model.tar.gz"),
        ({"AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "Pipe"}}, "channel train: Pipe mode"),
        (
            {"ResourceConfig": {"VolumeSizeInGB": 1, "InstanceGroups": [GROUP]}},
            "instances of one kind",
        ),
    ],
)
def test_what_the_runner_cannot_do_is_refused(lab: Lab, members: dict[str, Any], problem: str) -> None:
    with pytest.raises(ClientError, match=problem) as caught:
        lab.create("training", "job", lab.training("image", **members))
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert lab.jobs("training") == []
