"""What holds for jobs of every kind: names, stops, limits, and the death of a supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker import LocalSageMaker
from dagster_sagemaker.job_kinds import PROCESSING, TRAINING

from dagster_sagemaker_tests.conftest import Lab, eventually, stop

PATIENT = """
def leave(*_):
    (base / "output/message").write_text("saved in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
sys.stdout.write(f"ready {os.getpid()}\\n")
while True:
    time.sleep(0.05)
"""
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    sys.stdout.write(f"child {os.getpid()}\\n")
    time.sleep(600)
sys.stdout.write(f"ready {os.getpid()}\\n")
time.sleep(600)
"""


@pytest.fixture
def running(lab: Lab) -> Lab:
    lab.put("in/a.txt", "a")
    return lab


def pids(lab: Lab, name: str, count: int) -> list[int]:
    """The processes whose ids the job printed, once there are that many."""

    def printed() -> list[int] | None:
        words = [line.split() for line in lab.log("processing", name)]
        found = [int(word[1]) for word in words if word[0] in ("ready", "child")]
        return found if len(found) == count else None

    return eventually(printed)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def own_processes(lab: Lab, name: str) -> list[int]:
    """The supervisor and the keeper forked from it, which has the same command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(lab.root / "home/jobs/processing" / name).encode() in words:
            found.append(int(folder.name))
    return found


def supervisor_pid(lab: Lab, name: str) -> int:
    supervisor, keeper = own_processes(lab, name)
    parent = int(Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[1])
    return supervisor if parent == supervisor else keeper


def keeper_pid(lab: Lab, name: str, supervisor: int) -> int:
    (keeper,) = set(own_processes(lab, name)) - {supervisor}
    return keeper


def test_a_name_can_be_used_once(running: Lab) -> None:
    request = running.processing(running.image("patient", PATIENT))
    running.create("processing", "job", request)
    other, _ = running.new_clients()
    with pytest.raises(ClientError) as caught:
        other.create_processing_job(ProcessingJobName="job", **request)
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    assert running.jobs("processing") == ["job"]


def test_of_many_at_the_same_time_one_creates_the_job(running: Lab) -> None:
    request = running.processing(running.image("once", "print('started')"))

    def create(_: int) -> str:
        try:
            running.create("processing", "job", request)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "created"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(16)))
    assert sorted(answers) == ["ResourceInUse"] * 15 + ["created"]
    assert running.finish("processing", "job")["ProcessingJobStatus"] == "Completed"
    assert running.log("processing", "job").count("started") == 1
    assert [path.name for path in (running.root / "home/jobs/processing").iterdir()] == ["job"]


def test_of_several_orchestrators_one_creates_the_job(running: Lab) -> None:
    request = running.processing(running.image("once", "print('started')"))
    code = f"""
import sys
from pathlib import Path
from dagster_sagemaker import LocalSageMaker
root = Path({str(running.root)!r})
client = LocalSageMaker(root / "home", buckets={{"lake": root / "lake"}}, images={running.images!r}).client("sagemaker")
print("ready", flush=True)
sys.stdin.readline()
try:
    client.create_processing_job(ProcessingJobName="job", **{request!r})
    print("created")
except client.exceptions.ResourceInUse:
    print("in use")
"""
    orchestrators = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in orchestrators:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in orchestrators:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].strip() for process in orchestrators]
    assert sorted(answers) == ["created", "in use"]
    assert running.finish("processing", "job")["ProcessingJobStatus"] == "Completed"
    assert running.log("processing", "job").count("started") == 1


def test_an_unknown_job(lab: Lab) -> None:
    for call in (lab.sagemaker.describe_training_job, lab.sagemaker.stop_training_job):
        with pytest.raises(ClientError, match="Could not find requested job") as caught:
            call(TrainingJobName="nothing")
        assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_stopped_container_has_time_to_leave(running: Lab) -> None:
    running.create("processing", "job", running.processing(running.image("patient", PATIENT)))
    pids(running, "job", 1)
    stop(running.sagemaker, PROCESSING, "job")
    assert running.describe("processing", "job")["ProcessingJobStatus"] in ("Stopping", "Stopped")
    description = running.finish("processing", "job")
    assert description["ProcessingJobStatus"] == "Stopped"
    assert description["ExitMessage"] == "saved in time"
    assert not (running.lake / "out").exists()


def test_a_stubborn_container_and_its_children_are_killed(running: Lab) -> None:
    running.create("processing", "job", running.processing(running.image("stubborn", STUBBORN)))
    started = pids(running, "job", 2)
    stop(running.sagemaker, PROCESSING, "job")
    assert running.finish("processing", "job")["ProcessingJobStatus"] == "Stopped"
    eventually(lambda: all(is_gone(pid) for pid in started))


def test_a_stopped_training_keeps_its_model(running: Lab) -> None:
    image = running.image("patient", PATIENT.replace("output/message", "model/weights"))
    running.create("training", "job", running.training(image))
    eventually(lambda: running.log("training", "job")[1:])
    stop(running.sagemaker, TRAINING, "job")
    description = running.finish("training", "job")
    assert description["TrainingJobStatus"] == "Stopped"
    assert (running.lake / "models/job/output/model.tar.gz").exists()


def test_a_finished_job_cannot_be_stopped(running: Lab) -> None:
    running.run("processing", "job", running.processing(running.image("nop", "")))
    with pytest.raises(ClientError, match="in status Completed"):
        stop(running.sagemaker, PROCESSING, "job")


@pytest.mark.parametrize("kind", ["processing", "training"])
def test_the_time_limit_stops_a_job(running: Lab, kind: str) -> None:
    request = getattr(running, kind)(running.image("patient", PATIENT))
    description = running.run(kind, "job", {**request, "StoppingCondition": {"MaxRuntimeInSeconds": 1}})
    assert description[f"{kind.title()}JobStatus"] == "Stopped"
    assert description["FailureReason"].startswith("MaxRuntimeExceeded")
    assert description.get("SecondaryStatus", "MaxRuntimeExceeded") == "MaxRuntimeExceeded"


def test_a_dead_supervisor_fails_the_job_and_takes_its_processes_along(running: Lab) -> None:
    running.create("processing", "job", running.processing(running.image("stubborn", STUBBORN)))
    started = pids(running, "job", 2)
    os.kill(supervisor_pid(running, "job"), signal.SIGKILL)
    description = running.finish("processing", "job")
    assert description["ProcessingJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("InternalServerError: the job's supervisor process died")
    assert all(is_gone(pid) for pid in started)


def test_a_job_whose_creation_was_interrupted_has_failed(running: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise whoever waits for its end would wait for a supervisor that was never started."""
    fsync, jobs = os.fsync, running.root / "home" / "jobs" / "processing"

    def interrupted(descriptor: int) -> None:
        fsync(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink() == jobs:  # the job's folder is in place
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            running.create("processing", "job", running.processing(running.image("nop", "")))
    description = running.finish("processing", "job")
    assert description["ProcessingJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("InternalServerError: the job's supervisor process died")


def test_a_job_outlives_the_process_that_created_it(running: Lab) -> None:
    image = running.image("slow", 'print("ready"); (base / "processing/out/x.txt").write_text("x")')
    code = f"""
import os, json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dagster_sagemaker import LocalSageMaker
root = Path({str(running.root)!r})
runner = LocalSageMaker(root / "home", buckets={{"lake": root / "lake"}}, images={running.images!r})
runner.client("sagemaker").create_processing_job(ProcessingJobName="job", **{running.processing(image)!r})
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert running.finish("processing", "job")["ProcessingJobStatus"] == "Completed"


def test_tags(running: Lab) -> None:
    request = running.processing(running.image("nop", ""), Tags=[{"Key": "dagster/run_id", "Value": "1"}])
    running.create("processing", "job", request)
    arn = running.describe("processing", "job")["ProcessingJobArn"]
    running.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "swept", "Value": "yes"}])
    tags = {tag["Key"]: tag["Value"] for tag in running.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"dagster/run_id": "1", "swept": "yes"}


def test_logs_are_read_on_from_a_token(running: Lab) -> None:
    running.run("processing", "job", running.processing(running.image("talk", "print('one'); print('two')")))
    group = PROCESSING.log_group
    (stream,) = running.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/")["logStreams"]
    name = stream["logStreamName"]
    read = running.logs.get_log_events
    first = read(logGroupName=group, logStreamName=name, limit=2, startFromHead=True)
    second = read(logGroupName=group, logStreamName=name, nextToken=first["nextForwardToken"])
    third = read(logGroupName=group, logStreamName=name, nextToken=second["nextForwardToken"])
    assert len(first["events"]) == 2
    assert second["events"][0]["message"] == "two"
    assert third["events"] == []
    assert third["nextForwardToken"] == second["nextForwardToken"]


def test_no_log_group_before_the_first_job(lab: Lab) -> None:
    with pytest.raises(ClientError) as caught:
        lab.logs.describe_log_streams(logGroupName=PROCESSING.log_group)
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_the_supervisor_starts_quickly_without_dagster_and_boto3() -> None:
    code = "import sys, dagster_sagemaker.local.job.supervisor; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"dagster", "boto3", "botocore", "pandas", "numpy"} & set(loaded)


MANY = 1500


def test_a_stop_is_noticed_while_inputs_are_copied(lab: Lab) -> None:
    for number in range(MANY):
        lab.put(f"in/{number}", "")
    lab.create("processing", "job", lab.processing(lab.image("never", "print('ready')")))
    inputs = lab.root / "home/jobs/processing/job/ml/algo-1/processing/in"
    eventually(lambda: inputs.exists() and any(inputs.iterdir()))
    stop(lab.sagemaker, PROCESSING, "job")
    assert lab.finish("processing", "job")["ProcessingJobStatus"] == "Stopped"
    assert 0 < len(list(inputs.iterdir())) < MANY
    assert not (lab.root / "home/jobs/processing/job/logs").exists()


def test_a_stop_is_noticed_while_outputs_are_stored(running: Lab) -> None:
    source = f"""
    for number in range({MANY}): (base / f"processing/out/{{number}}").touch()
    (base / "output/message").write_text("all made")
    """
    running.create("processing", "job", running.processing(running.image("many", source)))
    stored = running.lake / "out/{job_name}"
    eventually(lambda: stored.exists() and any(stored.iterdir()))
    stop(running.sagemaker, PROCESSING, "job")
    description = running.finish("processing", "job")
    assert (description["ProcessingJobStatus"], description["ExitMessage"]) == ("Stopped", "all made")
    assert len(list(stored.iterdir())) < MANY


def test_a_process_that_left_its_group_is_not_left_behind(running: Lab) -> None:
    source = """
    import subprocess
    code = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    print("child", child.pid)
    """
    running.run("processing", "job", running.processing(running.image("daemon", source)))
    (child,) = pids(running, "job", 1)
    assert is_gone(child)


def test_a_lost_machine_is_seen_and_nothing_is_left(running: Lab) -> None:
    """Supervisor and keeper are killed together: nobody is left to clean up but who looks next."""
    running.create("processing", "job", running.processing(running.image("stubborn", STUBBORN)))
    started = pids(running, "job", 2)
    supervisor = supervisor_pid(running, "job")
    os.kill(keeper_pid(running, "job", supervisor), signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    assert running.finish("processing", "job")["FailureReason"].startswith("InternalServerError: ")
    eventually(lambda: all(is_gone(pid) for pid in started))


def test_a_grace_period_is_the_runner_s(running: Lab) -> None:
    image = running.image("stubborn", STUBBORN)
    runner = LocalSageMaker(
        running.root / "home", buckets={"lake": running.lake}, images=running.images, stop_grace=0.2
    )
    runner.client("sagemaker").create_processing_job(ProcessingJobName="job", **running.processing(image))
    pids(running, "job", 2)
    begun = time.monotonic()
    stop(running.sagemaker, PROCESSING, "job")
    running.finish("processing", "job")
    # The job keeps the grace it was created with, whoever stops it.
    assert time.monotonic() - begun < 1.0


def test_continuous_outputs_are_stored_while_the_job_runs(running: Lab) -> None:
    source = '(base / "processing/out/first").write_text("1"); print("ready", os.getpid()); time.sleep(600)'
    request = running.processing(running.image("continuous", source))
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3UploadMode"] = "Continuous"
    running.create("processing", "job", request)
    eventually((running.lake / "out/{job_name}/first").exists)
    assert running.describe("processing", "job")["ProcessingJobStatus"] == "InProgress"
