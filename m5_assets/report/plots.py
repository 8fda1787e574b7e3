"""The report's plots, in the dashboard's colours: PNGs as data URIs, which mail programs display."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import pandas as pd

from m5_assets.dashboard import colours
from m5_assets.dashboard.overview_page import DailyTotals
from m5_assets.weeks import Week

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 144  # sharp on high-resolution screens; the page shows the image at half its size


def totals(days: DailyTotals) -> str:
    """Return the plot of daily units of all stores: sold, forecast, and the same weeks last year."""
    from matplotlib.dates import DateFormatter  # takes half a second, too long for `m5 --help`

    figure, axes = _canvas(8.6, 3.0)
    known = days.sold[[day < days.ahead["date"].min() for day in days.sold["date"]]]
    axes.plot(
        days.last_year["date"], days.last_year["units"] / 1e3, color=colours.LAST_YEAR, linestyle=":", linewidth=1.4,
        label="Same weeks last year",
    )  # fmt: skip
    axes.plot(known["date"], known["units"] / 1e3, color=colours.HISTORY, linewidth=1.4, label="Sold")
    axes.plot(days.ahead["date"], days.ahead["ensemble"] / 1e3, color=colours.ACCENT, linewidth=2.6, label="Forecast")
    axes.axvline(days.ahead["date"].min(), color=colours.MUTED, linestyle=":", linewidth=0.9)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(DateFormatter("%-d %b"))
    axes.set_ylabel("thousand units per day", color=colours.MUTED, fontsize=8.5)
    axes.margins(x=0.01)
    _legend(axes, 3)
    return _data_uri(figure)


def levels(scores: pd.DataFrame, week: Week) -> str:
    """Return the plot of WRMSSE by level, ensemble next to seasonal naive."""
    figure, axes = _canvas(8.6, 2.8)
    for offset, model, colour in ((-0.2, "seasonal_naive", "#c9ced6"), (0.2, "ensemble", colours.ACCENT)):
        rows = scores[scores["model"] == model]
        places = [level - 1 + offset for level in rows["level"]]
        axes.bar(places, rows["wrmsse"], 0.38, color=colour, label=colours.MODEL_NAMES[model])
    names = scores.drop_duplicates("level")["level_name"]
    axes.set_xticks(range(len(names)), list(names), rotation=30, ha="right", rotation_mode="anchor")
    axes.set_ylabel(f"WRMSSE, week of {week}", color=colours.MUTED, fontsize=8.5)
    axes.margins(x=0.01)
    _legend(axes, 2)
    return _data_uri(figure)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", color=colours.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=colours.INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure, axes


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=9)


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
