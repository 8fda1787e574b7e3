"""Rejects requests for features that the local runner lacks, so that nothing is ignored silently.

Where AWS would reject the request too, the message says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, TRANSFORM, JobKind
from dagster_sagemaker.local.job.jsonpath import PathError, parse_path
from dagster_sagemaker.local.job.records import media_type

_DATA_TYPES = ("S3Prefix", "ManifestFile")


def problems(kind: JobKind, request: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reasons why the runner rejects a request; none if it accepts it."""
    yield from _CHECKS[kind](request)


def _processing_problems(request: Mapping[str, Any]) -> Iterator[str]:
    for item in request.get("ProcessingInputs", ()):
        name = f"the input {item['InputName']}"
        yield from _place_problems(name, item, "S3Input")
        source = item.get("S3Input", {})
        yield from _source_problems(name, source)
        yield from _mode_problems(name, source.get("S3InputMode", "File"))
        if source.get("S3CompressionType", "None") != "None":
            yield f"{name}: S3CompressionType Gzip needs S3InputMode Pipe, on AWS too, and the local runner has no Pipe"
    for item in request.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        yield from _place_problems(f"the output {item['OutputName']}", item, "S3Output")


def _training_problems(request: Mapping[str, Any]) -> Iterator[str]:
    specification = request["AlgorithmSpecification"]
    if "TrainingImage" not in specification:
        yield "AlgorithmSpecification: the local runner needs a TrainingImage"
    if "InstanceGroups" in request.get("ResourceConfig", {}):
        yield "ResourceConfig.InstanceGroups: the local runner has instances of one kind; use InstanceCount"
    if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        yield "OutputDataConfig.CompressionType NONE: the local runner stores model.tar.gz"
    for channel in request.get("InputDataConfig", ()):
        name = f"the channel {channel['ChannelName']}"
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            yield f"{name}: the local runner offers S3DataSource alone"
            continue
        yield from _source_problems(name, source)
        yield from _mode_problems(name, channel.get("InputMode", specification["TrainingInputMode"]))
        if channel.get("CompressionType", "None") != "None":
            yield f"{name}: CompressionType Gzip needs Pipe mode, on AWS too, and the local runner has no Pipe"


def _transform_problems(request: Mapping[str, Any]) -> Iterator[str]:
    source = request["TransformInput"]
    yield from _source_problems("TransformInput", source["DataSource"]["S3DataSource"])
    if source.get("SplitType", "None") not in ("None", "Line"):
        yield f"TransformInput.SplitType {source['SplitType']}: the local runner offers None and Line"
    if "DataCaptureConfig" in request:
        yield "DataCaptureConfig: the local runner captures nothing"
    yield from _data_processing_problems(request)


def _data_processing_problems(request: Mapping[str, Any]) -> Iterator[str]:
    processing = request.get("DataProcessing", {})
    for member in ("InputFilter", "OutputFilter"):
        try:
            parse_path(processing.get(member, "$"))
        except PathError as error:
            yield f"DataProcessing.{member}: {error}"
    content = media_type(request["TransformInput"].get("ContentType", ""))
    accept = media_type(request["TransformOutput"].get("Accept", content))
    rewritten = processing.get("JoinSource", "None") != "None" or processing.get("OutputFilter", "$") != "$"
    if rewritten and accept != content:
        yield f"DataProcessing: TransformOutput.Accept {accept!r} must be TransformInput.ContentType, {content!r}"


def _place_problems(name: str, item: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield the problems of an input's or output's place in the container."""
    if item.get("AppManaged"):
        yield f"{name}: AppManaged: the local runner copies all inputs and outputs"
    if place not in item:
        yield f"{name}: the local runner offers {place} alone"
    elif "LocalPath" not in item[place]:
        yield f"{name}: {place} needs a LocalPath"


def _source_problems(name: str, source: Mapping[str, Any]) -> Iterator[str]:
    if source.get("S3DataType", _DATA_TYPES[0]) not in _DATA_TYPES:
        yield f"{name}: S3DataType {source['S3DataType']}: the local runner offers {' and '.join(_DATA_TYPES)}"


def _mode_problems(name: str, mode: str) -> Iterator[str]:
    if mode == "Pipe":
        yield f"{name}: Pipe mode: the local runner offers File and FastFile"


_CHECKS = {PROCESSING: _processing_problems, TRAINING: _training_problems, TRANSFORM: _transform_problems}
