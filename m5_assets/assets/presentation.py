"""Asset metadata for the Dagster UI: previews, column schemas and plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def column_schema(table: pa.Table) -> dg.TableSchema:
    """Return the columns and types of a table for the UI's schema tab."""
    types = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in table.schema}
    return dg.TableSchema(columns=[dg.TableColumn(name, str(kind)) for name, kind in types.items()])


def preview(table: pa.Table, rows: int = 8) -> dg.TableMetadataValue:
    """Return the first rows of a table."""
    return shown_table(table.slice(0, rows).to_pandas())


def shown_table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """Return a small frame as a table, which Dagster's UI shows at once; Markdown of that length takes a click."""
    names = [str(name) for name in frame.columns]
    records = [dg.TableRecord(dict(zip(names, map(_text, row), strict=True))) for row in frame.itertuples(index=False)]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in names]))


def _text(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def seen(**weeks: Sequence[str]) -> dict[str, str]:
    """Return the first and last week that an asset's week has seen of each input: an edge shows only the week's own."""
    return {f"sees_{name}": f"{keys[0]} to {keys[-1]}" if keys else "none" for name, keys in weeks.items()}


def markdown_table(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Return a small frame as a Markdown table."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + " --- |" * len(frame.columns)]
    lines += ["| " + " | ".join(map(_text, row)) + " |" for row in frame.itertuples(index=False)]
    return dg.MetadataValue.md("\n".join(lines))


def lines_plot(series: Mapping[str, pd.Series[float]], title: str) -> dg.MarkdownMetadataValue:
    """Return a line plot of several dated series."""
    figure = _figure()
    axes = figure.subplots()
    for name, values in series.items():
        axes.plot(values.index, values.to_numpy(), label=name, linewidth=1.2)
    axes.set_title(title)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return _image(figure, title)


def bars_plot(values: Mapping[str, float], title: str) -> dg.MarkdownMetadataValue:
    """Return a horizontal bar plot, first value at the top."""
    figure = _figure()
    axes = figure.subplots()
    axes.barh(list(values)[::-1], list(values.values())[::-1])
    axes.set_title(title)
    axes.tick_params(labelsize=8)
    return _image(figure, title)


def grouped_bars_plot(frame: pd.DataFrame, title: str) -> dg.MarkdownMetadataValue:
    """Return vertical bars: one group per row, one bar per column."""
    return _embedded(grouped_bars_png(frame, title), title)


def grouped_bars_png(frame: pd.DataFrame, title: str) -> bytes:
    """Return a PNG of vertical bars: one group per row, one bar per column."""
    figure = _figure()
    axes = figure.subplots()
    width = 0.8 / len(frame.columns)
    for number, name in enumerate(frame.columns):
        offset = (number - (len(frame.columns) - 1) / 2) * width
        axes.bar([x + offset for x in range(len(frame))], frame[name].to_numpy(), width, label=str(name))
    axes.set_xticks(range(len(frame)), [str(name) for name in frame.index])
    axes.set_title(title)
    axes.legend(fontsize=8, ncols=len(frame.columns), loc="upper center", bbox_to_anchor=(0.5, -0.08))
    axes.grid(axis="y", alpha=0.3)
    return _png(figure)


def _figure() -> Figure:
    from matplotlib.figure import Figure  # imported here so that the code location loads fast

    return Figure(figsize=(8, 3.6), dpi=90, layout="constrained")


def _image(figure: Figure, title: str) -> dg.MarkdownMetadataValue:
    return _embedded(_png(figure), title)


def _embedded(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
