from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
from dagster_sagemaker.job_kinds import TRANSFORM
from dagster_sagemaker.local.job.invocation import ServerParameters, split_object
from dagster_sagemaker.local.job_processes import marked_processes
from dagster_sagemaker.testing import Faults, JobEvent, JobFault
from hypothesis import given
from hypothesis import strategies as st

from dagster_sagemaker_tests.conftest import ROLE, Lab, stop

SERVE = """
import http.server, threading
assert sys.argv[1:] == ["serve"], sys.argv
model = (base / "model/scale.txt").read_text()
attempts = {}
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/ping":
            self.answer(200)
        elif self.path == "/execution-parameters" and "PARAMETERS" in os.environ:
            self.answer(200, os.environ["PARAMETERS"].encode())
        else:
            self.answer(404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        attempts[body] = attempts.get(body, 0) + 1
        sys.stdout.write(f"post {len(body)} {self.headers['Content-Type']}\\n")
        if body.startswith(b"bad"):
            self.answer(400, b"not a number")
        elif body.startswith(b"flaky") and attempts[body] < 3:
            self.answer(503)
        elif body.startswith(b"slow"):
            time.sleep(600)
        elif body.startswith(b"die"):
            os._exit(9)
        else:
            self.answer(200, body.strip().upper() + model.encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
print("environment", json.dumps({k: v for k, v in os.environ.items() if k.startswith("SAGEMAKER_")}))
server.serve_forever()
"""


@pytest.fixture
def serving(lab: Lab) -> Lab:
    model(lab, "m", lab.image("serve", SERVE))
    return lab


def model(lab: Lab, name: str, image: str, environment: dict[str, str] | None = None) -> None:
    archive = lab.lake / "models/model.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "scale.txt", b"!")
    lab.sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": image,
            "ModelDataUrl": "s3://lake/models/model.tar.gz",
            "Environment": environment or {},
        },
    )


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def request(lab: Lab, **members: Any) -> dict[str, Any]:
    output = {"S3OutputPath": "s3://lake/out", **members.pop("TransformOutput", {})}
    made = lab.transform(ModelName="m", TransformOutput=output)
    made["TransformInput"] |= members.pop("TransformInput", {})
    return {**made, **members}


def outputs(lab: Lab) -> dict[str, str]:
    out = lab.lake / "out"
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_each_object_has_its_output(serving: Lab) -> None:
    serving.put("in/a.csv", "a")
    serving.put("in/deep/b.csv", "b")
    made = request(serving, MaxConcurrentTransforms=2, MaxPayloadInMB=1, TransformInput={"ContentType": "text/csv"})
    description = serving.run("transform", "job", made)
    assert description["TransformJobStatus"] == "Completed"
    assert outputs(serving) == {"a.csv.out": "A!", "deep/b.csv.out": "B!"}
    log = serving.log("transform", "job")
    assert log.count("post 1 text/csv") == 2
    environment = json.loads(next(line for line in log if line.startswith("environment")).partition(" ")[2])
    assert environment["SAGEMAKER_BATCH"] == "true"
    assert environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "1"
    assert "SAGEMAKER_BATCH_STRATEGY" not in environment


def test_other_objects_go_on_and_the_job_fails(serving: Lab) -> None:
    serving.put("in/a.csv", "a")
    serving.put("in/b.csv", "bad")
    serving.put("in/c.csv", "flaky")
    description = serving.run("transform", "job", request(serving))
    assert description["TransformJobStatus"] == "Failed"
    assert "1 of 3 objects failed; the first: b.csv: HTTP 400: not a number" in description["FailureReason"]
    assert outputs(serving) == {"a.csv.out": "A!", "c.csv.out": "FLAKY!"}
    group = TRANSFORM.log_group
    streams = serving.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/")["logStreams"]
    assert [stream["logStreamName"].endswith("/data-log") for stream in streams] == [False, True]


def test_retries_are_as_many_as_asked_for(serving: Lab) -> None:
    serving.put("in/c.csv", "flaky")
    description = serving.run("transform", "job", request(serving, ModelClientConfig={"InvocationsMaxRetries": 1}))
    assert "HTTP 503" in description["FailureReason"]
    assert serving.log("transform", "job").count("post 5 application/octet-stream") == 2


