"""Rules for requests that botocore's service model lacks, and that AWS checks only after a request was sent.

One function per rule, and a table of the operations that it applies to. Source: the AWS API reference, on the pages of
each operation and its members.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

_SHOWN_CHARACTERS = 60
_TAG_PUNCTUATION = frozenset("_.:/=+-@")
_MAX_PAYLOAD_MB = 100
_PROCESSED_TYPES = ("text/csv", "application/json", "application/jsonlines")
# EC2 families with local NVMe disks: a "d" after the generation (m5d, g4dn, p4de), and some without that sign.
_LOCAL_STORAGE = re.compile(r"ml\.(?:[a-z]+\d[a-z]*d[a-z]*|g5|g6e?|p5e?n?|trn1n?|trn2)\.")


def shown(value: str) -> str:
    """Return a value as an error message quotes it, shortened."""
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 1] + "…")


def is_tag_character(character: str) -> bool:
    """Return whether AWS allows a character in a tag: letters, separators, numbers and `_.:/=+-@`."""
    return character in _TAG_PUNCTUATION or unicodedata.category(character)[0] in "LZN"


def has_local_storage(instance_type: str) -> bool:
    """Return whether an instance type has local disks: they are encrypted in hardware, so a key is rejected."""
    return _LOCAL_STORAGE.match(instance_type) is not None


def rule_problems(operation_name: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rules that a request breaks, one line each."""
    for rule in _RULES.get(operation_name, ()):
        yield from rule(params)


def _prefixes(params: Mapping[str, Any]) -> Iterator[str]:
    for path, source in _data_sources(params):
        uri = source.get("S3Uri", "")
        if source.get("S3DataType") == "S3Prefix" and not str(uri).endswith("/"):
            yield (
                f"{path}.S3Uri: {shown(str(uri))} must end with '/': an S3Prefix is a prefix of characters, and "
                "would also match keys that only begin alike"
            )


