"""Hostile and damaged archives: each is refused with its reason, and nothing is left of it."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster_sagemaker.artifacts import UnsafeArtifact, unpack_model
from hypothesis import given, settings
from hypothesis import strategies as st


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write_archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sparse_archive(path: Path) -> Path:
    """A GNU sparse file that claims a terabyte and holds nothing."""
    info, _ = member("huge.bin")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")  # the real size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header[:512])
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "absolute name": (lambda p: write_archive(p, member("/etc/cron.d/x", b"x")), "leads out"),
    "parent": (lambda p: write_archive(p, member("../x", b"x")), "leads out"),
    "hidden parent": (lambda p: write_archive(p, member("a/../../x", b"x")), "leads out"),
    "symbolic link": (
        lambda p: write_archive(p, member("w", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "w is a link",
    ),
    "link within, then a file through it": (
        lambda p: write_archive(p, member("d", type=tarfile.SYMTYPE, linkname=".."), member("d/x", b"x")),
        "d is a link",
    ),
    "hard link": (lambda p: write_archive(p, member("w", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "w is a link"),
    "device": (lambda p: write_archive(p, member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)), "device"),
    "named pipe": (lambda p: write_archive(p, member("pipe", type=tarfile.FIFOTYPE)), "link, a device"),
    "sparse bomb": (sparse_archive, "sparse file"),
    "bomb of zeros": (lambda p: write_archive(p, member("zeros", bytes(2_000_001))), "larger than 2,000,000 bytes"),
    "bomb in parts": (
        lambda p: write_archive(p, *(member(f"part{i}", bytes(500_000)) for i in range(5))),
        "part4 makes its files larger",
    ),
    "the same name twice": (lambda p: write_archive(p, member("w", b"1"), member("w", b"2")), "cannot be unpacked"),
    "nothing": (lambda p: write_archive(p), "holds no files"),
    "bomb in an extended header": (
        lambda p: write_archive(p, member("w", b"1", pax_headers={"comment": "0" * (33 << 20)})),
        "are no file's content",
    ),
    "no archive": (lambda p: write_bytes(p, b"PK\x03\x04 zip"), "no tar.gz"),
    "empty file": (lambda p: write_bytes(p, b""), "no tar.gz"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    folder = tmp_path / "jail" / "model"
    folder.mkdir(parents=True)
    with pytest.raises(UnsafeArtifact, match=reason) as caught:
        unpack_model(make(tmp_path / "model.tar.gz"), folder, max_bytes=2_000_000)
    assert "model.tar.gz" in str(caught.value)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "jail",
        "jail/model",
        "model.tar.gz",
    ]


def test_a_model_is_unpacked_whole_with_plain_permissions(tmp_path: Path) -> None:
    executable = member("code/run.sh", b"#!/bin/sh", mode=0o4777)
    archive = write_archive(tmp_path / "a.tar.gz", member("./weights.pt", b"w" * 3_000_000), executable)
    unpack_model(archive, tmp_path / "model")
    assert (tmp_path / "model/weights.pt").read_bytes() == b"w" * 3_000_000
    assert (tmp_path / "model/code/run.sh").stat().st_mode & 0o7111 == 0


def test_an_old_file_of_the_same_name_is_replaced_and_a_refused_archive_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    unpack_model(write_archive(tmp_path / "a.tar.gz", member("w", b"1")), folder)
    with pytest.raises(UnsafeArtifact):
        unpack_model(write_archive(tmp_path / "b.tar.gz", member("w", b"3"), member("../x", b"")), folder)
    assert (folder / "w").read_bytes() == b"1"
    unpack_model(write_archive(tmp_path / "c.tar.gz", member("w", b"2")), folder)
    assert (folder / "w").read_bytes() == b"2"


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_archive_is_a_clear_failure_wherever_it_ends(
    cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")
    content = bytes(range(256)) * 40
    whole = write_archive(tmp_path / "whole.tar.gz", member("a", content), member("b", content[::-1])).read_bytes()
    broken = tmp_path / "model.tar.gz"
    broken.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(UnsafeArtifact, match="damaged"):
        unpack_model(broken, tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 0.999), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(
    place: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("flip")
    content = bytes(range(256)) * 40
    changed = bytearray(write_archive(tmp_path / "whole.tar.gz", member("a", content)).read_bytes())
    changed[int(place * len(changed))] ^= flip
    broken = tmp_path / "model.tar.gz"
    broken.write_bytes(changed)
    try:
        unpack_model(broken, tmp_path / "model")
    except UnsafeArtifact:
        assert list((tmp_path / "model").iterdir()) == []
    else:  # gzip's header holds bytes without a meaning, such as the time
        assert (tmp_path / "model/a").read_bytes() == content
