"""How a job of the local runner ends. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

MAX_REASON_LENGTH = 1024


class JobFailure(Exception):
    """The job fails; the message is its FailureReason.

    As on AWS, the first word names the cause: `AlgorithmError` the container, `ClientError` the request,
    `CapacityError` and `InternalServerError` the service, which here is the runner.
    """

    @property
    def is_internal(self) -> bool:
        """Whether the service is the cause, so that a RetryStrategy starts the job again."""
        return str(self).startswith("InternalServerError")


class JobStopped(Exception):
    """Somebody asked the job to stop while it was not running its container."""


@dataclass(frozen=True)
class Outcome:
    """The last state of a job.

    Attributes:
        status: `Completed`, `Failed` or `Stopped`.
        secondary_status: for Training, a more precise status such as `MaxRuntimeExceeded`; empty if it is `status`.
        failure_reason: why it failed or was stopped by its time limit.
        exit_message: what Processing containers wrote to `output/message`.
        model_artifact: the URI of a Training job's model.tar.gz.
    """

    status: str
    secondary_status: str = ""
    failure_reason: str = ""
    exit_message: str = ""
    model_artifact: str = ""


def exit_reason(host: str, exit_code: int, text: str = "") -> str:
    """Return the FailureReason for a container's exit code, in AWS's words where they are known.

    Args:
        host: the instance.
        exit_code: its exit code; 137 means killed, usually because memory ran out.
        text: the container's own message.
    """
    if not text:
        text = (
            "Please use an instance type with more memory, or reduce the size of job data processed on an instance."
            if exit_code == 128 + 9
            else f"the container exited with code {exit_code} on {host}; see the job's log"
        )
    # Leaves room for the exit code after a long text.
    return f"AlgorithmError: {text[: MAX_REASON_LENGTH - 48]}, exit code: {exit_code}"