def _data_sources(params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, item in enumerate(_list(params, "ProcessingInputs")):
        yield f"ProcessingInputs[{index}].S3Input", _get(item, "S3Input")
    for index, channel in enumerate(_list(params, "InputDataConfig")):
        path = f"InputDataConfig[{index}].DataSource.S3DataSource"
        yield path, _get(channel, "DataSource", "S3DataSource")
    yield "TransformInput.DataSource.S3DataSource", _get(params, "TransformInput", "DataSource", "S3DataSource")


def _local_paths(params: Mapping[str, Any]) -> Iterator[str]:
    places = [
        (f"ProcessingInputs[{index}].S3Input.LocalPath", _get(item, "S3Input"))
        for index, item in enumerate(_list(params, "ProcessingInputs"))
    ] + [
        (f"ProcessingOutputConfig.Outputs[{index}].S3Output.LocalPath", _get(item, "S3Output"))
        for index, item in enumerate(_list(_get(params, "ProcessingOutputConfig"), "Outputs"))
    ]
    for path, config in places:
        local_path = config.get("LocalPath")
        if not isinstance(local_path, str):
            continue
        pure = PurePosixPath(local_path)
        inside = pure.is_relative_to("/opt/ml/processing") and pure != PurePosixPath("/opt/ml/processing")
        if not inside or ".." in pure.parts:
            yield f"{path}: {shown(local_path)} must be a folder under /opt/ml/processing/"


def _names(params: Mapping[str, Any]) -> Iterator[str]:
    """Require unique names within a request."""
    yield from _repeated("ProcessingInputs", _list(params, "ProcessingInputs"), "InputName")
    outputs = _list(_get(params, "ProcessingOutputConfig"), "Outputs")
    yield from _repeated("ProcessingOutputConfig.Outputs", outputs, "OutputName")
    yield from _repeated("InputDataConfig", _list(params, "InputDataConfig"), "ChannelName")
    yield from _repeated("Tags", _list(params, "Tags"), "Key")


def _repeated(path: str, items: Sequence[Any], member: str) -> Iterator[str]:
    seen = set()
    for index, item in enumerate(items):
        name = item.get(member) if isinstance(item, Mapping) else None
        if isinstance(name, str) and name in seen:
            yield f"{path}[{index}].{member}: {shown(name)} appears twice; names must be unique"
        seen.add(name)


def _image(params: Mapping[str, Any]) -> Iterator[str]:
    given = [name for name in ("TrainingImage", "AlgorithmName") if name in _get(params, "AlgorithmSpecification")]
    if len(given) != 1:
        count = len(given)
        yield f"AlgorithmSpecification: {count} of TrainingImage and AlgorithmName given, exactly one is needed"


def _spot(params: Mapping[str, Any]) -> Iterator[str]:
    stopping = _get(params, "StoppingCondition")
    run, wait = stopping.get("MaxRuntimeInSeconds"), stopping.get("MaxWaitTimeInSeconds")
    spot = bool(params.get("EnableManagedSpotTraining"))
    if spot and wait is None:
        yield "StoppingCondition.MaxWaitTimeInSeconds: missing; spot training (EnableManagedSpotTraining) needs it"
    if not spot and wait is not None:
        yield f"StoppingCondition.MaxWaitTimeInSeconds: {wait} given, but only with EnableManagedSpotTraining"
    if isinstance(run, int) and isinstance(wait, int) and wait < run:
        yield f"StoppingCondition.MaxWaitTimeInSeconds: {wait} must be at least MaxRuntimeInSeconds, {run}"
    if spot and _get(params, "ResourceConfig").get("KeepAlivePeriodInSeconds"):
        yield "ResourceConfig.KeepAlivePeriodInSeconds: a warm pool cannot be used with EnableManagedSpotTraining"


def _volume_key(params: Mapping[str, Any]) -> Iterator[str]:
    for path in (("ProcessingResources", "ClusterConfig"), ("ResourceConfig",), ("TransformResources",)):
        resources = _get(params, *path)
        instance = str(resources.get("InstanceType", ""))
        if resources.get("VolumeKmsKeyId") and has_local_storage(instance):
            yield (
                f"{'.'.join(path)}.VolumeKmsKeyId: {instance} has local disks, which are encrypted in hardware: no key "
                "can be given"
            )


def _payload(params: Mapping[str, Any]) -> Iterator[str]:
    concurrency, payload = params.get("MaxConcurrentTransforms"), params.get("MaxPayloadInMB")
    if not isinstance(payload, int):
        return
    if payload > _MAX_PAYLOAD_MB:
        yield f"MaxPayloadInMB: {payload} given, the maximum is {_MAX_PAYLOAD_MB}"
    elif isinstance(concurrency, int) and concurrency * payload > _MAX_PAYLOAD_MB:
        yield (
            f"MaxConcurrentTransforms x MaxPayloadInMB: {concurrency} x {payload} = {concurrency * payload}, "
            f"the maximum is {_MAX_PAYLOAD_MB}"
        )


def _batches(params: Mapping[str, Any]) -> Iterator[str]:
    split = _get(params, "TransformInput").get("SplitType", "None")
    if params.get("BatchStrategy") == "MultiRecord" and split == "None":
        yield "BatchStrategy: 'MultiRecord' needs a TransformInput.SplitType: Line, RecordIO or TFRecord"


def _data_processing(params: Mapping[str, Any]) -> Iterator[str]:
    """Require a content type that SageMaker can read where it filters or joins records."""
    processing = _get(params, "DataProcessing")
    if not processing:
        return
    possible = ", ".join(_PROCESSED_TYPES)
    content_type = _get(params, "TransformInput").get("ContentType", "")
    if str(content_type).partition(";")[0].strip() not in _PROCESSED_TYPES:
        yield (
            f"TransformInput.ContentType: {shown(str(content_type))} cannot be filtered or joined (DataProcessing); "
            f"possible are {possible}"
        )
    accept = _get(params, "TransformOutput").get("Accept")
    if processing.get("JoinSource") == "Input" and accept is not None and accept not in _PROCESSED_TYPES:
        yield f"TransformOutput.Accept: {shown(str(accept))} cannot be joined; possible are {possible}"


def _tags(params: Mapping[str, Any]) -> Iterator[str]:
    for index, tag in enumerate(_list(params, "Tags")):
        for part in ("Key", "Value"):
            text = str(tag.get(part, "")) if isinstance(tag, Mapping) else ""
            if not all(is_tag_character(character) for character in text):
                yield (
                    f"Tags[{index}].{part}: {shown(text)} may hold only letters, digits, spaces and "
                    + " ".join(sorted(_TAG_PUNCTUATION))
                )
            if part == "Key" and text.lower().startswith("aws:"):
                yield f"Tags[{index}].Key: {shown(text)} begins with 'aws:', which AWS reserves"


def _get(value: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = value.get(name)
    return found if isinstance(found, list | tuple) else ()


_Rule = Callable[[Mapping[str, Any]], Iterator[str]]
_RULES: Mapping[str, Sequence[_Rule]] = {
    "CreateProcessingJob": (_prefixes, _local_paths, _names, _volume_key, _tags),
    "CreateTrainingJob": (_prefixes, _names, _image, _spot, _volume_key, _tags),
    "CreateTransformJob": (_prefixes, _names, _payload, _batches, _data_processing, _volume_key, _tags),
    "CreateModel": (_names, _tags),
}
