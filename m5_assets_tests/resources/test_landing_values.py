"""Values that other programs write into landed files: taken where they are unambiguous, else rejected by name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from m5_assets.resources.landing_files import BadInput, Landing
from m5_assets_tests.support.landing_folders import CALENDAR, SALES, write_folder


@pytest.mark.parametrize("missing", ["NA", "NaN", "None", "null"])
def test_a_missing_event_of_another_program_is_no_event(tmp_path: Path, missing: str) -> None:
    expected = Landing(str(write_folder(tmp_path / "usual"))).calendar()
    file = write_folder(tmp_path / "other") / CALENDAR
    head, *lines = file.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for row in cells:
        row[7:11] = [cell or missing for cell in row[7:11]]
    file.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    found = Landing(str(tmp_path / "other")).calendar()
    pd.testing.assert_frame_equal(found, expected)


def test_units_whose_sum_cannot_be_stored_are_rejected(tmp_path: Path) -> None:
    file = write_folder(tmp_path) / SALES
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *(f"{line.rsplit(',', 1)[0]},1300000000" for line in lines)]) + "\n")
    with pytest.raises(
        BadInput, match=r"(?s)sum to more than 76,695,844 units.*CA_1, FOODS_1: 2,600,000,000 units on d_12"
    ):
        Landing(str(tmp_path)).sales()
