"""How a job of the local runner ends. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

MAX_REASON_LENGTH = 1024


class JobFailure(Exception):
    """The job fails; the message is its FailureReason.

    The first word tells who is to blame, as on AWS: `AlgorithmError` the container, `ClientError` the request,
    `CapacityError` and `InternalServerError` the service, which here is the runner.
    """

    @property
    def is_internal(self) -> bool:
        """Whether the service is to blame in a way that a RetryStrategy tries again."""
        return str(self).startswith("InternalServerError")


class JobStopped(Exception):
    """Somebody asked the job to stop while it was not running its container."""


@dataclass(frozen=True)
class Outcome:
    """The last state of a job.

    Attributes:
        status: `Completed`, `Failed` or `Stopped`.
        secondary_status: More precisely for Training, such as `MaxRuntimeExceeded`; empty if as `status`.
        failure_reason: Why it failed or was stopped by its time limit.
        exit_message: What Processing containers wrote to `output/message`.
        model_artifact: The URI of a Training job's model.tar.gz.
    """

    status: str
    secondary_status: str = ""
    failure_reason: str = ""
    exit_message: str = ""
    model_artifact: str = ""


def exit_reason(host: str, exit_code: int, text: str = "") -> str:
    """The FailureReason of a container's exit code, in AWS's words where they are known.

    Args:
        host: Which instance.
        exit_code: Its exit code; 137 is a kill, by which a machine defends its memory.
        text: What the container said itself.
    """
    if not text:
        text = (
            "Please use an instance type with more memory, or reduce the size of job data processed on an instance."
            if exit_code == 128 + 9
            else f"the container exited with code {exit_code} on {host}; see the job's log"
        )
    # Room for the code, which must survive a long text.
    return f"AlgorithmError: {text[: MAX_REASON_LENGTH - 48]}, exit code: {exit_code}"
