"""What is deployed: the stacks of an environment in order, with their templates and parameters.

A release holds everything that its deployment needs, so that it can be kept and deployed again. Not here: AWS.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from m5_assets.errors import UserError
from m5_assets.model_specs import JOB_KINDS

Tags = Mapping[str, str]
"""The tag of each image: platform, features, gbm, ..."""

_MAX_TEMPLATE_BYTES = 51_200  # of a template in a request; AWS's CloudFormation quotas


@dataclass(frozen=True)
class Part:
    """A stack of every environment.

    Attributes:
        name: its name after `m5-<environment>-`.
        template: its template in `infrastructure/stacks`, without `.yaml`.
        parameters: what sets it apart from other stacks of the same template.
    """

    name: str
    template: str
    parameters: Mapping[str, str] = field(default_factory=dict)


PARTS = (
    *(Part(name, name) for name in ("delivery", "keys", "network", "lake", "alerts", "database")),
    *(Part(f"job-{kind}", "job", {"Kind": kind}) for kind in JOB_KINDS),
    *(Part(name, name) for name in ("platform", "dashboards")),
    *(Part(name, "service", {"Service": name}) for name in ("run", "code", "daemon", "webserver")),
)
"""In the order in which they are deployed: each imports only what those before it export."""


@dataclass(frozen=True)
class Environment:
    """An environment: one account and region, one file of parameters.

    Attributes:
        name: such as `dev`.
        account: the account's twelve digits; deploying by another account's credentials is refused.
        region: the AWS region.
        parameters: values of the templates' parameters.
    """

    name: str
    account: str
    region: str
    parameters: Mapping[str, str]

    @classmethod
    def load(cls, name: str, folder: Path) -> Environment:
        """Read `<name>.json` of a folder.

        Raises:
            UserError: there is no such file, or it is not of the expected form.
        """
        path = folder / f"{name}.json"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or f"none; {folder} has no .json file"
            raise UserError(f"there is no environment {name!r}; there are: {known}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as problem:
            raise UserError(f"{path}: not JSON ({problem})") from None
        if not isinstance(content, dict) or set(content) != {"account", "region", "parameters"}:
            raise UserError(f"{path}: expected an object with account, region and parameters")
        wrong = sorted(k for k, v in content["parameters"].items() if not isinstance(v, str))
        if wrong:
            raise UserError(f"{path}: write these parameters as text, in quotes: {', '.join(wrong)}")
        if not re.fullmatch(r"\d{12}", content["account"]):
            raise UserError(f"{path}: account is {content['account']!r}, expected its twelve digits")
        return cls(name, content["account"], content["region"], content["parameters"])


@dataclass(frozen=True)
class Stack:
    """A stack as it is to be.

    Attributes:
        name: its full name.
        part: its name after `m5-<environment>-`.
        template: the template's text.
        parameters: all its parameters but those that keep their default.
    """

    name: str
    part: str
    template: str
    parameters: Mapping[str, str]

    @property
    def runs_images(self) -> bool:
        """Whether it starts containers, so that its images must have been pushed before."""
        return "PlatformTag" in self.parameters


@dataclass(frozen=True)
class Release:
    """All stacks of an environment, in order.

    Attributes:
        stacks: the stacks.
        tags: the tag of each image.
        made: when it was first deployed, ISO 8601; empty before.
    """

    stacks: tuple[Stack, ...]
    tags: Tags
    made: str = ""

    @property
    def id(self) -> str:
        """Name the content: the first 12 hexadecimal digits of its SHA-256."""
        content = [asdict(stack) for stack in self.stacks]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Release:
        """Return the release that `as_json` wrote."""
        return cls(tuple(Stack(**stack) for stack in content["stacks"]), content["tags"], content["made"])


def compose(environment: Environment, infrastructure: Path, tags: Tags) -> Release:
    """Return the release of an environment from the templates of a checkout.

    Raises:
        UserError: a parameter is missing, or given and known to no template.
    """
    given = {**environment.parameters, **{f"{name.capitalize()}Tag": tag for name, tag in tags.items()}}
    given["Environment"] = environment.name
    used: set[str] = set()
    stacks = []
    for part in PARTS:
        text = (infrastructure / "stacks" / f"{part.template}.yaml").read_text(encoding="utf-8")
        if len(text.encode()) > _MAX_TEMPLATE_BYTES:
            raise UserError(f"{part.template}.yaml is larger than the {_MAX_TEMPLATE_BYTES:,} bytes of a request")
        declared = parse_template(text)["Parameters"]
        values = {**given, **part.parameters}
        missing = sorted(name for name, spec in declared.items() if name not in values and "Default" not in spec)
        if missing:
            raise UserError(
                f"environments/{environment.name}.json lacks {', '.join(missing)}, which {part.template}.yaml asks for"
            )
        used |= set(declared)
        name = f"m5-{environment.name}-{part.name}"
        stacks.append(Stack(name, part.name, text, {k: values[k] for k in declared if k in values}))
    unknown = sorted(set(environment.parameters) - used)
    if unknown:
        raise UserError(f"environments/{environment.name}.json sets {', '.join(unknown)}, which no template knows")
    return Release(tuple(stacks), dict(tags))


class _TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, `!Ref` and others, read as their long forms."""


def _long_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101  # the third kind of node there is
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_TemplateLoader.add_multi_constructor("!", _long_form)


@functools.cache
def parse_template(text: str) -> dict[str, Any]:
    """Return a template as JSON values, short forms written out; not to be changed, callers share it."""
    content: dict[str, Any] = yaml.load(text, _TemplateLoader)  # noqa: S506  # a subclass of the safe loader
    return content
