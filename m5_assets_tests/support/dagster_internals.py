"""Dagster's private names that tests alone need, each with its reason; the platform's own are in `m5_assets`.

Tests stage with them what the public API cannot: a schedule's ticks, a lost run, a failed step.
"""

from dagster._cli.api import api_cli
from dagster._core.events import EngineEventData, StepMaterializationData
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.launcher import RunLauncher
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.cli import cli as daemon_cli
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._serdes import ConfigurableClass, ConfigurableClassData

__all__ = [
    "BulkActionStatus",  # how a backfill ended, which `instance.get_backfill` returns
    "ConfigurableClass",  # what a run launcher of dagster.yaml is
    "ConfigurableClassData",  # part of ConfigurableClass
    "EngineEventData",  # the event by which a code server notes the process of a run
    "InProcessCodeLocationOrigin",  # part of InProcessWorkspaceLoadTarget
    "InProcessWorkspaceLoadTarget",  # the code location without a server process
    "InstigatorState",  # turns a schedule on without a webserver
    "InstigatorStatus",  # part of InstigatorState
    "LoadableTargetOrigin",  # part of InProcessCodeLocationOrigin
    "QueuedRunCoordinatorDaemon",  # starts queued runs, moved by a test instead of a clock
    "RemoteInstigatorOrigin",  # names the schedule in an InstigatorState
    "RunLauncher",  # a launcher that starts no process
    "StepFailureData",  # a failed step without a run that executes
    "StepMaterializationData",  # a materialization of a run that executes nothing
    "TickData",  # an evaluation of a schedule at a time of the test's choice
    "TickStatus",  # part of TickData
    "api_cli",  # parses the arguments of `dagster api`
    "create_run_for_test",  # takes a RemoteJobOrigin
    "daemon_cli",  # parses the arguments of `dagster-daemon`
    "execute_backfill_iteration",  # requests the runs of backfills, moved by a test instead of a clock
    "set_defs_state_storage",  # the context variable by which Dagster finds the instance that loads definitions
]
