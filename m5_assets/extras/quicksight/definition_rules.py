"""Checks of definitions that need no account.

The limits of the service's model, unions with exactly one member, references (columns, data sets, visuals, filters,
controls), and the layout of each sheet's grid. A test compares the columns with the database's views; what only
QuickSight knows, such as the arguments of its functions, is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from dagster_sagemaker.validation import RequestValidationError, validate

from m5_assets.errors import UserError
from m5_assets.extras.quicksight.definition_files import Definitions, Request, columns, walk

GRID_COLUMNS = 36
"""Width of a sheet's grid (API_GridLayoutElement: index 0 to 35, span 1 to 36)."""

_UNION = ("union type structure", "variant type structure")
_UNMARKED_UNIONS = {"DimensionField", "MeasureField"}
_ANY_ACCOUNT = "000000000000"
_REFERENCE = re.compile(r"\{([^{}]+)\}")
_TYPES = {
    "CategoricalDimensionField": {"STRING"},
    "DateDimensionField": {"DATETIME"},
    "NumericalDimensionField": {"INTEGER", "DECIMAL"},
    "NumericalMeasureField": {"INTEGER", "DECIMAL"},
    "CategoryFilter": {"STRING"},
    "NumericEqualityFilter": {"INTEGER", "DECIMAL"},
    "NumericRangeFilter": {"INTEGER", "DECIMAL"},
}


def check(definitions: Definitions) -> None:
    """Check all definitions.

    Raises:
        UserError: there are problems; the message lists each with its field.
    """
    found = list(problems(definitions))
    if found:
        raise UserError("infrastructure/quicksight contains what QuickSight would reject:\n- " + "\n- ".join(found))


def problems(definitions: Definitions) -> Iterator[str]:
    """Yield every problem as one line: where, and what."""
    yield from _request_problems("data-source.json", "CreateDataSource", definitions.data_source)
    for name, data_set in definitions.data_sets.items():
        place = f"data-sets/{name}.json"
        yield from _request_problems(place, "CreateDataSet", data_set)
        yield from (f"{place}: {problem}" for problem in _data_set_problems(definitions.data_source, data_set))
    yield from _request_problems("dashboard.json", "CreateDashboard", definitions.dashboard)
    yield from (f"dashboard.json: {problem}" for problem in _dashboard_problems(definitions))


def _request_problems(place: str, operation: str, request: Request) -> Iterator[str]:
    model = _service_model()
    whole = {"AwsAccountId": _ANY_ACCOUNT, **request}
    try:
        validate(model, operation, whole)
    except RequestValidationError as problem:
        yield from (f"{place}: {line}" for line in problem.problems)
    shape = model.operation_model(operation).input_shape
    assert shape is not None  # noqa: S101  # every Create operation has an input
    yield from (f"{place}: {line}" for line in _union_problems(shape, whole, ""))


@lru_cache(maxsize=1)
def _service_model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("quicksight")


def _union_problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        is_union = shape.name in _UNMARKED_UNIONS or any(words in shape.documentation for words in _UNION)
        if is_union and len(value) != 1:
            yield f"{path}: {shape.name} takes exactly one of {', '.join(shape.members)}; given {sorted(value)}"
        for name, item in value.items():
            if name in shape.members:
                yield from _union_problems(shape.members[name], item, f"{path}.{name}".lstrip("."))
    elif isinstance(shape, ListShape) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _union_problems(shape.member, item, f"{path}[{index}]")
    elif isinstance(shape, MapShape) and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _union_problems(shape.value, item, f"{path}.{name}")


def _data_set_problems(data_source: Request, data_set: Request) -> Iterator[str]:
    for path, value in walk(data_set["PhysicalTableMap"], "PhysicalTableMap"):
        if path.endswith(".DataSourceArn") and value.rpartition("datasource/")[2] != data_source["DataSourceId"]:
            yield f"{path}: {value} is not the data source {data_source['DataSourceId']}"
    known = columns(data_set)
    tables = set(data_set["PhysicalTableMap"])
    for path, value in walk(data_set.get("LogicalTableMap", {}), "LogicalTableMap"):
        if path.endswith(".ColumnName") and value not in known:
            yield f"{path}: the table has no column {value}; it has {', '.join(known)}"
        if path.endswith(".PhysicalTableId") and value not in tables:
            yield f"{path}: no physical table {value}; there is {', '.join(tables)}"


