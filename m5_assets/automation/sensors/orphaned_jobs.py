"""The sensor that stops SageMaker jobs whose run is gone, e.g. because its process was killed."""

import dagster as dg

from m5_assets.resources.sagemaker_jobs import SageMakerJobs


@dg.sensor(
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Stops running SageMaker jobs that no run waits for any more, so that they cost nothing.",
)
def orphaned_jobs(context: dg.SensorEvaluationContext, sagemaker: SageMakerJobs) -> dg.SkipReason:
    """Stop orphaned jobs."""
    stopped = sagemaker.stop_orphans(context.instance)
    for job in stopped:
        context.log.warning(f"{job.kind} job {job.name} of run {job.run_id} was stopped")
    return dg.SkipReason(f"{len(stopped)} orphaned jobs stopped")
