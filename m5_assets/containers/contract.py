"""SageMaker's contract with a container (paths, hyperparameters, exit files), and reporting to Dagster.

Source: the SageMaker developer guide, "How Amazon SageMaker Processing Runs Your Processing Container Image", "How
Amazon SageMaker Provides Training Information" and "Use Your Own Inference Code with Batch Transform"; for several
instances, resourceconfig.json in the first two.
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

from m5_assets.forecasting.file_names import key_of

log = logging.getLogger("m5.container")

_FAILURE_LIMIT = 1024  # characters of the failure file that SageMaker keeps
_RESOURCE_CONFIGS = ("config/resourceconfig.json", "input/config/resourceconfig.json")

_T = TypeVar("_T")


def base() -> Path:
    """Return /opt/ml, or the folder that replaces it when a job runs without a container."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def hyperparameters() -> dict[str, str]:
    """Return the training job's hyperparameters; SageMaker passes all values as strings."""
    content = json.loads((base() / "input/config/hyperparameters.json").read_text())
    return {str(key): str(value) for key, value in content.items()}


def channel(name: str) -> list[Path]:
    """Return the files of a training channel, sorted.

    Raises:
        FileNotFoundError: the channel is missing or empty.
    """
    return _files(base() / "input/data" / name)


def processing_input(name: str) -> list[Path]:
    """Return the files of a processing input, sorted.

    Raises:
        FileNotFoundError: the input is missing or empty.
    """
    return _files(base() / "processing/input" / name)


def processing_output(name: str) -> Path:
    """Return the folder of a processing output, whose files are uploaded when the job completes."""
    folder = base() / "processing/output" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def model_folder() -> Path:
    """Return the folder that becomes model.tar.gz after training and from which a server loads its model."""
    folder = base() / "model"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Place:
    """This instance's place among the job's instances.

    Attributes:
        rank: number of this instance, from 0; rank 0 does what must be done only once.
        instances: number of instances.
    """

    rank: int
    instances: int

    def share(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return the items for this instance to work on; the shares of all instances cover each item once."""
        return items[self.rank :: self.instances]


def place() -> Place:
    """Return this instance's place from resourceconfig.json; without that file the program is the only instance."""
    for name in _RESOURCE_CONFIGS:
        path = base() / name
        if path.is_file():
            config = json.loads(path.read_text())
            hosts = sorted(config["hosts"])
            return Place(hosts.index(config["current_host"]), len(hosts))
    return Place(0, 1)


def _files(folder: Path) -> list[Path]:
    # By id, as everything in a panel is sorted: quoted names would be in another order.
    found = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (p.parent, key_of(p.stem), p.name))
    if not found:
        raise FileNotFoundError(f"{folder} contains no files; the job's request must name an input that does")
    return found


class Report:
    """Reports from inside a job: progress as log lines, results as an asset materialization."""

    def __init__(self, context: pipes.PipesContext | None) -> None:
        self._context = context
        self._started = time.monotonic()
        self._first: tuple[float, float] | None = None

    def progress(self, text: str, fraction: float) -> None:
        """Log a line with the share done and the estimated time left."""
        now = time.monotonic()
        self._first = self._first or (now, fraction)  # a resumed job starts above 0
        begun, share = now - self._first[0], fraction - self._first[1]
        left = f", about {begun / share * (1 - fraction):,.0f} s left" if share > 0.02 and fraction < 1 else ""
        line = f"{fraction:4.0%}  {text}  ({now - self._started:,.0f} s{left})"
        if self._context:
            self._context.log.info(line)
        else:
            log.info(line)

    def materialized(self, metadata: Mapping[str, Any]) -> None:
        """Report the asset as materialized with this metadata; lists and dicts are sent as JSON."""
        if self._context:
            typed = {
                k: {"raw_value": v, "type": "json"} if isinstance(v, dict | list) else v for k, v in metadata.items()
            }
            self._context.report_asset_materialization(metadata=typed)
        else:
            log.info("materialized: %s", json.dumps(metadata, default=str))


@contextmanager
def reporting() -> Iterator[Report]:
    """Report to Dagster through Pipes if Dagster started the job, else to the log.

    All instances of a job share one place for Pipes messages, so only the first instance writes there.
    """
    if place().rank != 0 or not _params_loader().is_dagster_pipes_process():
        yield Report(None)
        return
    params = _params_loader().load_context_params()
    if "bucket" in params:
        import boto3  # needed only when messages go through S3; importing it takes a third of a second

        client = boto3.client("s3")
        with pipes.open_dagster_pipes(
            context_loader=pipes.PipesS3ContextLoader(client), message_writer=pipes.PipesS3MessageWriter(client)
        ) as context:
            yield Report(context)
    else:
        with pipes.open_dagster_pipes() as context:
            yield Report(context)


def _params_loader() -> pipes.PipesEnvVarParamsLoader:
    return pipes.PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]  # untyped in the library


def main(program: Callable[[], None], *, failure_file: str = "output/failure") -> NoReturn:
    """Run a job's program: log to stderr, exit on SIGTERM, write a failure to SageMaker's failure file."""
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
