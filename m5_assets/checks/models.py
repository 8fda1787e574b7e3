"""Checks of the models in force: in the lake, trained on nothing after the week's origin, and not too old."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.model_specs import MODELS
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import LakeFile
from m5_assets.resources.limits import CheckLimits
from m5_assets.settings import Limit
from m5_assets.weeks import Week

_TRAIN_AGAIN = "run `m5 backfill --again` for this week"
CHECKS = (
    Check(
        "archive_in_place",
        "The model's archive is in the lake and has the size in the manifest.",
        blocking=True,
        remedy=_TRAIN_AGAIN,
    ),
    Check(
        "trained_on_the_past",
        "The model was trained on nothing after the week's origin.",
        blocking=True,
        remedy=_TRAIN_AGAIN,
    ),
    Check("age", "The model was trained at most M5_CHECKS_MODEL_AGE_WEEKS weeks before.", limits=("model_age_weeks",)),
)


def archive_in_place(file: LakeFile | None, found_bytes: int | None) -> Finding:
    """Compare an archive's size with the manifest."""
    if file is None:
        return Finding(False, "the manifest lists no model.tar.gz")
    text = f"{file.key}: {found_bytes} bytes, {file.bytes} in the manifest"
    return Finding(found_bytes == file.bytes, text if found_bytes is not None else f"{file.key} is not in the lake")


def trained_on_the_past(week: Week, trained_week: Week, trained_through: dt.date) -> Finding:
    """Check that the model was trained through its training week's origin and no later than this week's."""
    passed = trained_week <= week and trained_through <= week.origin and trained_through == trained_week.origin
    text = f"trained in week {trained_week} through {trained_through}; the origin is {week.origin}"
    return Finding(passed, text, {"trained_through": trained_through.isoformat()})


def age(week: Week, trained_week: Week, limit: Limit) -> Finding:
    """Check that the training was at most `limit` weeks ago."""
    weeks = (week.first_day - trained_week.first_day).days // 7
    text = f"trained {weeks} weeks before this one, in week {trained_week}; up to {limit.value:g} passes ({limit})"
    return Finding(weeks <= limit.value, text, {"age_weeks": weeks, "limit_weeks": limit.value})


def examiner(dataset: str) -> Callable[[Lake, CheckLimits], Examiner]:
    """Return the factory of this model's examiner."""

    def of(lake: Lake, limits: CheckLimits) -> Examiner:
        def examine(week: Week) -> Findings:
            manifest = lake.get(dataset, week.key)
            file = next((f for f in manifest.files if f.key.endswith("model.tar.gz")), None)
            found = lake.filesystem.get_file_info(lake.path(file.key)).size if file else None
            trained = Week.parse(manifest.attributes["trained_week"])
            through = dt.date.fromisoformat(manifest.attributes["trained_through"])
            return {
                "archive_in_place": archive_in_place(file, found),
                "trained_on_the_past": trained_on_the_past(week, trained, through),
                "age": age(week, trained, limits.limit("model_age_weeks")),
            }

        return examine

    return of


MODEL_CHECKS = [weekly_checks(spec.model, CHECKS, examiner(spec.model), ("lake", "limits")) for spec in MODELS]
