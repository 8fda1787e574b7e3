"""What is deleted and what is kept: old features and predictions, unreferenced files, Dagster's old runs.

Nothing that a current forecast needs is deleted: a model's archive stays while any week refers to it, features and
predictions of the newest forecast stay whatever their age, and a week's predictions stay until it is scored.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import dagster as dg
import pyarrow.fs as pafs

from m5_assets.automation.due_weeks import FORECAST
from m5_assets.automation.run_statuses import FINISHED
from m5_assets.model_specs import PREDICTIONS
from m5_assets.resources.lake import Lake
from m5_assets.settings import RetentionFields

log = logging.getLogger("m5.housekeeping")

_MANIFEST = "manifest.json"
_STAGING = ".staging-"


@dataclass(frozen=True)
class Removal:
    """One thing to delete.

    Attributes:
        kind: "old week", "unnamed file", "old run" or "old log".
        name: a key relative to the lake's root, a run id, or a path.
        bytes: its size; 0 for a run, whose rows are not counted.
    """

    kind: str
    name: str
    bytes: int = 0


def weeks_kept(lake: Lake, dataset: str, count: int) -> set[str]:
    """Return the weeks of a dataset to keep: the newest ones, the newest forecast, and those not yet scored."""
    weeks, forecasts = lake.partitions(dataset), lake.partitions(FORECAST)
    kept = {*weeks[-count:], *forecasts[-1:]}
    return kept | ({*forecasts} - {*lake.partitions("forecast_accuracy")} if dataset in PREDICTIONS else set())


def old_weeks(lake: Lake, source: RetentionFields) -> Iterator[Removal]:
    """Yield the files of feature and prediction weeks that are not kept; the manifest of each week comes first."""
    counts = {"features": source.features_weeks, **dict.fromkeys(PREDICTIONS, source.predictions_weeks)}
    for dataset, count in counts.items():
        kept = weeks_kept(lake, dataset, count)
        for week in lake.partitions(dataset):
            if week not in kept:
                # With the manifest gone, a reader sees no week rather than half of one.
                files = _files(lake, lake.folder(dataset, week))
                for info in sorted(files, key=lambda i: i.base_name != _MANIFEST):
                    yield Removal("old week", _key(lake, info), info.size)


def unnamed_files(lake: Lake, datasets: Sequence[str], older_than: dt.datetime) -> Iterator[Removal]:
    """Yield files of failed attempts: named by no manifest of their dataset and written before `older_than`.

    A model's archive is stored in the week it was trained in; the weeks that carry it forward name it too.
    """
    for dataset in datasets:
        manifests = [m for m in (lake.find(dataset, week) for week in (None, *lake.partitions(dataset))) if m]
        named = {file.key for manifest in manifests for file in manifest.files}
        files = list(_files(lake, dataset))
        if sum(info.base_name == _MANIFEST for info in files) != len(manifests):
            log.warning("a manifest of %s cannot be read: none of its files is removed, for it may name them", dataset)
            continue
        for info in files:
            key = _key(lake, info)
            lists_inputs = "/inputs/" in key and key.endswith(".manifest")
            if key in named or info.base_name == _MANIFEST or lists_inputs or info.mtime > older_than:
                continue
            yield Removal("unnamed file", key, info.size)


def left_staging(lake: Lake, older_than: dt.datetime) -> Iterator[Removal]:
    """Yield files that killed processes left in the lake's staging folders."""
    for info in lake.filesystem.get_file_info(pafs.FileSelector(lake.path("").rstrip("/"), allow_not_found=True)):
        if info.base_name.startswith(_STAGING) and info.mtime <= older_than:
            yield from (Removal("unnamed file", _key(lake, i), i.size) for i in _files(lake, _key(lake, info)))


def old_runs(instance: dg.DagsterInstance, older_than: dt.datetime) -> Iterator[Removal]:
    """Yield Dagster's runs that ended before `older_than`; deleting one also deletes its events and logs."""
    ended = dg.RunsFilter(statuses=FINISHED, updated_before=older_than)
    yield from (Removal("old run", record.dagster_run.run_id) for record in instance.get_run_records(ended))


