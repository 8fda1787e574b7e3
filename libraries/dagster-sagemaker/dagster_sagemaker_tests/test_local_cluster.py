"""Jobs of several instances: what each is given, and what becomes of what they leave."""

from __future__ import annotations

import json
import tarfile
from typing import Any

import pytest
from dagster_sagemaker.job_kinds import PROCESSING
from dagster_sagemaker.local.job.s3_objects import StoredObject, share

from dagster_sagemaker_tests.conftest import Lab, eventually, processing_input, stop

LIST_INPUT = """
host = json.loads((base / "config/resourceconfig.json").read_text())
names = sorted(path.name for path in (base / "processing/in").rglob("*") if path.is_file())
(base / f"processing/out/{host['current_host']}.json").write_text(json.dumps({"host": host, "names": names}))
(base / "output/message").write_text(f"<{host['current_host']}>")
print("here is", host["current_host"])
"""


def on(lab: Lab, count: int, image: str, **members: Any) -> dict[str, Any]:
    request = lab.processing(image, **members)
    request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] = count
    return request


def seen(lab: Lab) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in (lab.lake / "out/{job_name}").iterdir()}


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_instances_share_or_repeat_an_input_and_their_outputs_are_merged(lab: Lab, distribution: str) -> None:
    names = [f"{letter}.txt" for letter in "abcdefg"]
    for name in names:
        lab.put(f"in/{name}", name)
    source = processing_input("s3://lake/in/")
    source["S3Input"]["S3DataDistributionType"] = distribution
    description = lab.run("processing", "job", on(lab, 3, lab.image("list", LIST_INPUT), ProcessingInputs=[source]))
    assert description["ProcessingJobStatus"] == "Completed"
    assert description["ExitMessage"] == "<algo-1><algo-2><algo-3>"
    hosts = ["algo-1", "algo-2", "algo-3"]
    found = seen(lab)
    assert {host: found[host]["host"] for host in hosts} == {
        host: {"current_host": host, "hosts": hosts} for host in hosts
    }
    if distribution == "FullyReplicated":
        assert all(found[host]["names"] == names for host in hosts)
    else:
        assert sorted(name for host in hosts for name in found[host]["names"]) == names
        assert sorted(len(found[host]["names"]) for host in hosts) == [2, 2, 3]
    streams = lab.logs.describe_log_streams(logGroupName=PROCESSING.log_group, logStreamNamePrefix="job/")
    assert [stream["logStreamName"].split("-")[1] for stream in streams["logStreams"]] == ["1", "2", "3"]


def test_shares_are_a_partition() -> None:
    objects = [StoredObject(str(number), f"s3://lake/{number}") for number in range(11)]
    for count in range(1, 14):
        parts = [share(objects, number, count) for number in range(count)]
        assert sorted((item for part in parts for item in part), key=objects.index) == objects
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_instances_than_objects(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    source = processing_input("s3://lake/in/")
    source["S3Input"]["S3DataDistributionType"] = "ShardedByS3Key"
    description = lab.run("processing", "job", on(lab, 2, lab.image("list", LIST_INPUT), ProcessingInputs=[source]))
    assert description["ProcessingJobStatus"] == "Completed"
    assert {host: found["names"] for host, found in seen(lab).items()} == {"algo-1": ["a.txt"], "algo-2": []}


def test_one_failure_ends_all_and_the_others_may_leave_in_order(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image(
        "one",
        """
        def leave(*_):
            (base / "output/message").write_text("left in order")
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        if json.loads((base / "config/resourceconfig.json").read_text())["current_host"] == "algo-2":
            while not list(base.parent.glob("algo-1/ready")): time.sleep(0.01)
            sys.exit(4)
        (base / "ready").touch()
        while True: time.sleep(0.05)
        """,
    )
    description = lab.run("processing", "job", on(lab, 2, image))
    assert description["ProcessingJobStatus"] == "Failed"
    assert "exited with code 4 on algo-2" in description["FailureReason"]
    assert description["ExitMessage"] == "left in order"
    assert not (lab.lake / "out").exists()


def test_a_stop_reaches_all(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    lab.create("processing", "job", on(lab, 3, lab.image("sleep", "print('ready'); time.sleep(600)")))
    eventually(lambda: lab.log("processing", "job").count("ready") == 3)
    stop(lab.sagemaker, PROCESSING, "job")
    assert lab.finish("processing", "job")["ProcessingJobStatus"] == "Stopped"


def test_a_model_is_merged_of_all_instances(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image(
        "train",
        """
        config = json.loads((base / "input/config/resourceconfig.json").read_text())
        (base / "model" / config["current_host"]).write_text(config["network_interface_name"])
        (base / "model/shared").write_text(config["current_host"])
        """,
    )
    resources = {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
    assert lab.run("training", "job", lab.training(image, ResourceConfig=resources))["TrainingJobStatus"] == "Completed"
    with tarfile.open(lab.lake / "models/job/output/model.tar.gz") as tar:
        assert tar.getnames() == ["algo-1", "algo-2", "shared"]
        shared = tar.extractfile("shared")
        assert shared is not None
        assert shared.read() == b"algo-1"
    assert any("more than one instance left model/shared" in line for line in lab.log("training", "job"))
