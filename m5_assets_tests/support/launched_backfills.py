"""Preview and launch backfills as Dagster's UI does, and record which runs Dagster's daemons make of them.

The code location, the instance's configuration, GraphQL and both daemons are the real ones. Only the run launcher is
another: a run executes nothing, and succeeds when the test says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import dagster as dg
import httpx
import yaml
from dagster_webserver.app import create_app_from_workspace_process_context

from m5_assets.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    LaunchRunContext,
    WorkspaceProcessContext,
)
from m5_assets.definitions import defs
from m5_assets.weeks import Week, weeks_between
from m5_assets_tests.support.dagster_internals import (
    BulkActionStatus,
    ConfigurableClass,
    ConfigurableClassData,
    InProcessCodeLocationOrigin,
    InProcessWorkspaceLoadTarget,
    LoadableTargetOrigin,
    QueuedRunCoordinatorDaemon,
    RunLauncher,
    StepMaterializationData,
    execute_backfill_iteration,
)
from m5_assets_tests.support.dashboard_pages import served

ROOT = Path(__file__).parents[2]
LOCATION = {"repositoryLocationName": "m5_assets", "repositoryName": "__repository__"}
PREVIEW = """
query($p: AssetBackfillPreviewParams!) {
  assetBackfillPreview(params: $p) { assetKey { path } partitions { ranges { start end } partitionKeys } } }"""
LAUNCH = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message } } }"""
_STATUSES = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_LOG = logging.getLogger("m5.test")


class NotingLauncher(RunLauncher, ConfigurableClass):
    """Launches nothing: the run stays in the state STARTING."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Do nothing."""

    def terminate(self, run_id: str) -> bool:
        return False


@dataclass(frozen=True)
class Launched:
    """A run that Dagster started: its assets and its weeks, oldest first; no weeks for tables without them."""

    assets: frozenset[str]
    weeks: tuple[str, ...]


Plan = Mapping[str, Sequence[str]]
"""The weeks of each asset; empty for an asset without weeks."""