def _dashboard_problems(definitions: Definitions) -> Iterator[str]:
    definition = definitions.dashboard.get("Definition", {})
    ids = {data_set["DataSetId"]: name for name, data_set in definitions.data_sets.items()}
    fields: dict[str, dict[str, str]] = {}
    for index, declared in enumerate(definition.get("DataSetIdentifierDeclarations", [])):
        name = ids.get(declared["DataSetArn"].rpartition("dataset/")[2])
        if name is None:
            yield f"DataSetIdentifierDeclarations[{index}]: no data set {declared['DataSetArn']} among {', '.join(ids)}"
        else:
            fields[declared["Identifier"]] = columns(definitions.data_sets[name])
    for index, field in enumerate(definition.get("CalculatedFields", [])):
        known = fields.setdefault(field["DataSetIdentifier"], {})
        for name in _REFERENCE.findall(field["Expression"]):
            if name not in known:
                yield f"CalculatedFields[{index}] {field['Name']}: no column {name} in {field['DataSetIdentifier']}"
        known[field["Name"]] = "DECIMAL"
    yield from _column_problems(definition, fields)
    yield from _identity_problems(definition)
    yield from _filter_problems(definition)
    yield from _scope_problems(definition, fields)
    for index, sheet in enumerate(definition.get("Sheets", [])):
        yield from (f"Definition.Sheets[{index}] {sheet['SheetId']}: {line}" for line in _sheet_problems(sheet))


