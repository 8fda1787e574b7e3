"""The palette, shared by the pages, the charts and the mailed report.

Line colours follow Okabe & Ito, "Color Universal Design" (2008), and each model has its own dash; only the ensemble
has the accent. Contrast to white is at least 3:1 for lines and 4.5:1 for text (WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

from m5_assets.model_specs import MEMBER_NAMES, MEMBERS

INK, MUTED, GRID = "#1c2733", "#556270", "#e4e7eb"
ACCENT = "#c4500a"
HISTORY, SOLD_SINCE, LAST_YEAR = "#33475b", "#33475b", "#8593a1"
RISE, FALL = "#00704f", "#a8344f"

# Colour, dash and marker of the ensemble's members, in the order of MEMBERS.
_MEMBER_STYLES = (
    ("#0072b2", "dash", "diamond"),
    ("#a54d85", "dot", "circle"),
    ("#9a5b00", "4px 2px 1px 2px", "triangle-up"),
    ("#4b5d16", "8px 3px", "cross"),
)
_STYLED = dict(zip(MEMBER_NAMES, _MEMBER_STYLES, strict=False))

MODEL_COLOURS = {
    "ensemble": ACCENT,
    **{name: colour for name, (colour, _, _) in _STYLED.items()},
    "average": "#00805f",
    "totals": "#7a6a00",
    "seasonal_naive": "#6b7280",
}
MODEL_DASHES = {
    "ensemble": "solid",
    **{name: dash for name, (_, dash, _) in _STYLED.items()},
    "average": "dashdot",
    "totals": "longdash",
    "seasonal_naive": "longdashdot",
}
MODEL_SYMBOLS = {**{name: symbol for name, (_, _, symbol) in _STYLED.items()}, "average": "square"}
MODEL_NAMES = {
    "ensemble": "Ensemble",
    **{member.name: member.label for member in MEMBERS},
    "average": "Average of both" if len(MEMBERS) == 2 else "Average of the members",
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
