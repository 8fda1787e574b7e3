"""One request, two places: objects in folders, and objects of an S3 service over HTTP; the bytes are the same."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from dagster_sagemaker import LocalSageMaker
from dagster_sagemaker.local.job.http_store import HttpStore
from dagster_sagemaker.local.job.outcome import JobFailure
from moto.server import ThreadedMotoServer

from dagster_sagemaker_tests.conftest import ROLE, Lab, processing_input
from dagster_sagemaker_tests.test_local_transform import SERVE

COPY = """
for path in sorted((base / "processing/in").rglob("*")):
    if path.is_file():
        (base / "processing/out" / path.name).write_bytes(path.read_bytes().upper())
"""
TRAIN = """
step = base / "checkpoints/step"
step.write_text(str(int(step.read_text()) + 1))
(base / "model/scale.txt").write_text("!")
(base / "model/data.txt").write_text("".join(sorted(p.read_text() for p in (base / "input/data/train").iterdir())))
"""
ALIEN = """
import boto3
boto3.client("s3").put_object(Bucket="lake", Key=os.environ["KEY"], Body=b"hello")
"""


class HttpLab(Lab):
    """A laboratory whose lake is a bucket of a moto server."""

    def __init__(self, root: Path, endpoint: str):
        self.endpoint = endpoint
        # All servers of one process share what they hold.
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()  # noqa: S310  # our own address
        self.s3 = boto3.client("s3", endpoint_url=endpoint)
        self.s3.create_bucket(Bucket="lake")
        super().__init__(root)

    @property
    def runner(self) -> LocalSageMaker:
        return LocalSageMaker(self.root / "home", s3_endpoint=self.endpoint, images=self.images, stop_grace=1.0)

    def put(self, key: str, text: str) -> str:
        self.s3.put_object(Bucket="lake", Key=key, Body=text.encode())
        return f"s3://lake/{key}"


@pytest.fixture
def http_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpLab]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    root = tmp_path / "http"
    root.mkdir()
    found = HttpLab(root, f"http://{host}:{port}")
    yield found
    found.stop_everything()
    server.stop()


def objects(lab: Lab) -> dict[str, bytes]:
    """All that is in the lake, wherever it lies."""
    if isinstance(lab, HttpLab):
        pages = lab.s3.get_paginator("list_objects_v2").paginate(Bucket="lake")
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: lab.s3.get_object(Bucket="lake", Key=key)["Body"].read() for key in keys}
    return {path.relative_to(lab.lake).as_posix(): path.read_bytes() for path in lab.lake.rglob("*") if path.is_file()}


def run_all(lab: Lab) -> None:
    """A Processing job on two instances with a manifest, a Training job, and a Transform job with its model."""
    for name in "abcde":
        lab.put(f"in/{name}.csv", f"{name}1\n{name}2\n")
    manifest = lab.put("m.json", json.dumps([{"prefix": "s3://lake/in/"}, "a.csv", "c.csv", "e.csv"]))
    lab.put("checkpoints/step", "3")
    source = processing_input(manifest, data_type="ManifestFile")
    source["S3Input"]["S3DataDistributionType"] = "ShardedByS3Key"
    processing = lab.processing(lab.image("copy", COPY), ProcessingInputs=[source])
    processing["ProcessingResources"]["ClusterConfig"]["InstanceCount"] = 2
    training = lab.training(lab.image("train", TRAIN), CheckpointConfig={"S3Uri": "s3://lake/checkpoints"})
    lab.create("processing", "p", processing)
    trained = lab.run("training", "t", training)
    assert lab.finish("processing", "p")["ProcessingJobStatus"] == "Completed"
    assert trained["TrainingJobStatus"] == "Completed"
    lab.sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": lab.image("serve", SERVE),
            "ModelDataUrl": trained["ModelArtifacts"]["S3ModelArtifacts"],
        },
    )
    transform = lab.transform(ModelName="m", TransformResources={"InstanceCount": 2, "InstanceType": "ml.m5.large"})
    assert lab.run("transform", "x", transform)["TransformJobStatus"] == "Completed"


def test_the_same_requests_leave_the_same_bytes(lab: Lab, http_lab: HttpLab) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(run_all, [lab, http_lab]))
    left = objects(lab)
    assert objects(http_lab) == left
    assert left["out/{job_name}/c.csv"] == b"C1\nC2\n"
    assert left["out/{job_name}/b.csv.out"] == b"B1\nB2!"
    assert left["checkpoints/step"] == b"4"
    with tarfile.open(fileobj=io.BytesIO(left["models/t/output/model.tar.gz"])) as tar:
        assert tar.getnames() == ["data.txt", "scale.txt"]


def test_containers_write_real_objects_unless_isolated(http_lab: HttpLab) -> None:
    http_lab.put("in/a.txt", "a")
    request = http_lab.processing(http_lab.image("alien", ALIEN), ProcessingOutputConfig={"Outputs": []})
    isolated = {**request, "NetworkConfig": {"EnableNetworkIsolation": True}, "Environment": {"KEY": "isolated"}}
    http_lab.create("processing", "isolated", isolated)
    http_lab.create("processing", "free", {**request, "Environment": {"KEY": "free"}})
    assert http_lab.finish("processing", "isolated")["ProcessingJobStatus"] == "Failed"
    assert http_lab.finish("processing", "free")["ProcessingJobStatus"] == "Completed"
    assert objects(http_lab) == {"in/a.txt": b"a", "free": b"hello"}
    # Credentials travel in the environment alone.
    assert not [path for path in (http_lab.root / "home").rglob("*.json") if "testing" in path.read_text()]


def test_a_service_s_refusal_is_the_job_s_reason(http_lab: HttpLab) -> None:
    request = http_lab.processing(http_lab.image("copy", COPY), ProcessingInputs=[processing_input("s3://else/in/")])
    description = http_lab.run("processing", "job", request)
    assert description["FailureReason"].startswith("ClientError: s3://else/in/: ")
    assert "NoSuchBucket" in description["FailureReason"]


@pytest.mark.parametrize(
    ("status", "blamed"), [(503, "InternalServerError"), (0, "InternalServerError"), (403, "ClientError")]
)
def test_a_service_that_is_down_is_no_fault_of_the_request(
    status: int, blamed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusal(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.close_connection = True
            if not status:  # the connection is lost
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = answer  # noqa: N815  # the library's names

    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    (tmp_path / "file").write_text("content")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        store = HttpStore(f"http://127.0.0.1:{server.server_port}", "us-east-1")
        with pytest.raises(JobFailure, match=f"^{blamed}: s3://lake/a"):
            store.list_keys("s3://lake/a/")
        with pytest.raises(JobFailure, match=f"^{blamed}: s3://lake/a"):
            store.upload(tmp_path / "file", "s3://lake/a")
        server.shutdown()


def test_the_store(http_lab: HttpLab, tmp_path: Path) -> None:
    store = HttpStore(http_lab.endpoint, "us-east-1")
    http_lab.put("folder/", "")
    http_lab.put("folder/a", "1")
    http_lab.put("folder_of_another/b", "2")
    assert store.list_keys("s3://lake/folder/") == ["a"]
    assert store.exists("s3://lake/folder/a")
    assert not store.exists("s3://lake/folder_of")
    with pytest.raises(JobFailure, match="not of the form"):
        store.download("http://lake/a", tmp_path / "a")


def test_a_place_must_be_chosen(tmp_path: Path) -> None:
    for places in ({}, {"buckets": {}, "s3_endpoint": "http://127.0.0.1:1"}):
        arguments: dict[str, Any] = places
        with pytest.raises(ValueError, match="one of both"):
            LocalSageMaker(tmp_path, images={}, **arguments)
