"""Runs a Batch Transform job: starts a model server on each instance and sends every object to one of them.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from dagster_sagemaker.artifacts import UnsafeArtifact, unpack_model
from dagster_sagemaker.local.job import cluster
from dagster_sagemaker.local.job.container import Container, LogStream
from dagster_sagemaker.local.job.invocation import ServingClient
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.local.job.outcome import JobFailure, Outcome, exit_reason
from dagster_sagemaker.local.job.s3_objects import StoredObject, find_objects, upload_tree
from dagster_sagemaker.local.job.transform_shares import Share

_STARTUP_SECONDS = 240
_POLL_SECONDS = 0.05


def run(job: JobRun) -> Outcome:
    """Run the job.

    Raises:
        JobFailure: the input or the model is missing, or a server did not start or died.
        JobStopped: the job was asked to stop.
    """
    with job.metered():
        source = job.request["TransformInput"]["DataSource"]["S3DataSource"]
        objects = find_objects(job.store, source, job.scratch)
        model = job.directory.read_runner()["model"]
        _unpack_models(job, model["PrimaryContainer"].get("ModelDataUrl"))
        job.check()
        clients = [ServingClient(job.request) for _ in job.instances]
        servers = _start_servers(job, model, clients)
        try:
            _await_servers(job, servers, clients)
            problems = _transform(job, servers, clients, objects)
        finally:
            _end(servers, job.grace)
        # Objects that succeeded are stored even if others failed.
        (job.scratch / "output").mkdir(parents=True, exist_ok=True)
        upload_tree(job.store, job.scratch / "output", job.request["TransformOutput"]["S3OutputPath"], job.check)
    if problems:
        reason = f"AlgorithmError: {len(problems)} of {len(objects)} objects failed; the first: {problems[0]}"
        return Outcome("Failed", failure_reason=reason)
    return Outcome("Completed")


def _unpack_models(job: JobRun, uri: str | None) -> None:
    for instance in job.instances:
        instance.make_folders("model")
    if uri is None:
        return
    job.scratch.mkdir(exist_ok=True)
    archive = job.scratch / "model.tar.gz"
    job.store.download(uri, archive)
    try:
        for instance in job.instances:
            unpack_model(archive, instance.ml / "model")
    except UnsafeArtifact as error:
        raise JobFailure(f"ClientError: the model {uri} cannot be unpacked: {error}") from error
    archive.unlink()


def _start_servers(job: JobRun, model: Mapping[str, Any], clients: Sequence[ServingClient]) -> list[Container]:
    container = model["PrimaryContainer"]
    shared = {
        **container.get("Environment", {}),
        **job.request.get("Environment", {}),
        **_sagemaker_environment(job.request),
    }
    return job.start(
        [*job.entry_point(container["Image"]), "serve"],
        [{**shared, "SAGEMAKER_BIND_TO_PORT": str(client.port)} for client in clients],
        isolated=bool(model.get("EnableNetworkIsolation")),
    )


def _sagemaker_environment(request: Mapping[str, Any]) -> dict[str, str]:
    """Return SageMaker's own variables; it passes limits only where the user set them."""
    environment = {"SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in request:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(request["MaxPayloadInMB"])
    if "MaxConcurrentTransforms" in request:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(request["MaxConcurrentTransforms"])
    if "BatchStrategy" in request:
        names = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
        environment["SAGEMAKER_BATCH_STRATEGY"] = names[request["BatchStrategy"]]
    return environment


def _await_servers(job: JobRun, servers: Sequence[Container], clients: Sequence[ServingClient]) -> None:
    """Wait until all servers answer."""
    deadline = time.monotonic() + _STARTUP_SECONDS
    waiting = dict(zip(clients, servers, strict=True))
    while waiting:
        job.check()
        _check_servers(job, servers, "before it answered /ping")
        waiting = {client: server for client, server in waiting.items() if not client.ping()}
        if waiting and time.monotonic() > deadline:
            raise JobFailure(f"AlgorithmError: a server did not answer /ping with 200 within {_STARTUP_SECONDS} s")
        if waiting:
            time.sleep(_POLL_SECONDS)


def _end(servers: Sequence[Container], grace: float) -> None:
    cluster.terminate(servers, grace)
    for server in servers:
        server.close()


def _check_servers(job: JobRun, servers: Sequence[Container], when: str) -> None:
    for host, server in zip(job.hosts, servers, strict=True):
        code = server.exit_code
        if code is not None:
            text = "" if code == cluster.KILLED else f"the server of {host} ended {when}"
            raise JobFailure(exit_reason(host, code, text))


def _transform(
    job: JobRun, servers: Sequence[Container], clients: Sequence[ServingClient], objects: Sequence[StoredObject]
) -> list[str]:
    """Send all objects; return the problems of those that failed."""
    parameters = clients[0].parameters()
    job.log_line(f"{len(objects)} objects, up to {parameters.concurrency} requests at a time")
    log_file = job.instances[0].log.path
    data_log = LogStream(log_file.with_suffix("") / f"data-log{log_file.suffix}")
    shares = [
        Share(job, client, parameters, job.share(objects, instance), job.scratch / instance.host, data_log)
        for instance, client in zip(job.instances, clients, strict=True)
    ]
    job.faults.restart()
    with ThreadPoolExecutor(len(shares)) as pool:
        pending = {pool.submit(part.run) for part in shares}
        try:
            running = set(pending)
            while running:
                running = wait(running, timeout=_POLL_SECONDS).not_done
                if running:
                    job.check()
                    job.faults.trigger(servers)
                    _check_servers(job, servers, "during the transform")
        except BaseException:
            for part in shares:
                part.cancel()
            # Frees threads that wait for a response.
            _end(servers, job.grace)
            raise
        return sorted(problem for done in pending for problem in done.result())
