"""The test bed of `sagemaker_faults`: a local SageMaker with a lake, a program and an asset that runs one job."""

import json
import sys
import tarfile
import textwrap
from pathlib import Path
from typing import Any

import dagster as dg
from botocore.config import Config
from dagster_sagemaker import LocalPipesChannel, LocalSageMaker, PipesSageMakerClient, SageMakerTransformClient
from dagster_sagemaker.job_kinds import KINDS
from dagster_sagemaker.testing import Faults

ROLE = "arn:aws:iam::123456789012:role/jobs"
WORK_SECONDS = 0.5
PROGRAM = """
import http.server, json, os, pathlib, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(".new").write_text(text)
    path.with_name(".new").rename(path)
def work(state):
    step = int(state.read_text()) if state.exists() else 0
    while step < 8:
        time.sleep(SECONDS / 8)
        step += 1
        write(state, str(step))
        yield step
def job():
    from dagster_pipes import open_dagster_pipes
    with open_dagster_pipes() as pipes:
        for step in work(base / "checkpoints/step"):
            pipes.log.info(f"step {step}")
        for place in ("processing/out", "model"):
            write(base / place / "rows.txt", "8")
        pipes.report_asset_materialization(metadata={"rows": 8})
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200 if self.path == "/ping" else 404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        self.answer(200, body.upper())
    def log_message(self, *_): pass
if sys.argv[1:] == ["serve"]:
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
else:
    job()
"""


class Lab:
    """The home of one trial: a lake, a program, a local SageMaker."""

    def __init__(self, root: Path):
        self.root, self.lake = root, root / "lake"
        (self.lake / "in").mkdir(parents=True)
        (self.lake / "in/a.txt").write_text("a")
        (self.lake / "models").mkdir()
        with tarfile.open(self.lake / "models/model.tar.gz", "w:gz") as tar:
            tar.add(self.lake / "in/a.txt", "weights")
        self.program = root / "program.py"
        self.program.write_text(textwrap.dedent(PROGRAM).replace("SECONDS", str(WORK_SECONDS)))
        self.runner = LocalSageMaker(
            root / "home",
            buckets={"lake": self.lake},
            images={"image": [sys.executable, str(self.program)]},
            stop_grace=1.0,
        )
        once = Config(retries={"total_max_attempts": 1})
        self.client, self.logs = self.runner.client("sagemaker", once), self.runner.client("logs", once)
        self.faults = Faults(root / "home")

    def run(self, kind: str) -> None:
        """Materialize an asset that runs one job of the kind, and write its metadata to result.json."""

        @dg.asset(name="forecast")
        def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            options: dict[str, Any] = {"logs_client": self.logs, "poll_interval": 0.05, "patience": 60.0}
            if kind == "transform":
                scored = SageMakerTransformClient(self.client, **options).run(
                    context=context, create_model_params=MODEL, create_transform_job_params=TRANSFORM
                )
                return dg.MaterializeResult(metadata=scored.metadata)
            channel = LocalPipesChannel(self.root / "pipes")
            params: dict[str, Any] = {
                f"create_{kind}_job_params": {"processing": PROCESSING, "training": TRAINING}[kind]
            }
            done = PipesSageMakerClient(self.client, channel, **options).run(context=context, **params)
            return done.get_materialize_result()

        result = dg.materialize([asset], raise_on_error=False)
        events = result.get_asset_materialization_events()
        shown = [{name: value.value for name, value in e.materialization.metadata.items()} for e in events]
        content = json.dumps({"success": result.success, "materializations": shown}, default=str)
        (self.root / "result.new").write_text(content)
        (self.root / "result.new").rename(self.root / "result.json")

    def jobs(self) -> list[tuple[str, str, str]]:
        """Return the kind, name and status of all jobs ever created."""
        pages: dict[str, Any] = {
            "processing": self.client.list_processing_jobs(MaxResults=100),
            "training": self.client.list_training_jobs(MaxResults=100),
            "transform": self.client.list_transform_jobs(MaxResults=100),
        }
        return [
            (kind.name, summary[kind.job_name], summary[kind.job_status])
            for kind in KINDS.values()
            for summary in pages[kind.name][f"{kind.title}JobSummaries"]
        ]

    def is_complete(self, kind: str) -> bool:
        """Return whether the completed job's objects exist and its reported metadata are in the materialization."""
        path = self.root / "result.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"success": False}
        if not result["success"] or len(result["materializations"]) != 1:
            return False
        shown: dict[str, Any] = result["materializations"][0]
        name: str = shown["sagemaker/job_name"]
        reported = bool(shown.get("rows") == 8)
        if kind == "processing":
            return reported and (self.lake / "out" / name / "rows.txt").read_text() == "8"
        if kind == "transform":
            return (self.lake / "out" / name / "a.txt.out").read_text() == "A"
        with tarfile.open(self.lake / "models" / name / "output/model.tar.gz") as tar:
            content = tar.extractfile("rows.txt")
            return reported and content is not None and int(content.read()) == 8

    def processes(self) -> list[int]:
        """Return the processes whose command line contains this home's path."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.root).encode() in line:
                found.append(int(entry.name))
        return found


INSTANCE = {"InstanceCount": 1, "InstanceType": "ml.m5.large"}
SOURCE = {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}
PROCESSING: dict[str, Any] = {
    "RoleArn": ROLE,
    "AppSpecification": {"ImageUri": "image"},
    "ProcessingResources": {"ClusterConfig": {**INSTANCE, "VolumeSizeInGB": 1}},
    "ProcessingOutputConfig": {
        "Outputs": [
            {
                "OutputName": "out",
                "S3Output": {
                    "S3Uri": "s3://lake/out/{job_name}",
                    "LocalPath": "/opt/ml/processing/out",
                    "S3UploadMode": "EndOfJob",
                },
            }
        ]
    },
}
TRAINING: dict[str, Any] = {
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": SOURCE}}],
    "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
    "ResourceConfig": {**INSTANCE, "VolumeSizeInGB": 1},
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": "s3://lake/checkpoints/work"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
}
MODEL: dict[str, Any] = {
    "ExecutionRoleArn": ROLE,
    "PrimaryContainer": {"Image": "image", "ModelDataUrl": "s3://lake/models/model.tar.gz"},
}
TRANSFORM: dict[str, Any] = {
    "TransformInput": {"DataSource": {"S3DataSource": SOURCE}},
    "TransformOutput": {"S3OutputPath": "s3://lake/out/{job_name}"},
    "TransformResources": INSTANCE,
}
