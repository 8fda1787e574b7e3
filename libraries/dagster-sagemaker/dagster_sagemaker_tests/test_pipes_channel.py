import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import dagster as dg
import dagster_sagemaker
import pytest
from botocore.exceptions import EndpointConnectionError
from dagster_pipes import PipesContext, PipesMappingParamsLoader, PipesS3ContextLoader, PipesS3MessageWriter
from dagster_sagemaker import LocalPipesChannel, PipesChannel, S3PipesChannel
from moto import mock_aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "lake"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator["S3Client"]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def messages_of_session(channel: PipesChannel, job: Callable[[Mapping[str, str]], None]) -> Sequence[Any]:
    """Open a session, call `job` with its environment inside it, and give the custom messages that arrived."""
    found: list[Any] = []

    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        with dg.open_pipes_session(
            context, channel.injector("job-a1"), channel.reader("job-a1"), extras={"scale": 2}
        ) as session:
            job(session.get_bootstrap_env_vars())
        found.extend(session.get_custom_messages())

    @dg.job
    def run() -> None:
        step()

    assert run.execute_in_process().success
    return found


def nobody(_: Mapping[str, str]) -> None:
    """A job that has ended before the session began."""


def message(method: str, params: Mapping[str, Any]) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})


def conversation(count: int) -> list[str]:
    """The messages of a job that reports the numbers below `count`."""
    payloads = [message("report_custom_message", {"payload": number}) for number in range(count)]
    return [message("opened", {"extras": {}}), *payloads, message("closed", {})]


def test_messages_travel_through_s3_and_are_read_again_by_a_later_session(s3: "S3Client") -> None:
    def job(environment: Mapping[str, str]) -> None:
        assert all(len(value) <= 256 for value in environment.values())
        with PipesContext(
            params_loader=PipesMappingParamsLoader(environment),
            context_loader=PipesS3ContextLoader(client=s3),
            message_writer=PipesS3MessageWriter(client=s3, interval=0.1),
        ) as pipes:
            pipes.report_custom_message({"scale": pipes.get_extra("scale")})

    channel = S3PipesChannel(s3, BUCKET, "pipes/", interval=0.1)
    assert messages_of_session(channel, job) == [{"scale": 2}]
    assert messages_of_session(channel, nobody) == [{"scale": 2}]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert "pipes/job-a1/context.json" in keys
    assert all(key.startswith("pipes/job-a1/") for key in keys)


def test_many_chunks_of_a_completed_job_are_all_read(s3: "S3Client") -> None:
    for number, text in enumerate(conversation(40), start=1):
        s3.put_object(Bucket=BUCKET, Key=f"job-a1/messages/{number}.json", Body=text.encode())
    assert messages_of_session(S3PipesChannel(s3, BUCKET, ""), nobody) == list(range(40))


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject"])
def test_a_lost_connection_to_s3_delays_messages_and_loses_none(s3: "S3Client", operation: str) -> None:
    def lose(**_: Any) -> None:
        lost.append(operation)
        if len(lost) < 3:
            raise EndpointConnectionError(endpoint_url="https://s3.amazonaws.com")

    lost: list[str] = []
    s3.meta.events.register(f"before-call.s3.{operation}", lose)
    s3.put_object(Bucket=BUCKET, Key="job-a1/messages/1.json", Body="\n".join(conversation(3)).encode())
    assert messages_of_session(S3PipesChannel(s3, BUCKET, ""), nobody) == [0, 1, 2]
    assert len(lost) >= 3


def test_messages_travel_through_files_and_a_line_cut_in_two_is_waited_for(tmp_path: Path) -> None:
    def job(_: Mapping[str, str]) -> None:
        text = "".join(line + "\n" for line in conversation(500))
        with (tmp_path / "job-a1/messages.jsonl").open("w") as stream:
            for start in range(0, len(text), 777):
                stream.write(text[start : start + 777])
                stream.flush()

    channel = LocalPipesChannel(tmp_path)
    assert messages_of_session(channel, job) == list(range(500))
    assert messages_of_session(channel, nobody) == list(range(500))


@pytest.mark.parametrize("part", ["context", "messages"])
def test_a_place_that_does_not_fit_an_environment_variable_is_refused(tmp_path: Path, part: str) -> None:
    folder = tmp_path.joinpath(*(f"{number:x}{number * 7919:x}" for number in range(10_000, 10_030)))
    channel = LocalPipesChannel(folder)
    session: AbstractContextManager[Any] = (
        channel.injector("job-a1").inject_context({})  # type: ignore[typeddict-item]  # refused before it is read
        if part == "context"
        else channel.reader("job-a1").read_messages(None)  # type: ignore[arg-type]  # refused before it is used
    )
    with pytest.raises(ValueError, match="may have 256: use a folder of a shorter path"):
        session.__enter__()
    assert not folder.exists()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, dagster_sagemaker; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"dagster", "boto3", "pandas", "numpy", "torch"} & set(loaded)


def test_every_public_name_can_be_imported() -> None:
    for name in dagster_sagemaker.__all__:
        assert getattr(dagster_sagemaker, name).__module__.startswith("dagster_sagemaker.")