def logs_folder(instance: dg.DagsterInstance) -> Path:
    """Return the folder of what was printed during the runs that commands started, one file per command."""
    return Path(instance.root_directory) / "logs"


def old_logs(instance: dg.DagsterInstance, older_than: dt.datetime) -> Iterator[Removal]:
    """Yield the logs of commands that ended before `older_than`."""
    for file in sorted(logs_folder(instance).glob("*.log")):
        found = file.stat()
        if found.st_mtime <= older_than.timestamp():
            yield Removal("old log", str(file), found.st_size)


def plan(lake: Lake, instance: dg.DagsterInstance, source: RetentionFields, now: dt.datetime) -> list[Removal]:
    """Return everything to delete now."""
    files_before = now - dt.timedelta(hours=source.files_hours)
    old = list(old_weeks(lake, source))
    gone = {removal.name for removal in old}
    unnamed = [*unnamed_files(lake, datasets(lake), files_before), *left_staging(lake, files_before)]
    runs_before = now - dt.timedelta(days=source.runs_days)
    runs = [*old_runs(instance, runs_before), *old_logs(instance, runs_before)]
    return [*old, *(removal for removal in unnamed if removal.name not in gone), *runs]


def datasets(lake: Lake) -> list[str]:
    """Return the lake's datasets: folders with a manifest of their own or of one of their weeks."""
    found = lake.filesystem.get_file_info(pafs.FileSelector(lake.path("").rstrip("/"), allow_not_found=True))
    names = sorted(i.base_name for i in found if i.type == pafs.FileType.Directory and not i.base_name.startswith("."))
    return [name for name in names if lake.partitions(name) or lake.find(name) is not None]


def carry_out(removals: Iterable[Removal], lake: Lake, instance: dg.DagsterInstance) -> None:
    """Delete; ignore what is already gone."""
    for number, removal in enumerate(removals, start=1):
        if removal.kind == "old run":
            instance.compute_log_manager.delete_logs(prefix=[removal.name])
            instance.delete_run(removal.name)
        elif removal.kind == "old log":
            Path(removal.name).unlink(missing_ok=True)
        else:
            _delete(lake, removal.name)
        if number % 1000 == 0:
            log.info("%s files and runs deleted", f"{number:,}")


def summary(removals: Sequence[Removal]) -> list[str]:
    """Return one line per kind and dataset with count and size."""
    groups: dict[tuple[str, str], list[int]] = {}
    for removal in removals:
        name = "Dagster's storage" if removal.kind in ("old run", "old log") else removal.name.split("/")[0]
        groups.setdefault((removal.kind, name), []).append(removal.bytes)
    return [
        f"{kind:<14}{name:<22}{len(sizes):>8,}{sum(sizes) / 1e6:>12,.1f} MB" for (kind, name), sizes in groups.items()
    ] or ["nothing to delete"]


def _files(lake: Lake, folder: str) -> list[pafs.FileInfo]:
    selector = pafs.FileSelector(lake.path(folder), allow_not_found=True, recursive=True)
    return [info for info in lake.filesystem.get_file_info(selector) if info.type == pafs.FileType.File]


def _key(lake: Lake, info: pafs.FileInfo) -> str:
    return str(info.path).removeprefix(lake.path(""))


def _delete(lake: Lake, key: str) -> None:
    try:
        lake.filesystem.delete_file(lake.path(key))
    except FileNotFoundError:
        return
    if isinstance(lake.filesystem, pafs.LocalFileSystem):
        _remove_empty_folders(lake, PurePosixPath(key).parent)


def _remove_empty_folders(lake: Lake, folder: PurePosixPath) -> None:
    """Delete a folder and its parents while they are empty; the dataset's own folder stays."""
    while len(folder.parts) > 1 and not lake.filesystem.get_file_info(pafs.FileSelector(lake.path(str(folder)))):
        lake.filesystem.delete_dir(lake.path(str(folder)))
        folder = folder.parent
