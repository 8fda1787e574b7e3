"""The palette's contrast, by WCAG."""

from __future__ import annotations

import pytest

from m5_assets.dashboard import colours


@pytest.mark.parametrize("colour", [*colours.MODEL_COLOURS.values(), colours.HISTORY, colours.LAST_YEAR])
def test_lines_stand_out_from_white(colour: str) -> None:
    assert colours.contrast(colour, "#ffffff") >= 3


@pytest.mark.parametrize("colour", [colours.INK, colours.MUTED, colours.ACCENT, colours.RISE, colours.FALL])
def test_text_stands_out_from_white(colour: str) -> None:
    assert colours.contrast(colour, "#ffffff") >= 4.5


def test_contrast_follows_wcag() -> None:
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WebAIM's own example


def test_models_differ_in_dash_as_well_as_colour() -> None:
    assert len(set(colours.MODEL_DASHES.values())) == len(colours.MODEL_DASHES)
