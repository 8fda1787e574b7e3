"""What people can fix is said in one line, by every command, and starts no run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from m5_assets.cli.main import main
from m5_assets.settings import settings

WEEK = "2016-05-16"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty home, whose database refuses connections."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M5_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("M5_DATABASE_URL", "postgresql://m5:hunter2@127.0.0.1:9/m5")
    (tmp_path / "a-file").write_text("")
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("sample out --items 4", 1, "items is 4; give at least 7"),
        ("sample out --items 0", 1, "items is 0; give at least 7"),
        ("sample out --items -1", 1, "items is -1; give at least 7"),
        ("sample out --weeks 0", 1, "weeks is 0; give 1 to 277"),
        ("sample out --weeks 1000", 1, "weeks is 1000; give 1 to 277"),
        ("sample out --seed -1", 1, "seed is -1; give 0 or more"),
        ("sample a-file/out", 1, "a-file/out: Not a directory"),
        ("sample a-file", 2, "Directory 'a-file' is a file"),
        ("forecast", 2, "Missing option '--week'"),
        ("forecast --week 2016-05-17", 2, "try 2016-05-16"),
        ("forecast --week garbage", 2, "'garbage' is not a week"),
        ("forecast --week 9999-12-27", 2, "9999-12-27 is no week of sales"),
        ("forecast --week 0001-01-01", 2, "0001-01-01 is no week of sales"),
        ("forecast --week 2101-01-03", 1, "missing file"),
        (f"forecast --week {WEEK}", 1, "missing file"),
        (f"backfill --from {WEEK} --to 2016-05-09", 2, "is later than --to 2016-05-09"),
        (f"backfill --from 2016-05-09 --to {WEEK}", 1, "missing file"),
        (f"score --week {WEEK}", 1, "missing file"),
        ("backtest", 2, "give either --weeks or --origins"),
        ("backtest --weeks ,", 2, "'' is not a week"),
        (f"backtest --weeks {WEEK}", 1, "missing file"),
        ("backtest --origins 1913", 1, "missing file"),
        (f"backtest --weeks {WEEK} --output .", 2, "is a directory"),
        (f"summary --week {WEEK}", 1, "the database refuses or does not answer"),
        (f"export --week {WEEK} --output nowhere/x.csv", 1, f"week {WEEK}, is not in the lake"),
        (f"export --week {WEEK} --output .", 2, "is a directory"),
        (f"report --week {WEEK}", 1, "the database does not respond"),
        (f"explain --week {WEEK} --item X --store Y", 1, f"week {WEEK}, is not in the lake"),
        (f"explain --week {WEEK} --item X --store Y --date 2016-13-01", 2, "'2016-13-01' does not match"),
        ("dashboard --port 0", 2, "0 is not in the range 1<=x<=65535"),
        ("ui --port 65536", 2, "65536 is not in the range 1<=x<=65535"),
        ("deploy nowhere", 2, "Missing option '--environment'"),
        ("quicksight publish", 2, "No such command 'publish'"),
    ],
)
def test_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, code: int, said: str
) -> None:
    assert _error(monkeypatch, capsys, command, code).count(said) == 1
    assert not (home / "home" / "dagster").exists()
    assert list((home / "home" / "lake").rglob("*")) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [("nonsense", "the database URL is invalid"), ("mysql://a:hunter2@b/c", "starts with mysql://")],
)
def test_a_database_url_of_another_kind(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    monkeypatch.setenv("M5_DATABASE_URL", url)
    settings.cache_clear()
    assert said in _error(monkeypatch, capsys, f"summary --week {WEEK}", 1)


def test_a_defect_of_the_program_keeps_its_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("not a person's mistake")

    monkeypatch.setattr("m5_assets.cli.sample.write_sample", broken)
    monkeypatch.setattr(sys, "argv", ["m5", "sample", "out"])
    with pytest.raises(ValueError, match="not a person's mistake"):
        main()


def _error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, code: int) -> str:
    """Run a command and return its error, which is one line."""
    monkeypatch.setattr(sys, "argv", ["m5", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    text = capsys.readouterr().err
    assert "hunter2" not in text
    return text[text.index("Error: ") :]