def _column_problems(definition: Request, fields: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for path, value in walk(definition, "Definition"):
        if not isinstance(value, Mapping):
            continue
        if "DataSetIdentifier" in value and "ColumnName" in value:
            source, name = value["DataSetIdentifier"], value["ColumnName"]
            if source not in fields:
                yield f"{path}: data set {source} is not declared"
            elif name not in fields[source]:
                yield f"{path}: data set {source} has no column {name}"
        for kind in _TYPES.keys() & value.keys():
            column = value[kind]["Column"]
            found = fields.get(column["DataSetIdentifier"], {}).get(column["ColumnName"])
            if found is not None and found not in _TYPES[kind]:
                yield f"{path}.{kind}: column {column['ColumnName']} is {found}, not {' or '.join(_TYPES[kind])}"


def _identity_problems(definition: Request) -> Iterator[str]:
    """Yield repeated ids: each kind is unique within a definition."""
    for name in ("SheetId", "VisualId", "FieldId", "FilterId", "FilterGroupId", "FilterControlId"):
        # Scopes and sorts refer to sheets and fields, so ids repeat there.
        apart = ("ScopeConfiguration", "SortConfiguration")
        found = [
            str(value)
            for path, value in walk(definition, "Definition")
            if path.endswith(f".{name}") and not any(part in path for part in apart)
        ]
        yield from (f"{name} {value} is used {found.count(value)} times" for value in _repeated(found))
    for path, value in walk(definition, "Definition"):
        if not isinstance(value, Mapping) or "SortConfiguration" not in value:
            continue
        own = {v for p, v in walk(value.get("FieldWells")) if p.endswith(".FieldId")}
        sorts = {v for p, v in walk(value["SortConfiguration"]) if p.endswith(".FieldId")}
        yield from (f"{path}: sorted by {name}, which is none of its fields" for name in sorted(sorts - own))


def _filter_problems(definition: Request) -> Iterator[str]:
    visuals = {sheet["SheetId"]: set(_visual_ids(sheet)) for sheet in definition.get("Sheets", [])}
    filters = set()
    for index, group in enumerate(definition.get("FilterGroups", [])):
        place = f"Definition.FilterGroups[{index}] {group['FilterGroupId']}"
        filters |= {spec["FilterId"] for choice in group["Filters"] for spec in choice.values()}
        chosen = group["ScopeConfiguration"].get("SelectedSheets", {}).get("SheetVisualScopingConfigurations", [])
        for scope in chosen:
            unknown = set(scope.get("VisualIds", [])) - visuals.get(scope["SheetId"], set())
            if scope["SheetId"] not in visuals:
                yield f"{place}: no sheet {scope['SheetId']}"
            elif unknown:
                yield f"{place}: sheet {scope['SheetId']} has no visual {', '.join(sorted(unknown))}"
    for sheet in definition.get("Sheets", []):
        controls = set(_control_ids(sheet))
        for path, value in walk(sheet.get("FilterControls", []), f"{sheet['SheetId']}.FilterControls"):
            if path.endswith(".SourceFilterId") and value not in filters:
                yield f"{path}: no filter {value}"
            if path.endswith(".SourceSheetControlId") and value not in controls:
                yield f"{path}: no control {value} on the sheet"


def _scope_problems(definition: Request, fields: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield visuals that a filter of their scope does not affect: QuickSight would leave them unfiltered."""
    shown = {
        spec["VisualId"]: {v for path, v in walk(spec) if path.endswith(".DataSetIdentifier")}
        for sheet in definition.get("Sheets", [])
        for visual in sheet.get("Visuals", [])
        for spec in visual.values()
    }
    for index, group in enumerate(definition.get("FilterGroups", [])):
        visuals = {v for path, v in walk(group["ScopeConfiguration"]) if re.search(r"\.VisualIds\[\d+\]$", path)}
        for column in (spec["Column"] for choice in group["Filters"] for spec in choice.values()):
            source, name = column["DataSetIdentifier"], column["ColumnName"]
            reached = {source}
            if group["CrossDataset"] == "ALL_DATASETS":
                reached = {data_set for data_set, known in fields.items() if name in known}
            for visual in sorted(visuals):
                if shown.get(visual, set()) - reached:
                    place = f"Definition.FilterGroups[{index}] {group['FilterGroupId']}"
                    yield f"{place}: {visual} shows {', '.join(shown[visual])}, which {source}.{name} does not filter"


def _sheet_problems(sheet: Request) -> Iterator[str]:
    for kind, elements in (("VISUAL", _visual_ids(sheet)), ("FILTER_CONTROL", _control_ids(sheet))):
        layouts = sheet.get("Layouts" if kind == "VISUAL" else "SheetControlLayouts", [])
        placed = [e for layout in layouts for e in layout["Configuration"]["GridLayout"]["Elements"]]
        wanted, given = list(elements), [e["ElementId"] for e in placed if e["ElementType"] == kind]
        yield from (f"{name} has no place on the grid" for name in wanted if name not in given)
        yield from (f"{name} is placed, but is not on the sheet" for name in given if name not in wanted)
        yield from (f"{name} is placed twice" for name in _repeated(given))
        for element in placed:
            if element["ColumnIndex"] + element["ColumnSpan"] > GRID_COLUMNS:
                yield f"{element['ElementId']} ends beyond column {GRID_COLUMNS} of the grid"
        for one, other in combinations(placed, 2):
            if _overlap(one, other, "Column") and _overlap(one, other, "Row"):
                yield f"{one['ElementId']} and {other['ElementId']} overlap"


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any], axis: str) -> bool:
    begin, span = f"{axis}Index", f"{axis}Span"
    return bool(one[begin] < other[begin] + other[span] and other[begin] < one[begin] + one[span])


def _visual_ids(sheet: Request) -> Iterator[str]:
    yield from (spec["VisualId"] for visual in sheet.get("Visuals", []) for spec in visual.values())


def _control_ids(sheet: Request) -> Iterator[str]:
    yield from (spec["FilterControlId"] for control in sheet.get("FilterControls", []) for spec in control.values())


def _repeated(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return sorted({name for name in listed if listed.count(name) > 1})
