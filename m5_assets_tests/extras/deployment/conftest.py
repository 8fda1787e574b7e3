"""A checkout to deploy from, and a container engine that pushes without building."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from m5_assets_tests.infrastructure.conftest import ACCOUNT, INFRASTRUCTURE, ROOT, TAGS, environment, server

__all__ = ["server"]

_ENGINE = """#!/bin/sh
echo "$@" >> "$M5_TEST_ENGINE_LOG"
[ "$1" != push ] || exec {python} - "$2" <<'EOF'
import sys
import boto3
repository, _, tag = sys.argv[1].partition("/")[2].rpartition(":")
manifest = '{{"schemaVersion": 2, "mediaType": "%s", "config": {{"digest": "%s"}}}}' % (
    "application/vnd.docker.distribution.manifest.v2+json", sys.argv[1])
boto3.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
EOF
"""


@dataclass(frozen=True)
class Checkout:
    """A git checkout with one environment, whose name no other test uses: all tests share moto's account."""

    root: Path
    environment: str

    def write_environment(self, *, account: str = ACCOUNT, **changed: str) -> Path:
        """Write the environment's file, development's parameters with some of them changed, and commit it."""
        parameters = {**environment("dev").parameters, **changed}
        path = self.root / "infrastructure" / "environments" / f"{self.environment}.json"
        path.write_text(json.dumps({"account": account, "region": "us-east-1", "parameters": parameters}))
        self.commit()
        return path

    def keep_stacks(self, *parts: str) -> None:
        """Deploy these stacks and the platform's image alone, and commit."""
        for path in self.root.glob("docker/Dockerfile.*"):
            path.unlink()
        (self.root / "docker" / "Dockerfile.platform").write_text("FROM scratch\n")
        path = self.root / "infrastructure" / "stacks.json"
        path.write_text(json.dumps([entry for entry in json.loads(path.read_text()) if entry["part"] in parts]))
        self.commit()

    def commit(self) -> str:
        """Commit everything, and return the commit."""
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


_numbers = itertools.count(1)


@pytest.fixture
def checkout(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Return a checkout with an environment of its own, and an engine in PATH that logs what it is asked for."""
    root = tmp_path / "checkout"
    shutil.copytree(INFRASTRUCTURE, root / "infrastructure", ignore=shutil.ignore_patterns("quicksight"))
    shutil.rmtree(root / "infrastructure" / "environments")
    for folder in ("infrastructure/environments", "docker", "m5_assets/containers"):
        (root / folder).mkdir(parents=True)
    for name in TAGS:
        (root / "docker" / f"Dockerfile.{name}").write_text("FROM scratch\n")
    (root / "m5_assets" / "containers" / "gbm.py").write_text("")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    made = Checkout(root, f"test{next(_numbers)}")
    made.git("init", "--quiet")
    made.write_environment()
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(_ENGINE.format(python=sys.executable))
    engine.chmod(0o755)
    programs = (engine.parent, Path(sys.executable).parent, os.environ["PATH"])  # the AWS CLI of this environment
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, programs)))
    monkeypatch.setenv("M5_TEST_ENGINE_LOG", str(tmp_path / "engine.log"))
    return made


def engine_calls() -> list[str]:
    """Return what the engine was asked for since the last call."""
    log = Path(os.environ["M5_TEST_ENGINE_LOG"])
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines
