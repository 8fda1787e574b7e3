"""Runs the checks, one step per asset that reads each week once, and records one evaluation per check and week.

Dagster 1.13 records the checks of a run over a range of weeks without a partition and leaves the weeks' own evaluations
planned forever (shown as skipped). So in such a run every week also gets an event of its own, next to the run's result,
which summarizes them. Single-week runs do not need this. The public API, `report_runless_asset_event`, does not work
here: its second event for the same check and week violates a unique index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import dagster as dg

import m5_assets.assets  # noqa: F401  # first, because it silences Dagster's beta and preview warnings
from m5_assets.dagster_internals import PartitionKeyFilter
from m5_assets.partitions import WEEKS
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week

_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        passed: whether the check passed.
        text: a sentence with the deciding figures; for a failure, what is wrong and where.
        figures: the same figures as metadata.
    """

    passed: bool
    text: str
    figures: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check of one asset.

    Attributes:
        name: unique within its asset.
        description: what the check asserts.
        blocking: whether a failure stops everything downstream for the week; otherwise it is a warning.
        limits: the fields of `CheckLimitFields` that set its limits, which a failed finding names; none for a check
            that compares exactly.
        remedy: what to do about a failure of a check without limits.
    """

    name: str
    description: str
    blocking: bool = False
    limits: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """The severity of a failure."""
        return dg.AssetCheckSeverity.ERROR if self.blocking else dg.AssetCheckSeverity.WARN

    def text(self, finding: Finding) -> str:
        """Return what is recorded of a finding: for a failure, with the remedy."""
        return finding.text if finding.passed or not self.remedy else f"{finding.text}; {self.remedy}"


_DID_NOT_APPLY = Finding(True, "did not apply")

Findings: TypeAlias = Mapping[str, Finding]
"""Findings by check name; a missing check did not apply."""
Examiner: TypeAlias = Callable[[Week], Findings]
"""Examines one week of an asset; may cache what later weeks of the same run need again."""


def unreadable(checks: Sequence[Check], problem: object) -> Findings:
    """Return failed findings for all checks of a table that cannot be read as expected."""
    return {check.name: Finding(False, str(problem)) for check in checks}


def weekly_checks(
    asset: str,
    checks: Sequence[Check],
    examiner: Callable[..., Examiner],
    resources: Sequence[str] = ("lake",),
    dataset: str | None = None,
) -> dg.AssetChecksDefinition:
    """Return the checks of a weekly asset as one step.

    Args:
        asset: the asset's name.
        checks: the checks.
        examiner: takes the resources by name and returns a function that examines one week.
        resources: names of the resources it takes; must include `lake`.
        dataset: the lake's dataset whose weeks a range is limited to; by default the asset's own.
    """
    key = dg.AssetKey(asset)
    specs = [_spec(key, check, WEEKS) for check in checks]

    @dg.multi_asset_check(name=_op_name(key), specs=specs, required_resource_keys=set(resources), can_subset=True)
    def examine(context: dg.AssetCheckExecutionContext) -> Any:
        found = _examine_weeks(context, dataset or asset, examiner, resources)
        ranged = not context.has_partition_key
        for check in _selected(context, key, checks):
            findings = {week: found[week].get(check.name, _DID_NOT_APPLY) for week in found}
            if ranged:
                for week, finding in findings.items():
                    _report(
                        context.instance, context.op_execution_context.run_id, _evaluation(key, check, week, finding)
                    )
            yield _result(key, check, _summed(findings))

    return examine


def whole_checks(
    asset: str,
    checks: Sequence[Check],
    examine_all: Callable[..., Findings],
    resources: Sequence[str] = ("lake",),
) -> dg.AssetChecksDefinition:
    """Return the checks of an unpartitioned asset as one step; `examine_all` takes the resources by name."""
    key = dg.AssetKey(asset)

    specs = [_spec(key, check, None) for check in checks]

    @dg.multi_asset_check(name=_op_name(key), specs=specs, required_resource_keys=set(resources), can_subset=True)
    def examine(context: dg.AssetCheckExecutionContext) -> Any:
        findings = examine_all(**_resources(context, resources))
        for check in _selected(context, key, checks):
            yield _result(key, check, findings.get(check.name, _DID_NOT_APPLY))

    return examine


def record_again(instance: dg.DagsterInstance, asset: str, check: Check, week: Week, finding: Finding) -> None:
    """Replace a week's latest evaluation of a check with a new finding, outside of a run.

    Does nothing if the check was never evaluated for the week.
    """
    key = dg.AssetCheckKey(dg.AssetKey(asset), check.name)
    history = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, partition_filter=PartitionKeyFilter(key=week.key)
    )
    if history:
        _report(instance, history[0].run_id, _evaluation(key.asset_key, check, week, finding))


def _report(instance: dg.DagsterInstance, run_id: str, evaluation: dg.AssetCheckEvaluation) -> None:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = dg.DagsterEvent(kind, job_name="", event_specific_data=evaluation)
    instance.report_dagster_event(event, run_id=run_id)


def _examine_weeks(
    context: dg.AssetCheckExecutionContext, dataset: str, examiner: Callable[..., Examiner], names: Sequence[str]
) -> dict[Week, Findings]:
    given = _resources(context, names)
    weeks = [Week.parse(partition) for partition in context.partition_keys]
    if len(weeks) > 1:  # a range may include weeks before the first landed one, which do not exist
        lake: Lake = given["lake"]
        present = set(lake.partitions(dataset))
        weeks = [week for week in weeks if week.key in present]
    examine_week = examiner(**given)
    found = {}
    for number, week in enumerate(weeks, start=1):
        found[week] = examine_week(week)
        if number % 50 == 0:
            context.log.info(f"{number} of {len(weeks)} weeks examined")
    return found


def _resources(context: dg.AssetCheckExecutionContext, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(context.op_execution_context.resources, name) for name in names}


def _selected(context: dg.AssetCheckExecutionContext, key: dg.AssetKey, checks: Sequence[Check]) -> list[Check]:
    """Return the checks of the run: all of the asset's, or those that someone executes alone."""
    selected = context.selected_asset_check_keys
    return [check for check in checks if dg.AssetCheckKey(key, check.name) in selected]


