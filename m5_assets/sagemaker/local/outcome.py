"""How a job of the local runner ends."""

from __future__ import annotations

from dataclasses import dataclass

MAX_REASON_LENGTH = 1024


class JobFailure(Exception):
    """The job fails; the message is its FailureReason.

    The first word tells who is to blame, as on AWS: `AlgorithmError` the container, `ClientError` the request,
    `InternalServerError` the service, which here is the runner.
    """


@dataclass(frozen=True)
class Outcome:
    """The last state of a job.

    Attributes:
        status: `Completed`, `Failed` or `Stopped`.
        secondary_status: More precisely for Training, such as `MaxRuntimeExceeded`; else as `status`.
        failure_reason: Why it failed or was stopped by its time limit.
        exit_message: What a Processing container wrote to `output/message`.
        model_artifact: The URI of a Training job's model.tar.gz.
    """

    status: str
    secondary_status: str = ""
    failure_reason: str = ""
    exit_message: str = ""
    model_artifact: str = ""
