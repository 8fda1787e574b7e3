"""Power cuts on a real file system: what was not synced is lost; what was promised is there."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster_sagemaker import LocalSageMaker

from benchmarks.chaos_disk import Disk
from m5_assets.resources.lake import Lake

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root can mount a disk, only on Linux"
)
CUTS = 20
ROWS = "12345\n" * 20_000
PROGRAM = f"""
import os, pathlib
folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "processing/out")
folder.mkdir(parents=True, exist_ok=True)
for number in range(3):
    (folder / f"{{number}}.txt").write_text({ROWS!r})
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 200)
    yield disk
    disk.close()


def cut(disk: Disk) -> None:
    disk.cut_power()
    disk.restore_power()


def request(name: str) -> dict[str, Any]:
    output = {"S3Uri": f"s3://lake/out/{name}", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    return {
        "ProcessingJobName": name,
        "RoleArn": "arn:aws:iam::111122223333:role/jobs",
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {"ClusterConfig": cluster},
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": output}]},
    }


def test_the_disk_loses_what_is_not_synced(disk: Disk) -> None:
    (disk.folder / "written").write_text(ROWS)
    with (disk.folder / "synced").open("w") as file:
        file.write(ROWS)
        file.flush()
        os.fsync(file.fileno())
    cut(disk)
    assert (disk.folder / "synced").read_text() == ROWS
    assert not (disk.folder / "written").exists() or (disk.folder / "written").read_text() != ROWS


@pytest.mark.long
def test_a_published_version_is_there_after_a_power_cut(disk: Disk) -> None:
    for number in range(CUTS):
        lake = Lake(root=str(disk.folder / "lake"))
        with lake.staging() as staged:
            (staged / "rows.txt").write_text(f"{number}\n" + ROWS)
            lake.publish("rows", None, staged, inputs={}, attributes={})
        cut(disk)
        manifest = lake.get("rows")
        with lake.open(manifest.files[0]) as stream:
            assert stream.read() == f"{number}\n{ROWS}".encode()


@pytest.mark.long
def test_after_a_power_cut_a_job_is_whole_or_has_failed(disk: Disk, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    draw, statuses = random.Random(1), list[str]()  # noqa: S311  # no secret
    for number in range(CUTS):
        lake = disk.folder / "lake"
        lake.mkdir(exist_ok=True)
        runner = LocalSageMaker(
            disk.folder / "home", buckets={"lake": lake}, images={"image": [sys.executable, str(program)]}
        )
        client = runner.client("sagemaker")
        name = f"job-{number}"
        client.create_processing_job(**request(name))
        deadline = time.monotonic() + draw.uniform(0, 1.5)
        while time.monotonic() < deadline or number % 2:
            if client.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] == "Completed":
                break  # every second job is cut off at the very moment of its completion
            time.sleep(0.005)
        cut(disk)
        assert len(client.list_processing_jobs(MaxResults=100)["ProcessingJobSummaries"]) == number + 1
        statuses.append(client.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"])
        if statuses[-1] == "Completed":
            assert [path.read_text() for path in sorted((lake / "out" / name).iterdir())] == [ROWS] * 3
    assert set(statuses) == {"Completed", "Failed"}
