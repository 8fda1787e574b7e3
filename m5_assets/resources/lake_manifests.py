"""What a partition of the lake consists of, and what may be wrong with it; `lake` reads and writes it."""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import dagster as dg


class DamagedFile(dg.Failure):
    """A file of the lake is not what its manifest says. Permanent: a retry cannot help."""

    def __init__(self, file: LakeFile, found: str) -> None:
        dataset, _, rest = file.key.partition("/")
        week = rest.partition("/")[0].removeprefix("week=") if rest.startswith("week=") else None
        whose = f"{dataset}, week {week}" if week else dataset
        super().__init__(
            description=f"{file.key} in the lake is damaged: {found}, its manifest says {file.bytes} bytes with "
            f"SHA-256 {file.sha256}; restore the file from a backup, or materialize {whose} again",
            allow_retries=False,
        )


class ChangedMeanwhile(dg.Failure):
    """Another process replaced a partition while this one was building it. A retry builds on what is there now."""

    def __init__(self, dataset: str, partition: str | None) -> None:
        name = f"{dataset}, week {partition}," if partition else dataset
        super().__init__(
            description=f"{name} was replaced by another process while this one was building it, and keeps what that "
            "one wrote; if two orchestrators use this lake, stop one, then materialize it again"
        )


class MissingInput(dg.Failure):
    """A partition that an asset reads does not exist; not retried, because a retry cannot help."""

    def __init__(self, dataset: str, partition: str | None, remedy: str) -> None:
        name = f"{dataset}, week {partition}," if partition else dataset
        super().__init__(description=f"{name} is not in the lake; {remedy}", allow_retries=False)


@dataclass(frozen=True)
class LakeFile:
    """A file of a partition: its key relative to the lake's root, its size and its SHA-256."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a partition.

    Attributes:
        dataset: the asset's name.
        partition: the week's key; None for a dataset without partitions.
        files: the current files, sorted by key.
        inputs: each input's name and the digest of what was read.
        attributes: facts that readers need, as JSON values (origin, rows, trained through, ...).
    """

    dataset: str
    partition: str | None
    files: tuple[LakeFile, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The content hash: SHA-256 over the files' names and hashes."""
        text = "\n".join(f"{Path(f.key).name} {f.sha256}" for f in self.files)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """The total size of all files in bytes."""
        return sum(f.bytes for f in self.files)

    def named(self, name: str) -> LakeFile | None:
        """Return the file with this name, or None if the partition does not have it."""
        return next((f for f in self.files if Path(f.key).name == name), None)

    def under(self, folder: str) -> list[LakeFile]:
        """Return the files in this subfolder of the partition's version."""
        return [f for f in self.files if f"/{folder}/" in f.key]

    def to_json(self) -> builtins.bytes:
        """Return the content of manifest.json, with a checksum."""
        content = asdict(self) | {"files": [asdict(f) for f in self.files]}
        content["checksum"] = _checksum(content)
        return json.dumps(content, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: builtins.bytes) -> Self:
        """Return the manifest in the content of manifest.json; those of earlier versions have no checksum.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: the content is not what was written.
        """
        content = json.loads(text)
        written = content.pop("checksum", None)
        if written is not None and written != _checksum(content):
            raise ValueError("its checksum does not match its content")
        files = tuple(LakeFile(**entry) for entry in content.pop("files"))
        return cls(files=files, **content)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
