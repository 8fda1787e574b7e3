"""The images of a checkout: tags that name their content, built and pushed with docker or podman."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from m5_assets.errors import UserError
from m5_assets.extras.deployment.checkout import Environment
from m5_assets.extras.deployment.programs import AwsCli, ProgramFailed, run

log = logging.getLogger("m5")


def image_tags(checkout: Path) -> dict[str, str]:
    """Return the tag of each image by its name, such as `gbm` for `docker/Dockerfile.gbm`.

    A job image's tag begins with the version of its programs, as in local mode (`SageMakerJobs.image`); the rest names
    packages and Dockerfiles, so that a new package is a new image, and its model is trained again.
    """
    recipe = _digest(
        checkout, "docker/Dockerfile.*", "docker/*.sh", "docker/*.py", "pyproject.toml", "constraints.txt"
    )[:8]
    programs = _digest(checkout / "m5_assets", "forecasting/**/*.py", "containers/**/*.py")[:12]
    platform = _digest(
        checkout, "m5_assets/**/*", "libraries/**/*", "infrastructure/Dockerfile", "infrastructure/*.yaml"
    )
    tags = {path.suffix[1:]: f"{programs}-{recipe}" for path in sorted(checkout.glob("docker/Dockerfile.*"))}
    return {**tags, "platform": f"{platform}-{recipe}"}


def missing_images(aws: AwsCli, environment: Environment, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the images that are not in the environment's repositories: URI by name."""
    registry, missing = f"{environment.account}.dkr.ecr.{environment.region}.amazonaws.com", {}
    for name, tag in tags.items():
        repository = f"m5-{environment.name}/{name}"
        try:
            aws("ecr", "describe-images", "--repository-name", repository, "--image-ids", f"imageTag={tag}")
        except ProgramFailed as problem:
            if not any(code in str(problem) for code in ("ImageNotFoundException", "RepositoryNotFoundException")):
                raise
            missing[name] = f"{registry}/{repository}:{tag}"
    return missing


def build(checkout: Path, images: Mapping[str, str]) -> None:
    """Build images, given by name and URI. The platform's has two steps: AWS needs more than every host."""
    engine = _engine() if images else ""
    for name, uri in images.items():
        log.info("building %s", uri)
        base = f"m5-platform:{uri.rpartition(':')[2]}" if name == "platform" else uri
        _build(engine, checkout, f"docker/Dockerfile.{name}", base)
        if name == "platform":
            _build(engine, checkout, "infrastructure/Dockerfile", uri, "--build-arg", f"PLATFORM={base}")


def push(aws: AwsCli, images: Mapping[str, str]) -> None:
    """Push built images, given by name and URI."""
    if not images:
        return
    engine, registry = _engine(), next(iter(images.values())).partition("/")[0]
    password = aws("ecr", "get-login-password").strip()
    run([engine, "login", "--username", "AWS", "--password-stdin", registry], given=password)
    for uri in images.values():
        log.info("pushing %s", uri)
        run([engine, "push", uri], show=True)


def _build(engine: str, checkout: Path, dockerfile: str, tag: str, *options: str) -> None:
    command = ("build", "--platform", "linux/amd64", "--file", str(checkout / dockerfile), "--tag", tag, *options)
    run([engine, *command, str(checkout)], show=True)


def _engine() -> str:
    for engine in filter(None, map(shutil.which, ("docker", "podman"))):
        try:
            run([engine, "info"])
        except ProgramFailed:
            continue
        return engine
    raise UserError(
        "images have to be built, but neither docker nor podman works here: start one, or deploy from CI "
        "(docs/examples/deploy.yml)"
    )


def _digest(root: Path, *patterns: str) -> str:
    digest = hashlib.sha256()
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(path for path in found if "__pycache__" not in path.parts):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
