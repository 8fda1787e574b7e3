"""What the lake reads is what was written: bit flips are found, and a power cut leaves the old week or the new."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m5_assets.assets.features import are_computed
from m5_assets.automation.housekeeping import unnamed_files
from m5_assets.readers.known_inputs import Known
from m5_assets.resources import lake as lake_module
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import DamagedFile, Manifest
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import JobSettings
from m5_assets.weeks import Week

WEEK = "2016-05-16"


def _publish(lake: Lake, rows: int, dataset: str = "raw_sales") -> Manifest:
    with lake.staging() as staged:
        table = pa.table({"item_id": [f"ITEM_{row}" for row in range(rows)], "units": list(range(rows))})
        pq.write_table(table, staged / "rows.parquet", compression="zstd")
        (staged / "weights.json").write_text(f'{{"rows": {rows}}}')
        return lake.publish(dataset, WEEK, staged, inputs={}, attributes={"rows": rows})


def _flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("whole", [True, False], ids=["read whole", "read in parts"])
@pytest.mark.parametrize("name", ["rows.parquet", "weights.json"])
def test_every_flipped_bit_of_a_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, whole: bool
) -> None:
    monkeypatch.setattr(lake_module, "_READ_WHOLE", (1 << 20) if whole else 0)
    lake = Lake(root=str(tmp_path))
    file = _publish(lake, 500).named(name)
    assert file is not None
    path, draw = Path(lake.path(file.key)), np.random.default_rng(0)
    for bit in draw.choice(8 * file.bytes, 100, replace=False).tolist():
        _flip(path, bit)
        with pytest.raises(DamagedFile, match="materialize raw_sales, week 2016-05-16 again"):
            lake.open(file)
        _flip(path, bit)
    with lake.open(file) as stream:
        assert stream.read() == path.read_bytes()


def test_a_flipped_bit_of_a_manifest_makes_the_week_missing(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    _publish(lake, 5)
    path, draw = Path(lake.path(f"raw_sales/week={WEEK}/manifest.json")), np.random.default_rng(1)
    whole = lake.find("raw_sales", WEEK)
    for bit in draw.choice(8 * path.stat().st_size, 100, replace=False).tolist():
        _flip(path, bit)
        assert lake.find("raw_sales", WEEK) in (None, whole)  # white space may change without changing the content
        _flip(path, bit)
    assert lake.find("raw_sales", WEEK) == whole


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}'])
def test_an_unreadable_manifest_is_a_missing_one(tmp_path: Path, content: str) -> None:
    lake = Lake(root=str(tmp_path))
    _publish(lake, 5)
    Path(lake.path(f"raw_sales/week={WEEK}/manifest.json")).write_text(content)
    assert lake.find("raw_sales", WEEK) is None
    assert lake.partitions("raw_sales") == ([] if not content else [WEEK])


def test_a_lost_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    file = _publish(lake, 5).files[0]
    Path(lake.path(file.key)).unlink()
    for read in (lambda: lake.open(file), lambda: lake.verify([file])):
        with pytest.raises(DamagedFile, match="it is gone") as problem:
            read()
        assert problem.value.allow_retries is False


class _Disk:
    """What would be left of a folder if the power failed now.

    It keeps the worst that a file system may do: a file's content is there once it was synced, a name once its folder
    was synced after the rename.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.synced: dict[int, bytes] = {}
        self.names: dict[Path, int] = {}
        self.states: list[dict[Path, bytes]] = []
        fsync, replace = os.fsync, Path.replace

        def recorded_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_dir():
                here = {child: child.stat().st_ino for child in path.iterdir() if child.is_file()}
                self.names = {name: node for name, node in self.names.items() if name.parent != path} | here
            else:
                self.synced[path.stat().st_ino] = path.read_bytes()
            self.snap()

        def recorded_replace(source: Path, target: Path) -> Path:
            done = replace(source, target)
            self.snap()
            return done

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(Path, "replace", recorded_replace)

    def snap(self) -> None:
        self.states.append({name: self.synced.get(node, b"") for name, node in self.names.items()})


def test_after_a_power_cut_there_is_the_old_week_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    disk = _Disk(tmp_path / "lake", monkeypatch)
    seen = []
    for rows in (5, 7):
        _publish(lake, rows)
        disk.snap()
        seen.append(len(disk.states))
    assert len(disk.states) > 20
    found = []
    for number, state in enumerate(disk.states):
        after = tmp_path / "after"
        shutil.rmtree(after, ignore_errors=True)
        for name, content in state.items():
            target = after / name.relative_to(tmp_path / "lake")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        restarted = Lake(root=str(after))
        manifest = restarted.find("raw_sales", WEEK)
        if manifest is not None:
            restarted.verify(manifest.files)
        found.append((number, manifest.attributes["rows"] if manifest else None))
    rows_by_state = [rows for _, rows in found]
    assert rows_by_state[seen[0] - 1] == 5  # a publication that has returned outlasts the cut
    assert rows_by_state[-1] == 7
    assert set(rows_by_state[: seen[0]]) <= {None, 5}
    assert set(rows_by_state[seen[0] :]) <= {5, 7}


def test_a_damaged_output_is_neither_reused_nor_taken_for_computed(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    lake.write_bytes(f"features/week={WEEK}/job-1/panel/CA_1.parquet", b"panel")
    attributes = {"image": "an-image", "prefix": f"features/week={WEEK}/job-1"}
    prefix = f"features/week={WEEK}/job-1"
    manifest = lake.commit(lake.collect("features", WEEK, prefix, inputs={"raw_sales": "x"}, attributes=attributes))
    jobs = SageMakerJobs(home=str(tmp_path), lake=lake, job_settings=JobSettings())
    known = Known(Week.parse(WEEK), [], [], manifest, manifest, {"raw_sales": "x"})
    assert jobs._is_intact(prefix)
    assert are_computed(lake, known, "an-image")
    _flip(Path(lake.path(manifest.files[0].key)), 3)
    assert not jobs._is_intact(prefix)
    assert not are_computed(lake, known, "an-image")
    assert jobs._is_intact(f"features/week={WEEK}/job-2") is False  # nothing was written there


def test_files_that_a_damaged_manifest_may_name_are_not_removed(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    file = _publish(lake, 5).files[0]
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=9)
    lake.write_bytes(f"raw_sales/week={WEEK}/failed/rows.parquet", b"of a failed attempt")
    assert [removal.name for removal in unnamed_files(lake, ["raw_sales"], later)] == [
        f"raw_sales/week={WEEK}/failed/rows.parquet"
    ]
    for content in (b"", b"{ half"):
        Path(lake.path(f"raw_sales/week={WEEK}/manifest.json")).write_bytes(content)
        assert list(unnamed_files(lake, ["raw_sales"], later)) == []
    assert Path(lake.path(file.key)).exists()
