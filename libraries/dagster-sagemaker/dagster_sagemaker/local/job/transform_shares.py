"""One instance's share of a Batch Transform job: its objects, through its server, into output files.

Standard library only.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dagster_sagemaker.local.job.container import LogStream
from dagster_sagemaker.local.job.invocation import InvocationError, ServerParameters, ServingClient, split_object
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.local.job.records import DataProcessing
from dagster_sagemaker.local.job.s3_objects import StoredObject


@dataclass(frozen=True)
class _Work:
    """An object on its way through the server: its file, and the responses to its batches in order."""

    key: str
    source: Path
    answers: Sequence[Future[bytes]]
    problem: str = ""


class Share:
    """One instance's share of a job.

    Args:
        job: the job.
        client: talks to the instance's server.
        parameters: how to make requests.
        objects: the instance's objects.
        folder: for input files while they are needed.
        data_log: receives the problems of single objects.
    """

    def __init__(
        self,
        job: JobRun,
        client: ServingClient,
        parameters: ServerParameters,
        objects: Sequence[StoredObject],
        folder: Path,
        data_log: LogStream,
    ):
        self._job = job
        self._client = client
        self._parameters = parameters
        self._objects = objects
        self._folder = folder
        self._data_log = data_log
        self._processing = DataProcessing(job.request)
        self._pool = ThreadPoolExecutor(parameters.concurrency)
        output = job.request["TransformOutput"]
        self._separator = b"\n" if output.get("AssembleWith") == "Line" else b""

    def run(self) -> list[str]:
        """Transform the objects; `scratch/output/<key>.out` is written only for objects that succeed as a whole.

        Returns:
            The problems of objects that failed; incomplete if the share was cancelled.
        """
        problems: list[str] = []
        # As many objects at a time as requests: enough to keep the server busy, without more files and responses than
        # needed.
        window: deque[_Work] = deque()
        try:
            for number, item in enumerate(self._objects):
                window.append(self._send(number, item))
                if len(window) > self._parameters.concurrency:
                    self._store(window.popleft(), problems)
            while window:
                self._store(window.popleft(), problems)
        except (CancelledError, RuntimeError):
            # The pool was shut down because the job is stopped or the server died.
            if not self._client.cancelled:
                raise
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
        return problems

    def cancel(self) -> None:
        """Give up: make no further requests and no retries."""
        self._client.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, number: int, item: StoredObject) -> _Work:
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        source = folder / "object"
        self._job.store.download(item.uri, source)
        request = self._job.request["TransformInput"]
        try:
            if request.get("CompressionType", "None") == "Gzip":
                source = _unzip(source)
            sent = self._processing.filter_input(source, folder / "filtered")
            batches = list(split_object(sent, request.get("SplitType", "None"), self._parameters))
        except InvocationError as error:
            return _Work(item.key, source, (), str(error))
        return _Work(item.key, source, [self._pool.submit(self._client.invoke, batch) for batch in batches])

    def _store(self, work: _Work, problems: list[str]) -> None:
        target = self._job.scratch / "output" / f"{work.key}.out"
        target.parent.mkdir(parents=True, exist_ok=True)
        problem = work.problem
        if not problem:
            try:
                answers = [answer.result() for answer in work.answers]
                with target.open("wb") as stream:
                    stream.writelines(self._processing.finish(work.source, answers, self._separator))
            except InvocationError as error:
                target.unlink(missing_ok=True)
                problem = str(error)
        if problem:
            problems.append(f"{work.key}: {problem}")
            self._data_log.write(problems[-1])
        shutil.rmtree(work.source.parent)


def _unzip(source: Path) -> Path:
    target = source.with_name("unzipped")
    try:
        with gzip.open(source, "rb") as zipped, target.open("wb") as plain:
            shutil.copyfileobj(zipped, plain)
    except (OSError, EOFError, zlib.error) as error:
        raise InvocationError(f"not in gzip's format: {error}") from error
    return target
