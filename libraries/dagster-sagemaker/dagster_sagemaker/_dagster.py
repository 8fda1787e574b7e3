"""The private names of Dagster that the library uses, so that an upgrade of Dagster means reviewing this one file.

Checked against Dagster 1.13.27, which exports none of them.
"""

from __future__ import annotations

# Marks a class that an asset may take as a parameter without `dg.ResourceParam`; all Pipes clients of dagster-aws
# carry it.
from dagster._core.definitions.resource_annotation import TreatAsResourceParam

# What Dagster's own Pipes clients raise when the external work fails, so that one `except` covers all of them.
from dagster._core.errors import DagsterPipesExecutionError

# Delays interrupts, so that a second one (of the executor, after that of the terminal) cannot keep a job from being
# stopped.
from dagster._utils.interrupts import capture_interrupts

# Name, tags, pool and backfill policy of a component's step, as Dagster's own components take them in YAML.
from dagster.components.resolved.core_models import OpSpec

__all__ = ["DagsterPipesExecutionError", "OpSpec", "TreatAsResourceParam", "capture_interrupts"]
