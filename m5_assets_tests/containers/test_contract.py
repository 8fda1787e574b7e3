from __future__ import annotations

from pathlib import Path

import pytest

from m5_assets.containers.contract import channel
from m5_assets.forecasting.file_names import file_name, key_of


def test_the_files_of_a_channel_are_in_the_order_of_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models number the stores in the order of their ids; quoted names would be in another one."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    stores = ["CA_1", "CA_1 b", "CA_10", "CA_Z", "CA_Ö"]
    folder = tmp_path / "input" / "data" / "panel"
    folder.mkdir(parents=True)
    for store in stores:
        (folder / f"{file_name(store)}.parquet").touch()
    assert [key_of(path.stem) for path in channel("panel")] == sorted(stores)
    assert sorted(path.name for path in folder.iterdir())[0] == "CA_!C3!96.parquet"
