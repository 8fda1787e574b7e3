"""Run a week's jobs again, each in its image, and check that the outputs match those of the local processes exactly.

    python -m m5_assets_tests.support.docker.replay HOME TAG

HOME is the M5_HOME of a week built by `m5 forecast`; the images are `m5-<kind>:TAG`. The requests are those that the
platform sent, with a different output prefix. The local runner starts `run_in_image.sh` in place of a process.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_sagemaker import LocalSageMaker

from m5_assets.resources.lake import LOCAL_BUCKET

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_PREFIX = "replay"
_POLL_SECONDS = 0.5

log = logging.getLogger("replay")


def replay(home: Path, tag: str) -> int:
    """Run all jobs of a home in their images and return the number of files compared.

    Raises:
        AssertionError: if a job fails or a file differs.
    """
    requests = {
        kind: [json.loads(path.read_text()) for path in sorted(home.glob(f"sagemaker/jobs/{kind}/*/request.json"))]
        for kind in ("processing", "training", "transform")
    }
    models = {m["ModelName"]: m for m in map(_read, sorted(home.glob("sagemaker/models/*.json")))}
    assert all(requests.values()), f"{home} lacks jobs of some kind: run m5 forecast first"
    entry = str(Path(__file__).with_name("run_in_image.sh"))
    images = {uri: [entry, f"localhost/{uri.partition(':')[0]}:{tag}"] for uri in _uris(requests, models)}
    lake = home / "lake"
    runner = LocalSageMaker(home / _PREFIX, buckets={LOCAL_BUCKET: lake}, images=images)
    client = runner.client("sagemaker")
    compared = 0
    for request in requests["processing"]:
        name = request["ProcessingJobName"]
        client.create_processing_job(**_processing(request))
        _await(client, "processing", name)
        compared += sum(_compare(lake, o["S3Output"]["S3Uri"]) for o in request["ProcessingOutputConfig"]["Outputs"])
    for request in requests["training"]:
        name = request["TrainingJobName"]
        client.create_training_job(**_training(request))
        _await(client, "training", name)
        compared += _compare(lake, f"{request['OutputDataConfig']['S3OutputPath']}/{name}/output")
    for request in requests["transform"]:
        name, model = request["TransformJobName"], models[request["ModelName"]]
        client.create_model(**{k: model[k] for k in ("ModelName", "PrimaryContainer", "ExecutionRoleArn")})
        client.create_transform_job(**_transform(request))
        _await(client, "transform", name)
        compared += _compare(lake, request["TransformOutput"]["S3OutputPath"])
    return compared


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _uris(requests: dict[str, list[Any]], models: dict[str, Any]) -> set[str]:
    return {
        *(r["AppSpecification"]["ImageUri"] for r in requests["processing"]),
        *(r["AlgorithmSpecification"]["TrainingImage"] for r in requests["training"]),
        *(m["PrimaryContainer"]["Image"] for m in models.values()),
    }


def _elsewhere(uri: str) -> str:
    bucket = f"s3://{LOCAL_BUCKET}/"
    return f"{bucket}{_PREFIX}/{uri.removeprefix(bucket)}"


# The environment is dropped: it would connect the job to a Dagster run that has ended.
def _processing(request: Any) -> Any:
    outputs = [
        {**o, "S3Output": {**o["S3Output"], "S3Uri": _elsewhere(o["S3Output"]["S3Uri"])}}
        for o in request["ProcessingOutputConfig"]["Outputs"]
    ]
    rest = {k: v for k, v in request.items() if k != "Environment"}
    return {**rest, "ProcessingOutputConfig": {"Outputs": outputs}}


def _training(request: Any) -> Any:
    rest = {k: v for k, v in request.items() if k not in ("Environment", "CheckpointConfig")}
    return {**rest, "OutputDataConfig": {"S3OutputPath": _elsewhere(request["OutputDataConfig"]["S3OutputPath"])}}


def _transform(request: Any) -> Any:
    output = request["TransformOutput"]
    return {**request, "TransformOutput": {**output, "S3OutputPath": _elsewhere(output["S3OutputPath"])}}


def _await(client: SageMakerClient, kind: str, name: str) -> None:
    begun = time.monotonic()
    title = kind.capitalize()
    while True:
        found = getattr(client, f"describe_{kind}_job")(**{f"{title}JobName": name})
        if found[f"{title}JobStatus"] not in ("InProgress", "Stopping"):
            break
        time.sleep(_POLL_SECONDS)
    assert found[f"{title}JobStatus"] == "Completed", (
        f"{name}: {found.get('FailureReason') or found.get('ExitMessage')}"
    )
    log.info("%s: completed in its image, %.0f s", name, time.monotonic() - begun)


def _compare(lake: Path, uri: str) -> int:
    """Compare the files below a URI with those of the replay and return their number."""
    bucket = f"s3://{LOCAL_BUCKET}/"
    outside, inside = lake / uri.removeprefix(bucket), lake / _elsewhere(uri).removeprefix(bucket)
    names = sorted(p.relative_to(outside).as_posix() for p in outside.rglob("*") if p.is_file())
    assert names, f"{uri} contains no files"
    found = sorted(p.relative_to(inside).as_posix() for p in inside.rglob("*") if p.is_file())
    assert found == names, f"{uri}: {found} inside the image, {names} outside"
    for name in names:
        assert (inside / name).read_bytes() == (outside / name).read_bytes(), f"{uri}/{name} differs inside the image"
    log.info("%s: %d files are identical", uri, len(names))
    return len(names)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    number = replay(Path(sys.argv[1]).resolve(), sys.argv[2])
    log.info("%d files compared: identical inside and outside the images", number)
