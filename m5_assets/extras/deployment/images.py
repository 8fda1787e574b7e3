"""The images of a deployment: tags that name their content, building by docker or podman, pushing to ECR.

Not here: what an image holds (`docker/`, `infrastructure/Dockerfile`).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from m5_assets.errors import UserError
from m5_assets.extras.deployment.releases import Environment, Tags
from m5_assets.model_specs import JOB_KINDS
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import JobSettings

_PLATFORM = "platform"
_MISSING = ("ImageNotFoundException", "RepositoryNotFoundException")

log = logging.getLogger("m5")


class Images:
    """The images that a checkout makes, and the repositories of an environment.

    Args:
        environment: the environment.
        checkout: the repository's folder.
    """

    def __init__(self, environment: Environment, checkout: Path) -> None:
        self._environment, self._checkout = environment, checkout
        self._ecr = boto3.client("ecr", region_name=environment.region)

    def tags(self) -> Tags:
        """Return each image's tag, made of what goes into it.

        A job image's begins with the version of the programs that local mode uses too (`SageMakerJobs.image`); the
        rest names the packages and the recipe, so that a new package is a new image, and a model trained anew.
        """
        recipe = _digest(
            self._checkout, ["docker/Dockerfile.*", "docker/entry.sh", "pyproject.toml", "constraints.txt"]
        )
        jobs = SageMakerJobs(
            home=str(self._checkout), lake=Lake(root=str(self._checkout)), job_settings=JobSettings(mode="local")
        )
        tags = {kind: f"{jobs.image(kind).rpartition(':')[2]}-{recipe[:8]}" for kind in JOB_KINDS}
        platform = _digest(self._checkout, ["m5_assets/**/*", "libraries/**/*", "infrastructure/*"])
        return {_PLATFORM: f"{platform[:12]}-{recipe[:8]}", **tags}

    def missing(self, tags: Tags) -> Tags:
        """Return the tags that are not in the environment's repositories."""
        return {name: tag for name, tag in tags.items() if not self._pushed(name, tag)}

    def build(self, tags: Tags) -> dict[str, str]:
        """Build images; return their URIs by name.

        Raises:
            UserError: neither docker nor podman works here, or a build fails.
        """
        built = {}
        for name, tag in tags.items():
            uri = built[name] = f"{self._registry}/{self._repository(name)}:{tag}"
            log.info("building %s", uri)
            if name == _PLATFORM:
                base = f"m5-platform:{tag}"
                self._build("docker/Dockerfile.platform", base)
                self._build("infrastructure/Dockerfile", uri, "--build-arg", f"PLATFORM={base}")
            else:
                self._build(f"docker/Dockerfile.{name}", uri)
        return built

    def push(self, uris: Mapping[str, str]) -> None:
        """Push built images to the environment's repositories.

        Raises:
            UserError: the registry refuses.
        """
        token = self._ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        self._run(["login", "--username", user, "--password-stdin", self._registry], given=password)
        for uri in uris.values():
            log.info("pushing %s", uri)
            self._run(["push", uri])

    @property
    def _registry(self) -> str:
        return f"{self._environment.account}.dkr.ecr.{self._environment.region}.amazonaws.com"

    def _repository(self, name: str) -> str:
        return f"m5-{self._environment.name}/{name}"

    def _pushed(self, name: str, tag: str) -> bool:
        try:
            self._ecr.describe_images(repositoryName=self._repository(name), imageIds=[{"imageTag": tag}])
        except ClientError as problem:
            if problem.response["Error"]["Code"] not in _MISSING:
                raise
            return False
        return True

    def _build(self, dockerfile: str, name: str, *options: str) -> None:
        if not (self._checkout / dockerfile).exists():
            raise UserError(f"{self._checkout / dockerfile} is missing: deploy from a complete checkout")
        self._run(["build", "--platform", "linux/amd64", "--file", dockerfile, "--tag", name, *options, "."])

    @cached_property
    def _engine(self) -> str:
        for name in ("docker", "podman"):
            engine = shutil.which(name)
            if engine and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
                return engine
        raise UserError(
            "images have to be built, but neither docker nor podman works here: start one, or deploy from CI "
            "(docs/examples/deploy.yml)"
        )

    def _run(self, arguments: Sequence[str], given: str | None = None) -> None:
        done = subprocess.run(
            [self._engine, *arguments], cwd=self._checkout, input=given, text=True, stderr=subprocess.PIPE, check=False
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-10:])
            raise UserError(f"{Path(self._engine).name} {arguments[0]} failed with {done.returncode}:\n{last}")


def _digest(root: Path, patterns: Iterable[str]) -> str:
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    digest = hashlib.sha256()
    for path in sorted(p for p in found if "__pycache__" not in p.parts):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
