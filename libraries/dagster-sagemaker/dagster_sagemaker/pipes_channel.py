"""Where a Pipes session's context and messages travel: a place determined by the job's name.

Dagster's own injectors and readers choose a random place per session. Here the place follows from the job's name, so a
session that adopts a job (running, or completed while nobody watched) reads its messages from the first one on. For the
same reason nothing is deleted when a session ends; expire old prefixes with a lifecycle rule.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

from dagster import PipesContextInjector, PipesMessageHandler, PipesMessageReader
from dagster_pipes import (
    PipesContextData,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesParams,
    encode_param,
)

MAX_PARAM_LENGTH = 256
"""Characters of one value in a Processing job's environment; a Training job's may have 512."""

_READ_INTERVAL = 0.05


class PipesChannel(Protocol):
    """Carries Pipes context and messages between the orchestrator and a job."""

    def injector(self, job_name: str) -> PipesContextInjector:
        """Return the injector that gives a job its context."""

    def reader(self, job_name: str) -> PipesMessageReader:
        """Return the reader of a job's messages, from the first one on."""


class LocalPipesChannel:
    """Carries context and messages in two files in `<folder>/<job name>/`, for jobs on this machine.

    The job needs no special code: the default loader and writer of dagster_pipes read and write files.

    Args:
        folder: a folder whose path is short enough for the encoded place to fit 256 characters.
    """

    def __init__(self, folder: Path):
        self._folder = folder.resolve()

    def injector(self, job_name: str) -> PipesContextInjector:
        """Return the injector that gives a job its context."""
        return _FileContextInjector(self._folder / job_name / "context.json")

    def reader(self, job_name: str) -> PipesMessageReader:
        """Return the reader of a job's messages, from the first one on."""
        return _FileMessageReader(self._folder / job_name / "messages.jsonl")


class _FileContextInjector(PipesContextInjector):
    def __init__(self, path: Path):
        self._path = path

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        params = checked({PipesDefaultContextLoader.FILE_PATH_KEY: str(self._path)}, "use a folder of a shorter path")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(context_data), encoding="utf-8")
        temporary.replace(self._path)
        yield params

    def no_messages_debug_text(self) -> str:
        return f"Attempted to inject context via the file {self._path}."


class _FileMessageReader(PipesMessageReader):
    """Reads complete lines only and, unlike Dagster's own reader, neither truncates nor deletes the file."""

    def __init__(self, path: Path):
        self._path = path

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        params = checked({PipesDefaultMessageWriter.FILE_PATH_KEY: str(self._path)}, "use a folder of a shorter path")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        session_closed = Event()
        thread = Thread(target=self._read, args=(handler, session_closed), daemon=True)
        thread.start()
        try:
            yield params
        finally:
            session_closed.set()
            thread.join()

    def _read(self, handler: PipesMessageHandler, session_closed: Event) -> None:
        try:
            with self._path.open("rb") as stream:
                while True:
                    # Checked before reading, so that whatever was written before the session closed is always read.
                    last_round = session_closed.wait(_READ_INTERVAL)
                    self._read_lines(stream, handler)
                    if last_round:
                        return
        except Exception:
            handler.report_pipes_framework_exception(f"{type(self).__name__} thread", sys.exc_info())
            raise

    @staticmethod
    def _read_lines(stream: Any, handler: PipesMessageHandler) -> None:
        while line := stream.readline():
            if not line.endswith(b"\n"):
                stream.seek(-len(line), os.SEEK_CUR)
                return
            handler.handle_message(json.loads(line))

    def no_messages_debug_text(self) -> str:
        return f"Attempted to read messages from the file {self._path}."


def checked(params: dict[str, Any], remedy: str) -> PipesParams:
    """Return the place as Pipes' parameters.

    Args:
        params: a place that a loader or writer of dagster_pipes understands.
        remedy: what to change where it is too long.

    Raises:
        ValueError: the encoded place is longer than a value in a job's environment may be.
    """
    length = len(encode_param(params))
    if length > MAX_PARAM_LENGTH:
        raise ValueError(
            f"Pipes: the place {params} takes {length} characters when encoded, but a value in a job's environment "
            f"may have {MAX_PARAM_LENGTH}: {remedy}"
        )
    return params
