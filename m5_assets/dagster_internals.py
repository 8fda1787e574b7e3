"""Dagster's private names that the platform needs, each with its reason; upgrading Dagster means reviewing this file.

No other module imports from `dagster._…`. A name that Dagster exports one day is dropped here and imported from there.
"""

from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._cli.utils import TMP_DAGSTER_HOME_PREFIX
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.api import execute_run_iterator
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorTick, ScheduleInstigatorData
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    GRPC_INFO_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.schedules import reverse_cron_string_iterator

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",  # last week of a run over a range
    "ASSET_PARTITION_RANGE_START_TAG",  # first week of a run over a range; the only way to request one outside the UI
    "BACKFILL_ID_TAG",  # groups the failed runs of one backfill into one incident
    "GRPC_INFO_TAG",  # the code server that started a run: tells whether its process is on this machine
    "MAX_RETRIES_TAG",  # keeps the daemon from retrying a run that the command line started
    "PARTITION_NAME_TAG",  # the week of a run
    "SINGLETON_REPOSITORY_NAME",  # the repository's name in a RemoteRepositoryOrigin
    "TMP_DAGSTER_HOME_PREFIX",  # tells the temporary folder of `dagster dev` from a DAGSTER_HOME
    "WILL_RETRY_TAG",  # whether Dagster will retry a failed run itself
    "AssetCheckExecutionRecord",  # type of a check's history, which only the event log storage returns
    "AssetCheckExecutionRecordStatus",  # tells an evaluated check from one that is still planned
    "CheckRunHealthResult",  # return type of a run launcher's health check
    "InstanceRef",  # the default storages below a folder
    "InstigatorTick",  # type of a schedule's last evaluation
    "InstigatorType",  # selects schedules among what the daemon evaluates
    "LaunchRunContext",  # what a run launcher is given
    "PartitionKeyFilter",  # selects one week of a check's history
    "ProxyServerManager",  # the code server that `m5 ui` lets webserver and daemon share, as `dagster dev` does
    "ReconstructableRepository",  # the code of a run, by the same pointer as in workspace.yaml
    "RegisteredCodeLocationOrigin",  # part of RemoteRepositoryOrigin: a location that workspace.yaml names
    "RemoteJobOrigin",  # makes a run of a command one of the code location; `execute_job` cannot set it
    "RemoteRepositoryOrigin",  # part of RemoteJobOrigin
    "ScheduleInstigatorData",  # when a schedule was turned on
    "UnresolvedAssetJobDefinition",  # return type of the public `define_asset_job`
    "WorkerStatus",  # part of CheckRunHealthResult
    "WorkspaceFileTarget",  # reads workspace.yaml for the two beside it
    "WorkspaceProcessContext",  # what `dagster_webserver.app` serves; its command line cannot put a guard in front
    "execute_run_iterator",  # executes a run that exists, event by event; the public `execute_job` creates one
    "reverse_cron_string_iterator",  # when a schedule was last due, by the scheduler's own reading of cron
]
