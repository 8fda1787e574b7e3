"""The palette, shared by the pages, the charts and the mailed report.

Line colours follow Okabe & Ito, "Color Universal Design" (2008), and each model has its own dash; only the ensemble
has the accent. Contrast to white is at least 3:1 for lines and 4.5:1 for text (WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

INK, MUTED, GRID = "#1c2733", "#556270", "#e4e7eb"
ACCENT = "#c4500a"
HISTORY, SOLD_SINCE, LAST_YEAR = "#33475b", "#33475b", "#8593a1"
RISE, FALL = "#00704f", "#a8344f"

MODEL_COLOURS = {
    "ensemble": ACCENT,
    "gbm": "#0072b2",
    "lstm": "#a54d85",
    "average": "#00805f",
    "totals": "#7a6a00",
    "seasonal_naive": "#6b7280",
}
MODEL_DASHES = {
    "ensemble": "solid",
    "gbm": "dash",
    "lstm": "dot",
    "average": "dashdot",
    "totals": "longdash",
    "seasonal_naive": "longdashdot",
}
MODEL_NAMES = {
    "ensemble": "Ensemble",
    "gbm": "GBM",
    "lstm": "LSTM",
    "average": "Average of both",
    "totals": "Totals",
    "seasonal_naive": "Seasonal naive",
}


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours (#rrggbb), from 1 to 21. Source: WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
