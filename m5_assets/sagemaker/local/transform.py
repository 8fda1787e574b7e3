"""A Batch Transform job: a model server is started, and every object is sent to it.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html. Standard library only. Here:
the job; the requests to the server are made in `invocation`.
"""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from m5_assets.sagemaker.local.container import Container, LogStream
from m5_assets.sagemaker.local.invocation import InvocationError, ServerParameters, ServingClient, split_object
from m5_assets.sagemaker.local.objects import StoredObject
from m5_assets.sagemaker.local.outcome import JobFailure, Outcome
from m5_assets.sagemaker.local.run import JobRun

_STARTUP_SECONDS = 240
_POLL_SECONDS = 0.05


def run(job: JobRun) -> Outcome:
    """Run the job.

    Raises:
        JobFailure: The input or the model is missing, or the server did not start or died.
    """
    source = job.request["TransformInput"]["DataSource"]["S3DataSource"]
    objects = job.buckets.list_objects(source["S3DataType"], source["S3Uri"])
    container = job.directory.read_runner()["model"]["PrimaryContainer"]
    job.make_folders("model", "output")
    _unpack_model(job, container)
    if job.directory.stop_requested:
        return Outcome("Stopped")
    client = ServingClient(job.request)
    environment = {**container.get("Environment", {}), **job.request.get("Environment", {})}
    server = job.start(
        [*job.entry_point(container["Image"]), "serve"], {**environment, **_sagemaker_environment(job.request, client)}
    )
    try:
        if not _server_is_ready(job, server, client):
            return Outcome("Stopped")
        return _transform(job, server, client, objects)
    finally:
        server.close(job.grace)


def _unpack_model(job: JobRun, container: Mapping[str, Any]) -> None:
    uri = container.get("ModelDataUrl")
    if uri is None:
        return
    try:
        with tarfile.open(job.buckets.path(uri), "r:gz") as tar:
            # The "data" filter refuses absolute names, names and links that lead out, and devices.
            tar.extractall(job.ml / "model", filter="data")
    except (OSError, tarfile.TarError) as error:
        raise JobFailure(f"ClientError: the model {uri} cannot be unpacked: {error}") from error


def _sagemaker_environment(request: Mapping[str, Any], client: ServingClient) -> dict[str, str]:
    """SageMaker's own variables; it passes the limits only where the user set them."""
    environment = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_BIND_TO_PORT": str(client.port)}
    if "MaxPayloadInMB" in request:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(request["MaxPayloadInMB"])
    if "MaxConcurrentTransforms" in request:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(request["MaxConcurrentTransforms"])
    if "BatchStrategy" in request:
        names = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
        environment["SAGEMAKER_BATCH_STRATEGY"] = names[request["BatchStrategy"]]
    return environment


def _server_is_ready(job: JobRun, server: Container, client: ServingClient) -> bool:
    """Wait for the server; False if the job is asked to stop before."""
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not client.ping():
        if job.directory.stop_requested:
            return False
        if server.exit_code is not None:
            raise JobFailure(f"AlgorithmError: the server exited with code {server.exit_code} before it answered /ping")
        if time.monotonic() > deadline:
            raise JobFailure(f"AlgorithmError: the server did not answer /ping with 200 within {_STARTUP_SECONDS} s")
        time.sleep(_POLL_SECONDS)
    return True


@dataclass(frozen=True)
class _ObjectWork:
    """One object on its way through the server."""

    item: StoredObject
    answers: Sequence[Future[bytes]]
    problem: str = ""


def _transform(job: JobRun, server: Container, client: ServingClient, objects: Sequence[StoredObject]) -> Outcome:
    parameters = client.parameters()
    job.log.write(f"[sagemaker] {len(objects)} objects, up to {parameters.concurrency} requests at a time")
    with ThreadPoolExecutor(parameters.concurrency) as pool:
        work = [_submit(pool, job, client, parameters, item) for item in objects]
        pending = {answer for item in work for answer in item.answers}
        while pending:
            pending = wait(pending, timeout=_POLL_SECONDS).not_done
            stopped, exit_code = bool(pending) and job.directory.stop_requested, server.exit_code
            if stopped or exit_code is not None:
                client.cancel()
                pool.shutdown(wait=False, cancel_futures=True)
                server.close(job.grace)
                if stopped:
                    return Outcome("Stopped")
                raise JobFailure(f"AlgorithmError: the server exited with code {exit_code} during the transform")
    return _store(job, work)


def _submit(
    pool: ThreadPoolExecutor, job: JobRun, client: ServingClient, parameters: ServerParameters, item: StoredObject
) -> _ObjectWork:
    split_type = job.request["TransformInput"].get("SplitType", "None")
    try:
        batches = list(split_object(item.path, split_type, parameters))
    except InvocationError as error:
        return _ObjectWork(item, (), str(error))
    return _ObjectWork(item, [pool.submit(client.invoke, batch) for batch in batches])


def _store(job: JobRun, work: Sequence[_ObjectWork]) -> Outcome:
    """Store `<key>.out` for whole objects only; the job failed if any object did."""
    log_file = job.log.path
    data_log = LogStream(log_file.with_suffix("") / f"data-log{log_file.suffix}")
    output = job.request["TransformOutput"]
    separator = b"\n" if output.get("AssembleWith") == "Line" else b""
    problems: list[str] = []
    for item in work:
        target = job.ml / "output" / f"{item.item.key}.out"
        target.parent.mkdir(parents=True, exist_ok=True)
        problem = item.problem
        try:
            with target.open("wb") as stream:
                for answer in item.answers:
                    stream.write(answer.result() + separator)
        except InvocationError as error:
            problem = str(error)
        if problem:
            target.unlink()
            problems.append(f"{item.item.key}: {problem}")
            data_log.write(problems[-1])
    job.buckets.upload_tree(job.ml / "output", output["S3OutputPath"])
    shutil.rmtree(job.ml / "output")
    if problems:
        reason = f"AlgorithmError: {len(problems)} of {len(work)} objects failed; the first: {problems[0]}"
        return Outcome("Failed", failure_reason=reason)
    return Outcome("Completed")
