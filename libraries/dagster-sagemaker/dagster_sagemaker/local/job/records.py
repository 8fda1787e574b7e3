"""DataProcessing of a Batch Transform job: filters what is sent, joins and filters what is stored.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html: InputFilter, the model,
JoinSource, OutputFilter, in this order. Standard library only.
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
    """How an object contains records.

    Attributes:
        by_line: whether each line is a record; otherwise the whole object is one.
        parse: converts a record's text to its value.
        render: converts a value to its text, without a line end.
        join: joins the input's and the response's values.
    """

    by_line: bool
    parse: Callable[[str], Any]
    render: Callable[[Any], str]
    join: Callable[[Any, Any], Any]

    def records(self, content: bytes) -> list[str]:
        """Return the records of an object or a response; empty lines are skipped."""
        text = content.decode("utf-8")
        return [line for line in text.splitlines() if line.strip()] if self.by_line else [text]


class DataProcessing:
    """The filters and the join of one job.

    Args:
        request: the request that created it.
    """

    def __init__(self, request: Mapping[str, Any]):
        processing = request.get("DataProcessing", {})
        self._input = parse_path(processing.get("InputFilter", "$"))
        self._output = parse_path(processing.get("OutputFilter", "$"))
        self._joins = processing.get("JoinSource") == "Input"
        split = request["TransformInput"].get("SplitType", "None") == "Line"
        self._format = _format(media_type(request["TransformInput"].get("ContentType", "")), split)

    def filter_input(self, source: Path, target: Path) -> Path:
        """Return the part of an object that is sent to the model.

        Args:
            source: the object.
            target: where to write that part.

        Returns:
            The target, or the object itself if all of it is sent.

        Raises:
            InvocationError: a record is malformed, or has nothing at the filter's path.
        """
        if self._input.is_identity:
            return source
        layout = self._format
        with _reported(), target.open("w", encoding="utf-8", newline="") as stream:
            for record in layout.records(source.read_bytes()):
                stream.write(layout.render(self._input.select(layout.parse(record))))
                if layout.by_line:
                    stream.write("\n")
        return target

    def finish(self, source: Path, answers: Sequence[bytes], separator: bytes) -> Iterator[bytes]:
        """Yield what is stored of an object's responses.

        Args:
            source: the object, unfiltered.
            answers: the responses to its batches, in order.
            separator: the text that AssembleWith puts after each.

        Raises:
            InvocationError: responses and input do not match, or a record has nothing at the filter's path.
        """
        if not self._joins and self._output.is_identity:
            for answer in answers:
                yield answer + separator
            return
        layout = self._format
        with _reported():
            values = [layout.parse(record) for answer in answers for record in layout.records(answer)]
            if self._joins:
                inputs = [layout.parse(record) for record in layout.records(source.read_bytes())]
                if len(inputs) != len(values):
                    raise InvocationError(f"{len(inputs)} input records cannot be joined with {len(values)} answers")
                values = [layout.join(before, after) for before, after in zip(inputs, values, strict=True)]
            for value in values:
                yield layout.render(self._output.select(value)).encode() + (b"\n" if layout.by_line else separator)


@contextmanager
def _reported() -> Iterator[None]:
    """Raise errors of records as errors of their object."""
    try:
        yield
    except (PathError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise InvocationError(f"DataProcessing: {error}") from error


def media_type(content_type: str) -> str:
    """Return a content type without parameters, such as `text/csv` of `text/csv; charset=utf-8`."""
    return content_type.partition(";")[0].strip()


def _format(content_type: str, split: bool) -> _Format:
    if content_type == "text/csv":
        return _Format(True, _parse_row, _render_row, _join_rows)
    # A JSON object is one record, unless SplitType says that each line is one.
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
