"""Fill the gaps in moto's CloudFormation that the stacks depend on.

`test_stacks` lists the unsupported resource types that do no harm.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import CloudFormationModel
from moto.core.responses import BaseResponse
from moto.rds.models import DBInstance, DBParameterGroup

SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1234"


class _StandIn(CloudFormationModel):  # type: ignore[misc]  # moto is not typed
    """A resource with a name and an ARN but no behaviour."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_type() -> str:
        return "M5::Test::StandIn"

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return f"arn:aws:servicediscovery:us-east-1:123456789012:service/{self.physical_resource_id}"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name: str, *_: Any, **__: Any) -> _StandIn:
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: _StandIn, *_: Any, **__: Any) -> _StandIn:
        return original_resource


class _Secret(_StandIn):
    """A secret; `Ref` returns its ARN."""

    @classmethod
    def create_from_cloudformation_json(cls, resource_name: str, *others: Any, **_: Any) -> _Secret:
        name = others[0]["Properties"]["Name"]
        return cls(f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf")


def record(patch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return a list to which every call that moto answers is added: service and operation."""
    calls: list[tuple[str, str]] = []
    answer = BaseResponse.call_action

    def call_action(self: Any) -> Any:
        calls.append((self.service_name, self._get_action()))
        return answer(self)

    patch.setattr(BaseResponse, "call_action", call_action)
    return calls


def fill(patch: pytest.MonkeyPatch) -> None:
    """Fill the gaps for the duration of the patch."""
    # Other resources refer to the names of these types.
    for kind in ("AWS::ServiceDiscovery::PrivateDnsNamespace", "AWS::ServiceDiscovery::Service"):
        patch.setitem(parsing.get_model_map(), kind, _StandIn)
    patch.setitem(parsing.get_model_map(), "AWS::SecretsManager::Secret", _Secret)
    # In moto, `Ref` of a parameter group returns the object instead of its name.
    patch.setattr(DBParameterGroup, "physical_resource_id", property(lambda group: group.name), raising=False)
    _speed(patch)
    _no_values(patch)
    _managed_secret(patch)
    _change_sets(patch)


def _speed(patch: pytest.MonkeyPatch) -> None:
    """Parse each template only once and skip linting on validation, because test_stacks lints them all."""
    parse = functools.cache(Stack.parse_template)

    def parse_template(self: Stack | ChangeSet) -> None:
        self.template_dict = copy.deepcopy(parse(self.template))

    patch.setattr(CloudFormationBackend, "validate_template", lambda *_: [])
    patch.setattr(Stack, "parse_template", staticmethod(lambda text: copy.deepcopy(parse(text))))
    patch.setattr(Stack, "_parse_template", parse_template)
    patch.setattr(ChangeSet, "_parse_template", parse_template)


def _no_values(patch: pytest.MonkeyPatch) -> None:
    """Leave `AWS::NoValue` out of lists, where moto puts None."""
    clean = parsing.clean_json

    @functools.wraps(clean)
    def clean_json(*args: Any) -> Any:
        found = clean(*args)
        return [one for one in found if one is not None] if isinstance(found, list) else found

    patch.setattr(parsing, "clean_json", clean_json)


def _managed_secret(patch: pytest.MonkeyPatch) -> None:
    """Give database instances the secret that RDS manages."""
    known, attribute = DBInstance.has_cfn_attr, DBInstance.get_cfn_attribute

    def get(self: Any, name: str) -> Any:
        return SECRET_ARN if name == "MasterUserSecret.SecretArn" else attribute(self, name)

    patch.setattr(
        DBInstance, "has_cfn_attr", classmethod(lambda _, name: name == "MasterUserSecret.SecretArn" or known(name))
    )
    patch.setattr(DBInstance, "get_cfn_attribute", get)


def _change_sets(patch: pytest.MonkeyPatch) -> None:
    """Let stacks created by change sets import and export values and keep their parameters."""
    # On AWS a change set without changes is created, and fails; moto refuses to create it.
    patch.setattr(CloudFormationResponse, "_validate_different_update", lambda *_: None)
    create, carry_out = CloudFormationBackend.create_change_set, CloudFormationBackend.execute_change_set

    @functools.wraps(create)
    def create_change_set(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = create(self, *args, **kwargs)
        stack = self.stacks[made[1]]
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = self.exports
        return made

    @functools.wraps(carry_out)
    def execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        carry_out(self, change_set_name, stack_name)
        change_set = self.change_sets[change_set_name]
        stack = self.stacks[change_set.stack_id]
        stack._parse_template()
        stack.parameters = change_set.parameters
        stack.output_map = stack._create_output_map()
        self.exports.update({export.name: export for export in stack.exports})

    patch.setattr(CloudFormationBackend, "create_change_set", create_change_set)
    patch.setattr(CloudFormationBackend, "execute_change_set", execute_change_set)
