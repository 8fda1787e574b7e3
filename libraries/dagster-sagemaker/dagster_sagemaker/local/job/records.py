"""DataProcessing of a Batch Transform job: what of a record is sent, and what is stored beside the answer.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html: InputFilter, the model,
JoinSource, OutputFilter, in this order. Standard library only. Not here: paths (`jsonpath`) and requests
(`invocation`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.job.invocation import InvocationError
from dagster_sagemaker.local.job.jsonpath import PathError, parse_path


@dataclass(frozen=True)
class _Format:
    """How records lie in an object.

    Attributes:
        by_line: Whether each line is a record; else the object is one.
        parse: From a record's text to its value.
        render: From a value to its text, without a line's end.
        join: The input's and the answer's values as one.
    """

    by_line: bool
    parse: Callable[[str], Any]
    render: Callable[[Any], str]
    join: Callable[[Any, Any], Any]

    def records(self, content: bytes) -> list[str]:
        """The records of an object or an answer; empty lines hold none."""
        text = content.decode("utf-8")
        return [line for line in text.splitlines() if line.strip()] if self.by_line else [text]


class DataProcessing:
    """The filters and the join of one job.

    Args:
        request: The request that created it.
    """

    def __init__(self, request: Mapping[str, Any]):
        processing = request.get("DataProcessing", {})
        self._input = parse_path(processing.get("InputFilter", "$"))
        self._output = parse_path(processing.get("OutputFilter", "$"))
        self._joins = processing.get("JoinSource") == "Input"
        split = request["TransformInput"].get("SplitType", "None") == "Line"
        self._format = _format(media_type(request["TransformInput"].get("ContentType", "")), split)

    def filter_input(self, source: Path, target: Path) -> Path:
        """What is sent to the model of an object.

        Args:
            source: The object.
            target: Where to write what is left of it.

        Returns:
            The target, or the object itself if all of it is sent.

        Raises:
            InvocationError: A record is malformed, or has nothing where the filter leads.
        """
        if self._input.is_identity:
            return source
        layout = self._format
        with _told(), target.open("w", encoding="utf-8", newline="") as stream:
            for record in layout.records(source.read_bytes()):
                stream.write(layout.render(self._input.select(layout.parse(record))))
                if layout.by_line:
                    stream.write("\n")
        return target

    def finish(self, source: Path, answers: Sequence[bytes], separator: bytes) -> Iterator[bytes]:
        """What is stored of an object's answers.

        Args:
            source: The object, unfiltered.
            answers: The answers to its batches, in order.
            separator: What AssembleWith puts after each.

        Raises:
            InvocationError: Answers and input do not fit together, or the filter leads nowhere.
        """
        if not self._joins and self._output.is_identity:
            for answer in answers:
                yield answer + separator
            return
        layout = self._format
        with _told():
            values = [layout.parse(record) for answer in answers for record in layout.records(answer)]
            if self._joins:
                inputs = [layout.parse(record) for record in layout.records(source.read_bytes())]
                if len(inputs) != len(values):
                    raise InvocationError(f"{len(inputs)} input records cannot be joined with {len(values)} answers")
                values = [layout.join(before, after) for before, after in zip(inputs, values, strict=True)]
            for value in values:
                yield layout.render(self._output.select(value)).encode() + (b"\n" if layout.by_line else separator)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of records become errors of their object."""
    try:
        yield
    except (PathError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise InvocationError(f"DataProcessing: {error}") from error


def media_type(content_type: str) -> str:
    """The type itself of a type with parameters, such as `text/csv; charset=utf-8`."""
    return content_type.partition(";")[0].strip()


def _format(content_type: str, split: bool) -> _Format:
    if content_type == "text/csv":
        return _Format(True, _parse_row, _render_row, _join_rows)
    # A JSON document is one record, unless the user says that each line is one.
    return _Format(content_type == "application/jsonlines" or split, json.loads, _render_json, _join_json)


def _parse_row(line: str) -> list[str]:
    return next(csv.reader([line]))


def _render_row(value: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(value if isinstance(value, list) else [value])
    return text.getvalue()


def _join_rows(before: list[str], after: list[str]) -> list[str]:
    return [*before, *after]


def _render_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _join_json(before: Any, after: Any) -> dict[str, Any]:
    if isinstance(before, dict):
        return {**before, "SageMakerOutput": after}
    return {"SageMakerInput": before, "SageMakerOutput": after}