def _op_name(key: dg.AssetKey) -> str:
    return "_".join(key.path) + "_checks"


def _spec(key: dg.AssetKey, check: Check, weeks: dg.PartitionsDefinition[Any] | None) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check.name, asset=key, description=check.description, blocking=check.blocking, partitions_def=weeks
    )


def _summed(findings: Mapping[Week, Finding]) -> Finding:
    if len(findings) == 1:
        return next(iter(findings.values()))
    failed = {week: finding for week, finding in findings.items() if not finding.passed}
    figures = {"weeks": len(findings), "weeks_failed": len(failed)}
    if not failed:
        return Finding(True, f"passed for {len(findings)} weeks", figures)
    named = [f"{week}: {finding.text}" for week, finding in list(failed.items())[:_NAMED]]
    if len(failed) > _NAMED:
        named.append(f"and {len(failed) - _NAMED} more")
    return Finding(False, "\n    ".join([f"failed for {len(failed)} of {len(findings)} weeks:", *named]), figures)


def _metadata(finding: Finding) -> dict[str, Any]:
    return {"finding": finding.text, **finding.figures}


def _result(key: dg.AssetKey, check: Check, finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check.name,
        passed=finding.passed,
        severity=check.severity,
        description=check.text(finding),
        metadata=_metadata(finding),
    )


def _evaluation(key: dg.AssetKey, check: Check, week: Week, finding: Finding) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check.name,
        passed=finding.passed,
        severity=check.severity,
        description=check.text(finding),
        metadata={name: dg.MetadataValue.text(str(value)) for name, value in _metadata(finding).items()},
        blocking=check.blocking,
        partition=week.key,
    )
