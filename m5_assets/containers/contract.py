"""What SageMaker gives a container and expects of it: paths, hyperparameters, exit files, and the way to Dagster.

Source: the SageMaker developer guide's pages "How Amazon SageMaker Processing Runs Your Processing Container Image",
"How Amazon SageMaker Provides Training Information" and "Use Your Own Inference Code with Batch Transform"; for several
instances, the resourceconfig.json of the first two.
Not here: the HTTP server of a transform (`serving`) and what any one program computes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import dagster_pipes as pipes

log = logging.getLogger("m5.container")

_FAILURE_LIMIT = 1024  # characters of the failure file that SageMaker keeps
_RESOURCE_CONFIGS = ("config/resourceconfig.json", "input/config/resourceconfig.json")

_T = TypeVar("_T")


def base() -> Path:
    """Return /opt/ml, or the folder that stands for it where a job runs without a container."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def hyperparameters() -> dict[str, str]:
    """Return the training job's hyperparameters; SageMaker makes every value a string."""
    content = json.loads((base() / "input/config/hyperparameters.json").read_text())
    return {str(key): str(value) for key, value in content.items()}


def channel(name: str) -> list[Path]:
    """Return the files of a training channel, in order.

    Raises:
        FileNotFoundError: the channel is missing or empty.
    """
    return _files(base() / "input/data" / name)


def processing_input(name: str) -> list[Path]:
    """Return the files of a processing input, in order.

    Raises:
        FileNotFoundError: the input is missing or empty.
    """
    return _files(base() / "processing/input" / name)


def processing_output(name: str) -> Path:
    """Return the folder whose files are uploaded when a processing job completes."""
    folder = base() / "processing/output" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def model_folder() -> Path:
    """Return the folder that becomes model.tar.gz after training, and that a server finds its model in."""
    folder = base() / "model"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Place:
    """This instance's place among the job's instances.

    Attributes:
        rank: from 0; the instance of rank 0 does what is to be done once.
        instances: how many there are.
    """

    rank: int
    instances: int

    def share(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return the items that this instance works on; the shares of all instances together are the items."""
        return items[self.rank :: self.instances]


def place() -> Place:
    """Return this instance's place, from resourceconfig.json; a program that was started without it is alone."""
    for name in _RESOURCE_CONFIGS:
        path = base() / name
        if path.is_file():
            config = json.loads(path.read_text())
            hosts = sorted(config["hosts"])
            return Place(hosts.index(config["current_host"]), len(hosts))
    return Place(0, 1)


def _files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    if not found:
        raise FileNotFoundError(f"{folder} holds no files; the job's request must name an input that does")
    return found


class Report:
    """What a job tells the outside: progress as log lines, and what it made as a materialisation's metadata."""

    def __init__(self, context: pipes.PipesContext | None) -> None:
        self._context = context
        self._started = time.monotonic()
        self._first: tuple[float, float] | None = None

    def progress(self, text: str, fraction: float) -> None:
        """Log a line with the share done and the time left, estimated from the time used."""
        now = time.monotonic()
        self._first = self._first or (now, fraction)  # a job that was resumed begins in the middle
        begun, share = now - self._first[0], fraction - self._first[1]
        left = f", about {begun / share * (1 - fraction):,.0f} s left" if share > 0.02 and fraction < 1 else ""
        line = f"{fraction:4.0%}  {text}  ({now - self._started:,.0f} s{left})"
        if self._context:
            self._context.log.info(line)
        else:
            log.info(line)

    def materialized(self, metadata: Mapping[str, Any]) -> None:
        """Report the asset as made, with this metadata; lists and maps travel as JSON."""
        if self._context:
            typed = {
                k: {"raw_value": v, "type": "json"} if isinstance(v, dict | list) else v for k, v in metadata.items()
            }
            self._context.report_asset_materialization(metadata=typed)
        else:
            log.info("made: %s", json.dumps(metadata, default=str))


@contextmanager
def reporting() -> Iterator[Report]:
    """Open the way to Dagster where the job was started by it, else report to the log.

    The messages of a job have one place, so only its first instance writes there.
    """
    if place().rank != 0 or not _params_loader().is_dagster_pipes_process():
        yield Report(None)
        return
    params = _params_loader().load_context_params()
    if "bucket" in params:
        import boto3  # only where the messages travel through S3: it takes a third of a second to load

        client = boto3.client("s3")
        with pipes.open_dagster_pipes(
            context_loader=pipes.PipesS3ContextLoader(client), message_writer=pipes.PipesS3MessageWriter(client)
        ) as context:
            yield Report(context)
    else:
        with pipes.open_dagster_pipes() as context:
            yield Report(context)


def _params_loader() -> pipes.PipesEnvVarParamsLoader:
    return pipes.PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]  # the library leaves it untyped


def main(program: Callable[[], None], *, failure_file: str = "output/failure") -> NoReturn:
    """Run a job's program: log to stderr, stop at SIGTERM, leave the reason of a failure where SageMaker reads it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _stop)
    try:
        program()
    except Exception as problem:
        path = base() / failure_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{type(problem).__name__}: {problem}"[:_FAILURE_LIMIT])
        log.exception("the job failed")
        sys.exit(1)
    sys.exit(0)


def _stop(_number: int, _frame: object) -> NoReturn:
    raise SystemExit("stopped by SIGTERM")