@dataclass
class Orchestrator:
    """A webserver and both daemons over one instance, moved by the test."""

    instance: dg.DagsterInstance
    context: WorkspaceProcessContext
    client: httpx.Client
    queue: QueuedRunCoordinatorDaemon = field(default_factory=lambda: QueuedRunCoordinatorDaemon(interval_seconds=1))

    def ask(self, query: str, variables: Mapping[str, Any]) -> Any:
        """Send a GraphQL request and return the single field of its response."""
        said = self.client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in said, said
        (found,) = said["data"].values()
        return found

    def preview(self, assets: Sequence[str], weeks: Sequence[str]) -> Plan:
        """Return what the dialogue announces before a backfill is launched."""
        found = self.ask(PREVIEW, {"p": {"assetSelection": _keys(assets), "partitionNames": weeks}})
        return {"/".join(each["assetKey"]["path"]): _weeks_of(each["partitions"]) for each in found}

    def launch(self, assets: Sequence[str], weeks: Sequence[str]) -> str:
        """Launch a backfill from the asset graph and return its id."""
        return self._launch({"assetSelection": _keys(assets), "partitionNames": weeks})

    def launch_job(self, job: str, weeks: Sequence[str]) -> str:
        """Launch a backfill from a job's page and return its id."""
        selector = {"repositorySelector": LOCATION, "partitionSetName": f"{job}_partition_set"}
        return self._launch({"selector": selector, "partitionNames": weeks})

    def _launch(self, params: Mapping[str, Any]) -> str:
        said = self.ask(LAUNCH, {"p": params})
        assert said["__typename"] == "LaunchBackfillSuccess", said
        return str(said["backfillId"])

    def target(self, backfill_id: str) -> Plan:
        """Return what a launched backfill will materialize, and cancel it."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        assert backfill.asset_backfill_data is not None
        self.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))  # type: ignore[no-untyped-call]
        chosen = backfill.asset_backfill_data.target_subset
        weekly = chosen.partitions_subsets_by_asset_key.items()
        whole: dict[str, list[str]] = {key.to_user_string(): [] for key in chosen.non_partitioned_asset_keys}
        return whole | {key.to_user_string(): sorted(weeks.get_partition_keys()) for key, weeks in weekly}

    def carry_out(self, backfill_id: str) -> list[Launched]:
        """Let the daemons carry a backfill out, and return its runs in the order in which they started.

        Every run succeeds; one at a time is asserted.
        """
        started: list[Launched] = []
        while True:
            assert not [problem for problem in execute_backfill_iteration(self.context, _LOG) if problem]
            assert not [problem for problem in self.queue.run_iteration(self.context) if problem]
            running = self.instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}, statuses=_STATUSES))
            backfill = self.instance.get_backfill(backfill_id)
            assert backfill is not None
            if not running and backfill.status != BulkActionStatus.REQUESTED:
                assert backfill.status == BulkActionStatus.COMPLETED_SUCCESS, backfill.error
                return started
            assert len(running) <= 1, [run.tags for run in running]
            for run in running:
                started.append(_launched(run))
                self._succeed(run, started[-1])

    def _succeed(self, run: dg.DagsterRun, launched: Launched) -> None:
        graph = defs.resolve_asset_graph()
        for name in launched.assets:
            key = dg.AssetKey(name.split("/"))
            weeks = launched.weeks if graph.get(key).is_partitioned else (None,)
            for week in weeks:
                self._report(
                    run, dg.DagsterEventType.ASSET_MATERIALIZATION, dg.AssetMaterialization(key, partition=week)
                )
        self._report(run, dg.DagsterEventType.RUN_SUCCESS)

    def _report(
        self, run: dg.DagsterRun, kind: dg.DagsterEventType, materialization: dg.AssetMaterialization | None = None
    ) -> None:
        data = StepMaterializationData(materialization) if materialization else None
        self.instance.report_dagster_event(
            dg.DagsterEvent(kind.value, run.job_name, event_specific_data=data), run.run_id
        )


def _keys(assets: Sequence[str]) -> list[dict[str, list[str]]]:
    return [{"path": name.split("/")} for name in assets]


def _weeks_of(partitions: Mapping[str, Any] | None) -> list[str]:
    if partitions is None:
        return []
    if partitions["ranges"] is None:
        return list(partitions["partitionKeys"])
    spans = [(Week.parse(each["start"]), Week.parse(each["end"])) for each in partitions["ranges"]]
    return [week.key for span in spans for week in weeks_between(*span)]


def _launched(run: dg.DagsterRun) -> Launched:
    chosen = run.asset_selection or defs.resolve_job_def(run.job_name).asset_layer.executable_asset_keys
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, run.tags.get(PARTITION_NAME_TAG))
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, run.tags.get(PARTITION_NAME_TAG))
    weeks = weeks_between(Week.parse(first), Week.parse(last)) if first and last else []
    return Launched(frozenset(key.to_user_string() for key in chosen), tuple(week.key for week in weeks))


def planned(runs: Sequence[Launched]) -> Plan:
    """Return the weeks of each asset in the order of the runs."""
    found: dict[str, list[str]] = {}
    graph = defs.resolve_asset_graph()
    for run in runs:
        for name in run.assets:
            is_partitioned = graph.get(dg.AssetKey(name.split("/"))).is_partitioned
            found.setdefault(name, []).extend(run.weeks if is_partitioned else ())
    return found


@contextmanager
def orchestrator(home: Path) -> Iterator[Orchestrator]:
    """Start the platform's code location and yield what moves it; more runs are let in than backfills may have."""
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    config["run_launcher"] = {"module": __name__, "class": NotingLauncher.__name__}
    config["concurrency"]["runs"]["max_concurrent_runs"] = 10
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    module = LoadableTargetOrigin(module_name="m5_assets.definitions")
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(module, location_name="m5_assets"))
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, target, version=dg.__version__) as context,
        served(create_app_from_workspace_process_context(context)) as address,
        httpx.Client(base_url=address, timeout=300) as client,
    ):
        yield Orchestrator(instance, context, client)
