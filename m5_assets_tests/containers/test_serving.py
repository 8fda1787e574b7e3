"""Tests of the batch transform server over real HTTP, and of the failure files of programs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from m5_assets.containers.serving import BadBody, application


def _doubled(body: bytes) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(body))
    except pa.ArrowInvalid as problem:
        raise BadBody(str(problem)) from problem
    return pa.table({"x": pa.array([2 * value for value in table["x"].to_pylist()])})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(_doubled), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


def test_the_server_answers_sagemakers_requests(address: str, tmp_path: Path) -> None:
    assert httpx.get(f"{address}/ping").status_code == 200
    assert httpx.get(f"{address}/execution-parameters").json()["BatchStrategy"] == "SINGLE_RECORD"
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "body.parquet")
    answer = httpx.post(f"{address}/invocations", content=(tmp_path / "body.parquet").read_bytes())
    assert answer.status_code == 200
    assert pq.read_table(pa.BufferReader(answer.content))["x"].to_pylist() == [2, 4]


def test_an_unreadable_body_is_a_client_error(address: str) -> None:
    answer = httpx.post(f"{address}/invocations", content=b"not parquet")
    assert answer.status_code == 400
    assert "parquet" in answer.text.lower()


@pytest.mark.parametrize(
    ("module", "arguments", "failure_file"),
    [
        ("features", ["--origin", "2016-05-22", "2014-03-31", "2011-01-24"], "output/message"),
        ("gbm", ["train"], "output/failure"),
    ],
)
def test_a_failed_program_writes_its_failure_file(
    tmp_path: Path, module: str, arguments: list[str], failure_file: str
) -> None:
    (tmp_path / "input" / "config").mkdir(parents=True)
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text('{"seed": "1"}')
    command = [sys.executable, "-m", f"m5_assets.containers.{module}", *arguments]
    environment = os.environ | {"SAGEMAKER_BASE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "contains no files" in (tmp_path / failure_file).read_text()


@pytest.mark.parametrize(
    ("module", "files", "reason"),
    [
        ("gbm", {}, "no gradient-boosted model here"),
        ("gbm", {"gbm.json": b'{"members": ["global"], "features": ['}, "the model cannot be read"),
        ("lstm", {"config.json": b"{}"}, "not a usable LSTM model"),
        ("totals", {}, "totals"),
    ],
)
def test_a_server_with_a_damaged_model_does_not_start(
    tmp_path: Path, module: str, files: dict[str, bytes], reason: str
) -> None:
    (tmp_path / "model").mkdir()
    for name, content in files.items():
        (tmp_path / "model" / name).write_bytes(content)
    command = [sys.executable, "-m", f"m5_assets.containers.{module}", "serve"]
    environment = os.environ | {"SAGEMAKER_BASE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert reason in (tmp_path / "output/failure").read_text()
    assert reason in done.stderr
