"""What commands write: never over something that is no file, or that is somebody's data."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from m5_assets.cli.parameters import OUTPUT_FILE
from m5_assets.cli.sample import sample
from m5_assets.errors import UserError


def test_of_a_link_the_file_behind_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    assert OUTPUT_FILE.convert(str(tmp_path / "link.csv"), None, None) == tmp_path / "target.csv"
    assert OUTPUT_FILE.convert("new/file.csv", None, None) == Path("new/file.csv")


@pytest.mark.parametrize("name", ["", ".", "/dev/full", "pipe"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(click.BadParameter, match=r"is (no regular file|a directory)"):
        OUTPUT_FILE.convert(name, None, None)


def test_the_sample_replaces_no_other_data(tmp_path: Path) -> None:
    def run(*options: str) -> BaseException | None:
        done = CliRunner().invoke(sample, [str(tmp_path / "landing"), "--items", "7", "--weeks", "1", *options])
        return done.exception

    assert run() is None
    assert run() is None
    prices = tmp_path / "landing/sell_prices.csv"
    generated = prices.read_bytes()
    prices.write_text("mine")
    refusal = run()
    assert isinstance(refusal, UserError)
    assert "other data in sell_prices.csv; give another folder, or --force" in str(refusal)
    assert prices.read_text() == "mine"
    assert run("--force") is None
    assert prices.read_bytes() == generated
