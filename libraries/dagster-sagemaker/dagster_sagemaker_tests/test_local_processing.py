from __future__ import annotations

import json
import shutil

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker.local.job.folder_store import FolderStore
from dagster_sagemaker.local.job.outcome import JobFailure
from dagster_sagemaker.local.job.s3_objects import find_objects

from dagster_sagemaker_tests.conftest import Lab, processing_input

COPY = """
for path in sorted((base / "processing/in").rglob("*")):
    if path.is_file():
        target = base / "processing/out" / path.relative_to(base / "processing/in")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().upper())
        print("copied", path.name)
(base / "output/message").write_text("all copied")
"""


def test_inputs_reach_the_container_and_outputs_the_lake(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    lab.put("in/deep/b.txt", "b")
    lab.put("inside_out/c.txt", "not under the prefix in/")
    description = lab.run("processing", "job", lab.processing(lab.image("copy", COPY)))
    assert description["ProcessingJobStatus"] == "Completed"
    assert description["ExitMessage"] == "all copied"
    assert description["ProcessingStartTime"] <= description["ProcessingEndTime"]
    assert "FailureReason" not in description
    out = lab.lake / "out" / "{job_name}"
    assert {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.txt")} == {
        "a.txt": "A",
        "deep/b.txt": "B",
    }
    assert [line for line in lab.log("processing", "job") if line.startswith("copied")] == [
        "copied a.txt",
        "copied b.txt",
    ]
    assert not (lab.root / "home/jobs/processing/job/ml").exists()


def test_a_manifest_names_the_objects(lab: Lab) -> None:
    for name in ("w1/x.txt", "w2/x.txt", "w3/x.txt"):
        lab.put(f"weeks/{name}", name)
    manifest = lab.put("manifests/m.json", json.dumps([{"prefix": "s3://lake/weeks/"}, "w1/x.txt", "w3/x.txt"]))
    request = lab.processing(
        lab.image("copy", COPY), ProcessingInputs=[processing_input(manifest, data_type="ManifestFile")]
    )
    assert lab.run("processing", "job", request)["ProcessingJobStatus"] == "Completed"
    out = lab.lake / "out" / "{job_name}"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.txt")) == ["w1/x.txt", "w3/x.txt"]


def test_a_job_cannot_change_its_input_in_the_lake(lab: Lab) -> None:
    lab.put("in/a.txt", "original")
    lab.run("processing", "job", lab.processing(lab.image("vandal", '(base / "processing/in/a.txt").write_text("x")')))
    assert (lab.lake / "in/a.txt").read_text() == "original"


@pytest.mark.parametrize(
    ("uri", "data_type", "reason"),
    [
        ("s3://elsewhere/in/", "S3Prefix", "no such bucket on this machine; known buckets: lake"),
        ("s3://lake/empty/", "S3Prefix", "no objects found under s3://lake/empty/"),
        ("s3://lake/../home/", "S3Prefix", "leads out of its prefix"),
        ("s3://lake/link/", "S3Prefix", "leads out of its bucket"),
        ("s3://lake/evil.json", "ManifestFile", r"'\.\./\.\./secret\.txt' leads out of its prefix"),
        ("s3://lake/missing.json", "ManifestFile", "does not exist"),
        ("s3://lake/gone.json", "ManifestFile", "names s3://lake/in/gone.txt, which does not exist"),
        ("s3://lake/broken.json", "ManifestFile", "is not of the form"),
    ],
)
def test_a_bad_input_is_named(lab: Lab, uri: str, data_type: str, reason: str) -> None:
    (lab.root / "secret.txt").write_text("secret")
    (lab.lake / "link").symlink_to(lab.root)
    lab.put("evil.json", json.dumps([{"prefix": "s3://lake/in/"}, "../../secret.txt"]))
    lab.put("gone.json", json.dumps([{"prefix": "s3://lake/in/"}, "gone.txt"]))
    lab.put("broken.json", json.dumps({"prefix": "s3://lake/in/"}))
    store = FolderStore({"lake": lab.lake})
    with pytest.raises(JobFailure, match=reason) as caught:
        find_objects(store, {"S3DataType": data_type, "S3Uri": uri}, lab.root / "scratch")
    assert str(caught.value).startswith("ClientError: ")


def test_a_missing_input_fails_the_job(lab: Lab) -> None:
    description = lab.run("processing", "job", lab.processing(lab.image("copy", COPY)))
    assert description["ProcessingJobStatus"] == "Failed"
    assert description["FailureReason"] == "ClientError: no objects found under s3://lake/in/"
    assert not (lab.lake / "out").exists()


def test_an_unknown_image_fails_the_job(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    description = lab.run("processing", "job", lab.processing("nothing:latest"))
    assert "no image nothing:latest on this machine; known images: none" in description["FailureReason"]


def test_a_failing_container_uploads_nothing_and_tells_why(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image(
        "fail",
        """
        (base / "processing/out/half.txt").write_text("half")
        (base / "output/message").write_text("bad price in row 7")
        sys.exit(3)
        """,
    )
    description = lab.run("processing", "job", lab.processing(image))
    assert description["ProcessingJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("AlgorithmError: the container exited with code 3 on algo-1")
    assert description["ExitMessage"] == "bad price in row 7"
    assert not (lab.lake / "out").exists()


def test_links_are_not_uploaded(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    (lab.root / "secret.txt").write_text("secret")
    source = f'(base / "processing/out/link.txt").symlink_to({str(lab.root / "secret.txt")!r})'
    assert (
        lab.run("processing", "job", lab.processing(lab.image("linker", source)))["ProcessingJobStatus"] == "Completed"
    )
    assert not (lab.lake / "out").exists()


def test_an_exit_message_that_is_not_utf8_fails_the_job(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image("latin", '(base / "output/message").write_bytes(b"\\xe9\\xe9 ")')
    assert "is not UTF-8" in lab.run("processing", "job", lab.processing(image))["FailureReason"]


def test_the_container_sees_its_configuration_and_no_secrets(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lab.put("in/a.txt", "a")
    image = lab.image(
        "look",
        """
        config = json.loads((base / "config/processingjobconfig.json").read_text())
        hosts = json.loads((base / "config/resourceconfig.json").read_text())
        seen = {"env": dict(os.environ), "config": config, "hosts": hosts, "arguments": sys.argv[1:]}
        (base / "processing/out/seen.json").write_text(json.dumps(seen))
        """,
    )
    request = lab.processing(image, Environment={"WEEK": "2016-04-18"})
    request["AppSpecification"]["ContainerArguments"] = ["--fast"]
    assert lab.run("processing", "job", request)["ProcessingJobStatus"] == "Completed"
    seen = json.loads((lab.lake / "out/{job_name}/seen.json").read_text())
    assert seen["env"]["WEEK"] == "2016-04-18"
    assert seen["env"]["OMP_NUM_THREADS"] == "1"
    assert not [name for name in seen["env"] if name.startswith("AWS")]
    assert seen["config"]["ProcessingJobName"] == "job"
    assert seen["config"]["ProcessingJobArn"].endswith(":processing-job/job")
    assert seen["config"]["NetworkConfig"] is None
    assert seen["hosts"] == {"current_host": "algo-1", "hosts": ["algo-1"]}
    assert seen["arguments"] == ["--fast"]


def test_an_entry_point_of_the_request_replaces_the_image_s(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    request = lab.processing(lab.image("never", "raise SystemExit('must not run')"))
    echo = shutil.which("echo") or ""
    request["AppSpecification"] |= {"ContainerEntrypoint": [echo, "one"], "ContainerArguments": ["two"]}
    assert lab.run("processing", "job", request)["ProcessingJobStatus"] == "Completed"
    assert "one two" in lab.log("processing", "job")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"ProcessingJobName": "a_b"}, "does not match the pattern"),
        ({"Environment": {"KEY": "v" * 257}}, "the maximum is 256"),
        ({"ProcessingInputs": [processing_input("s3://lake/in")]}, "must end with '/'"),
    ],
)
def test_an_invalid_request_is_refused_at_once(lab: Lab, members: dict[str, object], problem: str) -> None:
    with pytest.raises(ClientError, match=problem) as caught:
        lab.sagemaker.create_processing_job(**{"ProcessingJobName": "job", **lab.processing("copy"), **members})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert lab.jobs("processing") == []


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("AppManaged", True, "the input in: AppManaged"),
        ("S3DataType", "AugmentedManifestFile", "S3DataType"),
        ("S3InputMode", "Pipe", "the input in: Pipe mode: the local runner offers File and FastFile"),
        ("S3CompressionType", "Gzip", "the input in: S3CompressionType Gzip needs S3InputMode Pipe"),
    ],
)
def test_what_the_runner_cannot_do_is_refused_not_ignored(lab: Lab, member: str, value: object, problem: str) -> None:
    source = processing_input("s3://lake/in/")
    (source if member == "AppManaged" else source["S3Input"])[member] = value
    with pytest.raises(ClientError, match=problem) as caught:
        lab.create("processing", "job", lab.processing("copy", ProcessingInputs=[source]))
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert lab.jobs("processing") == []


def test_an_input_needs_a_place(lab: Lab) -> None:
    source = processing_input("s3://lake/in/")
    del source["S3Input"]["LocalPath"]
    with pytest.raises(ClientError, match="the input in: S3Input needs a LocalPath"):
        lab.create("processing", "job", lab.processing("copy", ProcessingInputs=[source]))


def test_a_job_folder_is_private(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    lab.run("processing", "job", lab.processing(lab.image("copy", COPY)))
    assert (lab.root / "home/jobs/processing/job").stat().st_mode & 0o077 == 0
