from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m5_assets.resources.landing_files import BadInput, Landing

OFFICIAL = "official.parquet"


def official_table() -> pd.DataFrame:
    """Return two groups per level, at two origins."""
    rows = [(level, f"{level}_{name}") for level in range(1, 13) for name in "ab"]
    frame = pd.DataFrame(rows, columns=["level", "series"])
    for day in (1857, 1885):
        frame[f"weight_{day}"] = np.tile([0.75, 0.25], 12) / 12
        frame[f"scale_{day}"] = np.arange(24) + day / 1000
    return frame


def _landing(tmp_path: Path, frame: pd.DataFrame) -> Landing:
    frame.to_parquet(tmp_path / OFFICIAL, index=False)
    return Landing(str(tmp_path))


def test_weights_and_scales_of_an_origin(tmp_path: Path) -> None:
    official = _landing(tmp_path, official_table()).official()
    assert official is not None
    assert official.sha256 == hashlib.sha256((tmp_path / OFFICIAL).read_bytes()).hexdigest()
    found = official.at(1885)
    assert found is not None
    assert found.columns.tolist() == ["level", "series", "weight", "scale"]
    assert found["weight"].tolist() == official_table()["weight_1885"].tolist()
    assert found["scale"].tolist() == official_table()["scale_1885"].tolist()
    assert official.at(1886) is None


def test_the_file_is_optional(tmp_path: Path) -> None:
    assert Landing(str(tmp_path)).official() is None


def _set(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.copy()
        changed[column] = pd.Series([value if i == row else old for i, old in enumerate(frame[column])])
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="scale_1885"), ["missing columns: scale_1885"]),
        (lambda f: f.rename(columns={"series": "name"}), ["missing columns: series", "unknown columns: name"]),
        (lambda f: f[["level", "series"]], ["missing columns: weight_1913, scale_1913"]),
        (lambda f: f.iloc[:0], ["contains no groups"]),
        (lambda f: f.astype({"weight_1857": str}), ["column weight_1857 has the wrong type"]),
        (_set(3, "scale_1857", np.nan), ["missing values", "row 4 (level 2, 2_b)"]),
        (_set(23, "level", 13), ["levels outside 1 to 12", "row 24 (level 13, 12_b)"]),
        (_set(1, "series", "1_a"), ["duplicate groups", "row 2 (level 1, 1_a)"]),
        (_set(2, "weight_1885", -0.1), ["weight_1885 is negative", "row 3 (level 2, 2_a)"]),
        (_set(2, "scale_1885", np.inf), ["scale_1885 is negative or not finite", "row 3"]),
        (_set(2, "scale_1885", 0.0), ["groups whose scale_1885 is zero", "row 3"]),
        (_set(2, "weight_1885", 0.5), ["weight_1885 of level 2 sums to", "a twelfth"]),
    ],
)
def test_an_invalid_file_is_named_with_its_rows(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: list[str]
) -> None:
    with pytest.raises(BadInput) as problem:
        _landing(tmp_path, change(official_table())).official()
    for word in [OFFICIAL, *words]:
        assert word in str(problem.value)


@pytest.mark.parametrize("content", [b"", b"level,series\n1,Total\n", b"PAR1" + bytes(64) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / OFFICIAL).write_bytes(content)
    with pytest.raises(BadInput, match=r"official\.parquet: cannot be read as Parquet"):
        Landing(str(tmp_path)).official()


def test_a_file_with_a_broken_page_is_rejected(tmp_path: Path) -> None:
    _landing(tmp_path, official_table())
    content = bytearray((tmp_path / OFFICIAL).read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / OFFICIAL).write_bytes(content)
    with pytest.raises(BadInput, match=r"official\.parquet: cannot be read as Parquet"):
        Landing(str(tmp_path)).official()
