"""Plotly figures as plain dictionaries: the pages embed them as JSON and the browser draws them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from m5_assets.dashboard import colours, formatting
from m5_assets.model_specs import AVERAGE, FORECASTS, MEMBER_NAMES, TOTALS

Figure = dict[str, Any]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_MODELS_SHOWN = (*MEMBER_NAMES, AVERAGE, TOTALS.name)


def daily(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    *,
    last_year: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    price: pd.DataFrame | None = None,
) -> Figure:
    """Return the chart of daily units: history and forecasts, with last year, events and prices where given.

    Args:
        history: date, units; days from the forecast's first one on are drawn as "Sold since".
        forecast: date and one column per model; `ensemble` is emphasized.
        last_year: date (shifted to this year) and units on the same weekday 52 weeks earlier.
        events: date, name.
        price: date, price, usual and promotion (bool); drawn in a panel below.
    """
    first = forecast["date"].min()
    begin = first if history.empty else history["date"].min()  # a store that has left has none
    known, since = history[history["date"] < first], history[history["date"] >= first]
    traces = []
    if last_year is not None and not last_year.empty:
        traces.append(_line(last_year, "units", "Same weeks last year", colours.LAST_YEAR, dash="dot", width=1.5))
    traces.append(_line(known, "units", "Sold", colours.HISTORY, width=1.6))
    if not since.empty:
        traces.append(_line(since, "units", "Sold since", colours.SOLD_SINCE, dash="dash", width=1.6))
    for model in _MODELS_SHOWN:
        if model in forecast:
            name, colour, dash = _model(model)

            traces.append(_line(forecast, model, name, colour, dash=dash, width=1.4))
    name, colour, dash = _model("ensemble")
    traces.append(_line(forecast, "ensemble", f"{name} forecast", colour, dash=dash, width=3))
    layout = _layout("Units per day")
    layout["xaxis"] |= {
        "range": [begin.isoformat(), (forecast["date"].max() + dt.timedelta(days=2)).isoformat()],
        "tickformat": "%-d %b\n%Y",
        "hoverformat": "%a %-d %b %Y",
    }
    layout["shapes"] = [_origin_line(first)]
    layout["annotations"] = [_origin_label(first)]
    if events is not None and not events.empty:
        top = float(np.nanmax([history["units"].max(), forecast["ensemble"].max()])) if len(history) else 1.0
        traces.append(_events(events, top))
    if price is not None and price["price"].notna().any():
        _add_price(traces, layout, price)
    return {"data": traces, "layout": layout}


def weekly_scores(scores: pd.DataFrame, column: str, title: str, *, as_percent: bool = False) -> Figure:
    """Return one line per model over the weeks (columns week, model and `column`)."""
    return _by_model(scores, "week", column, title, as_percent=as_percent)


def horizon_scores(scores: pd.DataFrame) -> Figure:
    """Return one line per model over the four weeks of the horizon (columns horizon_week, model, wrmsse)."""
    figure = _by_model(
        scores.assign(horizon_week=scores["horizon_week"].map("Week {}".format)), "horizon_week", "wrmsse", "WRMSSE"
    )
    figure["layout"]["xaxis"]["type"] = "category"
    return figure


def level_scores(scores: pd.DataFrame) -> Figure:
    """Return bars of the ensemble and the seasonal naive per level, and markers of the models combined.

    Args:
        scores: level_name, model, wrmsse.
    """
    traces = []
    for model in ("seasonal_naive", "ensemble"):
        rows = scores[scores["model"] == model]
        name, colour, _ = _model(model)
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": rows["level_name"].tolist(),
                "y": _numbers(rows["wrmsse"]),
                "marker": {
                    "color": "#c9ced6" if model == "seasonal_naive" else colour,
                    "line": {"color": colour, "width": 1},
                },
                "hovertemplate": f"%{{x}}<br>{name}: %{{y:.3f}}<extra></extra>",
            }
        )
    for model, symbol in colours.MODEL_SYMBOLS.items():
        rows = scores[scores["model"] == model]
        name, colour, _ = _model(model)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": rows["level_name"].tolist(),
                "y": _numbers(rows["wrmsse"]),
                "marker": {"color": colour, "symbol": symbol, "size": 8, "line": {"color": "#ffffff", "width": 1}},
                "hovertemplate": f"%{{x}}<br>{name}: %{{y:.3f}}<extra></extra>",
            }
        )
    layout = _layout("WRMSSE")
    layout |= {"barmode": "group", "bargap": 0.3, "hovermode": "closest"}
    layout["xaxis"] |= {"type": "category", "tickangle": -30}
    return {"data": traces, "layout": layout}


def _by_model(scores: pd.DataFrame, x: str, y: str, title: str, *, as_percent: bool = False) -> Figure:
    form = "%{y:.1%}" if as_percent else "%{y:.3f}"
    traces = []
    for model in ("seasonal_naive", *FORECASTS):
        rows = scores[scores["model"] == model].sort_values(x)
        name, colour, dash = _model(model)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [str(value) for value in rows[x]],
                "y": _numbers(rows[y]),
                "line": {"color": colour, "dash": dash, "width": 3 if model == "ensemble" else 1.6},
                "marker": {"size": 8 if model == "ensemble" else 6},
                "hovertemplate": f"{name}: {form}<extra></extra>",
            }
        )
    layout = _layout(title)
    layout["xaxis"] |= {"tickvals": sorted({str(value) for value in scores[x]}), "tickformat": "%-d %b %Y"}
    if as_percent:
        layout["yaxis"] |= {"tickformat": "+.0%", "rangemode": "normal", "zerolinecolor": colours.MUTED}
    return {"data": traces, "layout": layout}


def _model(model: str) -> tuple[str, str, str]:
    return colours.MODEL_NAMES[model], colours.MODEL_COLOURS[model], colours.MODEL_DASHES[model]


def _line(
    frame: pd.DataFrame, column: str, name: str, colour: str, *, dash: str = "solid", width: float = 1.6
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _days(frame["date"]),
        "y": _numbers(frame[column]),
        "line": {"color": colour, "dash": dash, "width": width},
        "hovertemplate": f"{name}: %{{y:,.1f}}<extra></extra>",
    }


def _events(events: pd.DataFrame, top: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "Event",
        "x": _days(events["date"]),
        "y": [top * 1.06] * len(events),
        "text": events["name"].tolist(),
        "marker": {"symbol": "triangle-down", "size": 10, "color": colours.INK},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _add_price(traces: list[dict[str, Any]], layout: dict[str, Any], price: pd.DataFrame) -> None:
    line = _line(price, "price", "Price", colours.INK, width=1.6)
    usual = _line(price, "usual", "Usual price", colours.LAST_YEAR, dash="dot", width=1.3)
    for trace in (usual, line):
        trace["line"]["shape"] = "hv"
        trace["yaxis"] = "y2"
        trace["hovertemplate"] = f"{trace['name']}: $%{{y:.2f}}<extra></extra>"
        traces.append(trace)
    layout["yaxis"]["domain"] = [0.34, 1.0]
    layout["yaxis2"] = layout["yaxis"] | {
        "domain": [0.0, 0.22],
        "title": {"text": "Price", "font": {"size": 12, "color": colours.MUTED}},
        "tickprefix": "$",
        "tickformat": ".2f",
        "rangemode": "normal",
        "nticks": 4,
    }
    layout["xaxis"]["anchor"] = "y2"
    for begin, end in spans(price["date"].tolist(), price["promotion"].tolist()):
        layout["shapes"].append(
            {
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": begin.isoformat(),
                "x1": (end + dt.timedelta(days=1)).isoformat(),
                "y0": 0,
                "y1": 1,
                "fillcolor": "#f3c969",
                "opacity": 0.28,
                "line": {"width": 0},
                "layer": "below",
            }
        )
    if price["promotion"].any():  # shapes have no legend entry
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "Promotion",
                "x": [None],
                "y": [None],
                "marker": {"symbol": "square", "size": 12, "color": "#f3c969", "opacity": 0.6},
            }
        )


def spans(days: Sequence[dt.date], flags: Sequence[bool]) -> list[tuple[dt.date, dt.date]]:
    """Return the first and last day of each run of consecutive flagged days."""
    found: list[tuple[dt.date, dt.date]] = []
    for day, flag in zip(days, flags, strict=True):
        if not flag:
            continue
        if found and (day - found[-1][1]).days == 1:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _origin_line(first: dt.date) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": first.isoformat(),
        "x1": first.isoformat(),
        "y0": 0,
        "y1": 1,
        "line": {"color": colours.MUTED, "width": 1, "dash": "dot"},
    }


def _origin_label(first: dt.date) -> dict[str, Any]:
    return {
        "xref": "x",
        "yref": "paper",
        "x": first.isoformat(),
        "y": 0.0,
        "yanchor": "bottom",
        "xanchor": "right",
        "xshift": -4,
        "text": "forecast →",
        "showarrow": False,
        "font": {"size": 12, "color": colours.MUTED},
    }


def _layout(title: str) -> dict[str, Any]:
    axis = {"gridcolor": colours.GRID, "linecolor": colours.GRID, "zerolinecolor": colours.GRID, "automargin": True}
    return {
        "font": {"family": _FONT, "size": 13, "color": colours.INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": colours.GRID, "font": {"color": colours.INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom", "font": {"size": 13}},
        "xaxis": axis | {"showgrid": False, "ticklabelstandoff": 4},
        "yaxis": axis
        | {
            "title": {"text": title, "font": {"size": 12, "color": colours.MUTED}},
            "rangemode": "tozero",
            "separatethousands": True,
        },
    }


def _days(values: pd.Series) -> list[str]:
    return [value.isoformat() for value in values]


def _numbers(values: pd.Series) -> list[float | None]:
    return [None if formatting.missing(value) else round(float(value), 4) for value in values]