def test_a_request_has_a_timeout(serving: Lab) -> None:
    serving.put("in/c.csv", "slow")
    config = {"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 1}
    description = serving.run("transform", "job", request(serving, ModelClientConfig=config))
    assert "timed out" in description["FailureReason"]


@pytest.mark.parametrize(
    ("strategy", "expected", "posts"),
    [("SingleRecord", "A!\nBB!\nCCC!\n", 3), ("MultiRecord", "A\nBB\nCCC!\n", 1)],
)
def test_lines_are_records(serving: Lab, strategy: str, expected: str, posts: int) -> None:
    serving.put("in/a.csv", "a\nbb\nccc\n")
    made = request(
        serving,
        BatchStrategy=strategy,
        TransformInput={"SplitType": "Line"},
        TransformOutput={"AssembleWith": "Line"},
    )
    assert serving.run("transform", "job", made)["TransformJobStatus"] == "Completed"
    assert outputs(serving) == {"a.csv.out": expected}
    assert len([line for line in serving.log("transform", "job") if line.startswith("post")]) == posts


def test_the_payload_limit_cuts_batches_and_refuses_a_larger_record(serving: Lab) -> None:
    line = "x" * 400_000 + "\n"
    serving.put("in/a.csv", line * 5)
    serving.put("in/b.csv", "y" * 1_100_000)
    made = request(serving, MaxPayloadInMB=1, TransformInput={"SplitType": "Line"})
    description = serving.run("transform", "job", made)
    assert (
        "b.csv: the record at byte 0 has 1100000 bytes, but MaxPayloadInMB allows 1048576"
        in (description["FailureReason"])
    )
    assert list(outputs(serving)) == ["a.csv.out"]
    posts = [int(text.split()[1]) for text in serving.log("transform", "job") if text.startswith("post")]
    assert sorted(posts) == [400_001, 800_002, 800_002]


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=20),
    limit=st.integers(16, 40),
    multi_record=st.booleans(),
)
def test_batches_are_whole_records_in_order_and_fit_a_request(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], limit: int, multi_record: bool
) -> None:
    path = tmp_path_factory.mktemp("split") / "object"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    batches = [batch.read() for batch in split_object(path, "Line", ServerParameters(1, limit, multi_record))]
    assert b"".join(batches) == path.read_bytes()
    assert all(batch.endswith(b"\n") and len(batch) <= limit for batch in batches)
    if multi_record:
        # No batch could have taken the first record of the next one too.
        firsts = [batch.split(b"\n")[0] + b"\n" for batch in batches]
        assert all(len(batch) + len(first) > limit for batch, first in zip(batches, firsts[1:], strict=False))
    else:
        assert len(batches) == len(lines)


def test_the_server_may_state_its_limits(lab: Lab) -> None:
    wishes = {"MaxConcurrentTransforms": 3, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1}
    model(lab, "m", lab.image("serve", SERVE), {"PARAMETERS": json.dumps(wishes)})
    lab.put("in/a.csv", "a")
    lab.run("transform", "job", request(lab))
    assert "[sagemaker] 1 objects, up to 3 requests at a time" in lab.log("transform", "job")


def test_a_stopped_job_stores_nothing(serving: Lab) -> None:
    serving.put("in/a.csv", "a")
    serving.put("in/b.csv", "slow")
    serving.create("transform", "job", request(serving, MaxConcurrentTransforms=2))
    serving.await_log("transform", "job", "post 4 application/octet-stream")
    stop(serving.sagemaker, TRANSFORM, "job")
    assert serving.finish("transform", "job")["TransformJobStatus"] == "Stopped"
    assert outputs(serving) == {}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("sys.exit(5)", "the server of algo-1 ended before it answered /ping, exit code: 5"),
        (SERVE, "the server of algo-1 ended during the transform, exit code: 9"),
    ],
)
def test_a_server_that_dies_fails_the_job(lab: Lab, source: str, reason: str) -> None:
    model(lab, "m", lab.image("dying", source))
    lab.put("in/a.csv", "die")
    lab.put("in/b.csv", "slow")
    description = lab.run("transform", "job", request(lab, MaxConcurrentTransforms=2))
    assert description["TransformJobStatus"] == "Failed"
    assert reason in description["FailureReason"]


def test_a_model_that_leads_out_of_its_folder_is_refused(serving: Lab) -> None:
    with tarfile.open(serving.lake / "models/model.tar.gz", "w:gz") as tar:
        add(tar, "../../escaped.txt", b"x")
    serving.put("in/a.csv", "a")
    description = serving.run("transform", "job", request(serving))
    assert description["FailureReason"].startswith("ClientError: the model s3://lake/models/model.tar.gz cannot be")
    assert not list(serving.root.rglob("escaped.txt"))


def test_models(serving: Lab) -> None:
    client = serving.sagemaker
    assert client.describe_model(ModelName="m")["PrimaryContainer"]["Image"] == "serve"
    with pytest.raises(client.exceptions.ClientError, match="already existing model"):
        model(serving, "m", "serve")
    client.delete_model(ModelName="m")
    with pytest.raises(client.exceptions.ClientError, match="Could not find model"):
        client.describe_model(ModelName="m")
    with pytest.raises(client.exceptions.ClientError, match="Could not find model"):
        serving.create("transform", "job", request(serving))


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("crash", "AlgorithmError: the server of algo-1 ended during the transform, exit code: 139"),
        ("out-of-memory", "AlgorithmError: Please use an instance type with more memory"),
        ("internal-error", "InternalServerError: We encountered an internal error"),
        ("supervisor-death", "InternalServerError: the job's supervisor process died"),
    ],
)
def test_a_misfortune_of_one_of_two_servers_fails_the_job(serving: Lab, event: JobEvent, reason: str) -> None:
    for name in "abcd":
        serving.put(f"in/{name}.csv", "slow")
    Faults(serving.root / "home").inject(JobFault(event, kind="transform", after=0.1))
    resources = {"InstanceCount": 2, "InstanceType": "ml.m5.large"}
    description = serving.run("transform", "job", request(serving, TransformResources=resources))
    assert description["FailureReason"].startswith(reason)
    assert outputs(serving) == {}
    assert not list(marked_processes(serving.root / "home"))


def test_objects_are_divided_among_servers(serving: Lab) -> None:
    for name in "abcde":
        serving.put(f"in/{name}.csv", name)
    resources = {"InstanceCount": 2, "InstanceType": "ml.m5.large"}
    assert serving.run("transform", "job", request(serving, TransformResources=resources))["TransformEndTime"]
    assert outputs(serving) == {f"{name}.csv.out": f"{name.upper()}!" for name in "abcde"}
    logs = [path.read_text() for path in (serving.root / "home/jobs/transform/job/logs").glob("i-*.jsonl")]
    assert sorted(log.count("post 1") for log in logs) == [2, 3]
