"""What a command says of a run while it runs: from the real event log of a small job."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from m5_assets.cli.run_display import duration
from m5_assets.cli.run_progress import Line, RunProgress, usual_seconds

TRIED: list[str] = []


@dg.asset
def sales(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    context.log.info(" 50%  reading the first half  (1 s, about 1 s left)")
    context.log.warning("3 items have left")
    return dg.MaterializeResult(metadata={"dagster/row_count": 1234})


@dg.asset(deps=[sales], retry_policy=dg.RetryPolicy(max_retries=1))
def model() -> dg.MaterializeResult[Any]:
    TRIED.append("model")
    if len(TRIED) == 1:
        raise ConnectionError("the database restarts")
    return dg.MaterializeResult(metadata={"trained": True, "why_trained": "no earlier week has a model"})


@dg.asset(deps=[model])
def broken() -> None:
    raise ValueError("no such file")


@dg.asset(deps=[broken])
def never() -> None:
    """Not reached."""


@dg.asset_check(asset=sales)
def plausible() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="7 of 6")


@dg.asset_check(asset=sales)
def complete() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture(scope="module")
def ran() -> Iterator[tuple[RunProgress, list[Line], dg.DagsterInstance, str]]:
    defs = dg.Definitions(
        assets=[sales, model, broken, never],
        asset_checks=[plausible, complete],
        executor=dg.in_process_executor,
        jobs=[dg.define_asset_job("week"), dg.define_asset_job("sales_only", selection=["sales"])],
    )
    TRIED.clear()
    with dg.instance_for_test() as instance:
        defs.resolve_job_def("sales_only").execute_in_process(instance=instance)
        result = defs.resolve_job_def("week").execute_in_process(instance=instance, raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.execution_plan_snapshot_id is not None
        plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
        progress = RunProgress([*plan.step_keys_to_execute])
        entries = [record.event_log_entry for record in instance.get_records_for_run(run.run_id).records]
        yield progress, [line for entry in entries for line in progress.take([entry])], instance, run.run_id


def test_each_thing_that_happened_is_one_line(ran: tuple[RunProgress, list[Line], dg.DagsterInstance, str]) -> None:
    progress, lines, _, _ = ran
    said = {(line.kind, line.name): line.text for line in lines}
    assert said["done", "sales"] == "1,234 rows"
    assert said["done", "model"] == "trained: no earlier week has a model"
    assert ("warning", "sales") in said
    assert "the database restarts" in said["again", "model"]
    assert ("failed", "broken") in said
    assert {name for _, name in said} == {"sales", "model", "broken"}
    assert "plausible: 7 of 6" in [line.text for line in lines if line.kind == "warning"]
    assert "3 items have left" in [line.text for line in lines if line.kind == "warning"]
    assert (progress.rows, progress.checks, progress.warnings, progress.errors) == (1234, 2, 1, 0)


def test_what_is_left_is_what_a_failure_holds_back(
    ran: tuple[RunProgress, list[Line], dg.DagsterInstance, str],
) -> None:
    progress, _, _, _ = ran
    assert progress.waiting == ["never"]
    assert not progress.running
    assert progress.share(0.0) == pytest.approx(5 / 6)  # no step has a usual time: they count alike
    assert progress.seconds_left(0.0) is None  # with no earlier run there is nothing to compare with


def test_the_share_follows_what_steps_usually_take(
    ran: tuple[RunProgress, list[Line], dg.DagsterInstance, str],
) -> None:
    _, _, instance, run_id = ran
    usual, whole = usual_seconds(instance, "sales_only")
    assert "sales" in usual
    assert whole > 0
    assert usual_seconds(instance, "week") == ({}, 0.0)  # it failed
    checks = dict.fromkeys(("sales_complete", "sales_plausible"), 0.0)
    progress = RunProgress(
        ["sales", *checks, "model", "broken"], {"sales": 10.0, "model": 70.0, "broken": 20.0, **checks}
    )
    entries = [record.event_log_entry for record in instance.get_records_for_run(run_id).records]
    shares = []
    for entry in entries:
        [*progress.take([entry])]
        if entry.step_key in ("sales", "model") and entry.dagster_event and entry.dagster_event.is_step_success:
            shares.append(progress.share(entry.timestamp))
    assert shares == [pytest.approx(0.1), pytest.approx(0.8)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.99, "10.0 s"), (41.2, "41 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (3725, "1 h 2 min")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text
