"""Dagster's private names that tests alone need, each with its reason; the platform's own are in `m5_assets`.

Tests stage with them what the public API cannot: a schedule's ticks, a lost run, a failed step.
"""

from dagster._cli.api import api_cli
from dagster._core.events import EngineEventData
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.cli import cli as daemon_cli

__all__ = [
    "BulkActionStatus",  # how a backfill ended, which `instance.get_backfill` returns
    "EngineEventData",  # the event by which a code server notes the process of a run
    "InstigatorState",  # turns a schedule on without a webserver
    "InstigatorStatus",  # part of InstigatorState
    "RemoteInstigatorOrigin",  # names the schedule in an InstigatorState
    "StepFailureData",  # a failed step without a run that executes
    "TickData",  # an evaluation of a schedule at a time of the test's choice
    "TickStatus",  # part of TickData
    "api_cli",  # parses the arguments of `dagster api`
    "create_run_for_test",  # takes a RemoteJobOrigin
    "daemon_cli",  # parses the arguments of `dagster-daemon`
    "set_defs_state_storage",  # the context variable by which Dagster finds the instance that loads definitions
]
