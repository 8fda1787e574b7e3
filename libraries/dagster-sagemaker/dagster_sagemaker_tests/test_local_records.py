"""DataProcessing: paths, filters and joins."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker.local.job.invocation import InvocationError
from dagster_sagemaker.local.job.jsonpath import PathError, parse_path
from dagster_sagemaker.local.job.records import DataProcessing
from hypothesis import given
from hypothesis import strategies as st

from dagster_sagemaker_tests.conftest import Lab
from dagster_sagemaker_tests.test_local_transform import SERVE, model, outputs, request

RECORD = {"id": 7, "features": [1, 2, {"deep": "x"}], "odd name": {"a": 1, "b": 2, "c": 3}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", RECORD),
        ("$.id", 7),
        ("$['odd name'].b", 2),
        ("$.features[2].deep", "x"),
        ("$.features[1:]", [2, {"deep": "x"}]),
        ("$.features[0,1:]", [1, 2, {"deep": "x"}]),
        ("$.features[1,0]", [2, 1]),
        ("$.features[*]", RECORD["features"]),
        ("$['odd name'].['c','a']", {"c": 3, "a": 1}),
        ("$['odd name'].*", [1, 2, 3]),
        ("$['id','odd name']", {"id": 7, "odd name": RECORD["odd name"]}),
    ],
)
def test_paths(path: str, expected: Any) -> None:
    assert parse_path(path).select(RECORD) == expected


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("id", "does not begin with"),
        ("$..id", "cannot be understood from"),
        ("$[?(@.a > 1)]", "cannot be understood from"),
        ("$[1:4]", "AWS's page and JSONPath differ"),
        ("$['a','b'].c", "nothing may follow a choice"),
        ("$[]", "empty index"),
    ],
)
def test_what_sagemaker_does_not_document_is_no_path(path: str, problem: str) -> None:
    with pytest.raises(PathError, match=problem):
        parse_path(path)


@pytest.mark.parametrize("path", ["$.nothing", "$.features[3]", "$.features[3:]", "$.id[0]", "$.features.id", "$.id.*"])
def test_a_record_without_the_part_is_an_error(path: str) -> None:
    with pytest.raises(PathError, match=r"^\$"):
        parse_path(path).select(RECORD)


def processing(content_type: str, split: str = "Line", **members: str) -> DataProcessing:
    source = {"ContentType": content_type, "SplitType": split}
    return DataProcessing({"DataProcessing": members, "TransformInput": source})


fields = st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=5)


@given(rows=st.lists(st.lists(fields, min_size=2, max_size=4), min_size=1, max_size=6))
def test_joined_rows_hold_the_input_and_the_answer(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    source = folder / "object"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    source.write_text(text.getvalue(), newline="")
    flow = processing("text/csv", InputFilter="$[1:]", JoinSource="Input")
    sent = flow.filter_input(source, folder / "filtered").read_text()
    assert list(csv.reader(sent.splitlines())) == [row[1:] for row in rows]
    # A model that answers each row by its length, in batches of two.
    answers = [f"{len(row) - 1}\n".encode() for row in rows]
    batches = [b"".join(answers[start : start + 2]) for start in range(0, len(answers), 2)]
    stored = b"".join(flow.finish(source, batches, b"\n")).decode()
    assert list(csv.reader(stored.splitlines())) == [[*row, str(len(row) - 1)] for row in rows]


def test_json_gets_the_answer_beside_its_members(tmp_path: Path) -> None:
    source = tmp_path / "object"
    source.write_text('{"id": 1, "x": [1]}\n[2]\n')
    flow = processing("application/jsonlines", JoinSource="Input")
    stored = b"".join(flow.finish(source, [b'{"y": 1}\n', b"5"], b""))
    assert [json.loads(line) for line in stored.splitlines()] == [
        {"id": 1, "x": [1], "SageMakerOutput": {"y": 1}},
        {"SageMakerInput": [2], "SageMakerOutput": 5},
    ]


def test_a_json_document_is_one_record(tmp_path: Path) -> None:
    source = tmp_path / "object"
    source.write_text('{"id": 1,\n "x": [1]}')
    kept = "$['id','SageMakerOutput']"
    flow = processing("application/json", "None", InputFilter="$.x", JoinSource="Input", OutputFilter=kept)
    assert flow.filter_input(source, tmp_path / "filtered").read_text() == "[1]"
    assert b"".join(flow.finish(source, [b"0.5"], b"")) == b'{"id":1,"SageMakerOutput":0.5}'


@pytest.mark.parametrize(
    ("answers", "problem"),
    [([b"1\n2\n"], "1 input records cannot be joined with 2 answers"), ([b"\xff"], "can't decode byte")],
)
def test_answers_that_do_not_fit_fail_their_object(tmp_path: Path, answers: list[bytes], problem: str) -> None:
    source = tmp_path / "object"
    source.write_text("a\n")
    with pytest.raises(InvocationError, match=problem):
        list(processing("text/csv", JoinSource="Input").finish(source, answers, b""))


@pytest.mark.parametrize("count", [1, 3])
def test_a_job_filters_and_joins_zipped_objects(lab: Lab, count: int) -> None:
    model(lab, "m", lab.image("serve", SERVE.replace("body.strip().upper() + model.encode()", "body.upper()")))
    for name in "abcd":
        lab.put(f"in/{name}.csv", "")
        (lab.lake / f"in/{name}.csv").write_bytes(gzip.compress(f"1,{name},x\n2,{name},y\n".encode()))
    lab.put("in/z.csv", "not zipped")
    made = request(
        lab,
        BatchStrategy="SingleRecord",
        TransformInput={"SplitType": "Line", "ContentType": "text/csv", "CompressionType": "Gzip"},
        TransformOutput={"AssembleWith": "Line"},
        TransformResources={"InstanceCount": count, "InstanceType": "ml.m5.large"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,3:]"},
    )
    description = lab.run("transform", "job", made)
    assert "1 of 5 objects failed; the first: z.csv: not in gzip's format" in description["FailureReason"]
    assert outputs(lab) == {f"{name}.csv.out": f"1,{name.upper()},X\n2,{name.upper()},Y\n" for name in "abcd"}


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"DataProcessing": {"InputFilter": "$[0:2]"}}, "DataProcessing.InputFilter: .* differ"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "must be TransformInput.ContentType"),
        ({"TransformInput": {"SplitType": "RecordIO"}}, "SplitType RecordIO: the local runner offers None and Line"),
    ],
)
def test_what_cannot_be_done_is_refused(lab: Lab, members: dict[str, Any], problem: str) -> None:
    lab.sagemaker.create_model(
        ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/jobs", PrimaryContainer={"Image": "image"}
    )
    shape = {"TransformInput": {"ContentType": "text/csv", **members.pop("TransformInput", {})}}
    made = request(lab, TransformOutput={"Accept": "application/json"}, **shape, **members)
    with pytest.raises(ClientError, match=problem):
        lab.create("transform", "job", made)
    assert lab.jobs("transform") == []
