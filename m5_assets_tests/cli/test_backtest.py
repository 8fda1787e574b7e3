"""Tests of the backtest: its report from accuracy tables in a real lake, the weeks it runs, its options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from m5_assets.cli import backtest, backtest_report
from m5_assets.cli.main import cli
from m5_assets.errors import UserError
from m5_assets.forecasting.hierarchy import LEVELS
from m5_assets.resources.lake import Lake
from m5_assets.sample import write_sample
from m5_assets.settings import settings
from m5_assets.weeks import Week

WEEKS = {1885: Week.parse("2016-03-21"), 1913: Week.parse("2016-04-18")}
SCORES = {
    1885: {
        **{"gbm": 0.60, "lstm": 0.64, "average": 0.58, "gbm_aligned": 0.52, "lstm_aligned": 0.51},
        **{"ensemble": 0.50, "seasonal_naive": 0.84},
    },
    1913: {
        **{"gbm": 0.70, "lstm": 0.66, "average": 0.67, "gbm_aligned": 0.59, "lstm_aligned": 0.62},
        **{"ensemble": 0.60, "seasonal_naive": 0.90},
    },
}


def _accuracy(day: int) -> pa.Table:
    """Return scores in which level n adds n hundredths to the model's score, and horizon week w adds w thousandths."""
    rows = []
    for number, (model, score) in enumerate(SCORES[day].items()):
        bias = number / 100 - 0.02
        for week in range(5):
            whole = score + week / 1000
            rows.append((model, 0, "WRMSSE", week, whole, bias))
            rows += [(model, each.number, each.name, week, whole + each.number / 100, bias) for each in LEVELS]
    columns = ["model", "level", "name", "horizon_week", "wrmsse", "bias"]
    return pa.Table.from_pandas(pd.DataFrame(rows, columns=columns), preserve_index=False)


def _publish(lake: Lake, dataset: str, week: Week, table: pa.Table, **given: dict[str, object]) -> str:
    with lake.staging() as staged:
        pq.write_table(table, staged / "accuracy.parquet")
        inputs = {name: str(digest) for name, digest in given.get("inputs", {}).items()}
        return lake.publish(dataset, week.key, staged, inputs=inputs, attributes=given.get("attributes", {})).digest


def _lake(root: Path, series: int = 30_490) -> Lake:
    lake = Lake(root=str(root))
    for day, week in WEEKS.items():
        digest = _publish(lake, "ensemble_forecast", week, pa.table({"day": [day]}))
        attributes: dict[str, object] = {"origin_day": day, "series": series, "weights_and_scales": "official"}
        inputs: dict[str, object] = {"ensemble_forecast": digest}
        _publish(lake, "forecast_accuracy", week, _accuracy(day), inputs=inputs, attributes=attributes)
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return _lake(tmp_path / "lake")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set the home to a folder of its own and return it."""
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def _rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    lines = text[text.index(f"## {heading}") :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return [table[0], *table[2:]]


def test_the_report_of_two_origins(lake: Lake) -> None:
    found = backtest.collect(lake, [WEEKS[1913], WEEKS[1885]])
    text = backtest_report.report(found, "m5 backtest --origins 1885,1913")
    assert "`m5 backtest --origins 1885,1913`" in text
    digest = lake.get("ensemble_forecast", "2016-04-18").digest[:12]
    assert _rows(text, "Origins")[2] == [
        *("d_1913, 2016-04-24", "2016-04-18", "2016-05-22", "30,490", "official", digest)
    ]
    assert _rows(text, "WRMSSE") == [
        ["model", "d_1885", "d_1913", "mean", "worst", "sd"],
        ["gbm", "0.6000", "0.7000", "0.6500", "0.7000", "0.0707"],
        ["lstm", "0.6400", "0.6600", "0.6500", "0.6600", "0.0141"],
        ["average", "0.5800", "0.6700", "0.6250", "0.6700", "0.0636"],
        ["gbm_aligned", "0.5200", "0.5900", "0.5550", "0.5900", "0.0495"],
        ["lstm_aligned", "0.5100", "0.6200", "0.5650", "0.6200", "0.0778"],
        ["ensemble", "0.5000", "0.6000", "0.5500", "0.6000", "0.0707"],
        ["seasonal_naive", "0.8400", "0.9000", "0.8700", "0.9000", "0.0424"],
    ]
    assert _rows(text, "Gain of the ensemble")[1:] == [
        ["d_1885", "gbm", "0.6000", "+3.33%", "+13.79%", "+16.67%", "+1.96%"],
        ["d_1913", "lstm", "0.6600", "-1.52%", "+10.45%", "+9.09%", "-1.69%"],
    ]
    assert _rows(text, "Place on the private leaderboard")[1:] == [
        ["d_1885", "0.5000", "1"],
        ["d_1913", "0.6000", "51 to 248"],
    ]
    assert "orientation" in text
    levels = _rows(text, "Levels")
    assert len(levels) == 13
    assert levels[12] == [*("12 item-store", "0.7700", "0.7700", "0.7450", "0.6750", "0.6850", "0.6700", "0.9900")]
    assert _rows(text, "Weeks of the horizon")[6] == ["ensemble", "0.5510", "0.5520", "0.5530", "0.5540"]
    assert _rows(text, "Bias")[6] == ["ensemble", "+3.00%", "+3.00%"]


def test_one_origin_has_no_spread_and_a_sample_has_no_rank(tmp_path: Path) -> None:
    found = backtest.collect(_lake(tmp_path / "lake", series=1000), [WEEKS[1885]])
    text = backtest_report.report(found, "m5 backtest --origins 1885")
    assert _rows(text, "WRMSSE")[1] == ["gbm", "0.6000", "0.6000", "0.6000", "n/a"]
    assert "leaderboard" not in text


@pytest.mark.parametrize(
    ("score", "place"),
    [
        *((0.5, "1"), (0.5204, "1"), (0.53, "3"), (0.5359, "5"), (0.5475, "7 to 10")),
        *((0.55, "11 to 20"), (0.63, "51 to 248"), (0.7, "after 482")),
    ],
)
def test_a_rank_is_as_precise_as_the_known_scores_allow(score: float, place: str) -> None:
    assert backtest_report.place(score) == place


def test_the_report_is_written_with_its_plots(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "docs" / "accuracy.md"
    found = backtest.collect(lake, list(WEEKS.values()))
    backtest_report.write(found, "m5 backtest", target)
    assert sorted(p.name for p in target.parent.iterdir()) == [
        "accuracy-levels.png",
        "accuracy-wrmsse.png",
        "accuracy.md",
    ]
    text = target.read_text()
    for name in ("accuracy-levels.png", "accuracy-wrmsse.png"):
        assert f"]({name})" in text
        assert (target.parent / name).read_bytes().startswith(b"\x89PNG")
    before = {p.name: p.read_bytes() for p in target.parent.iterdir()}
    backtest_report.write(found, "m5 backtest", target)
    assert {p.name: p.read_bytes() for p in target.parent.iterdir()} == before


def test_only_missing_weeks_are_run(lake: Lake) -> None:
    weeks = [WEEKS[1913], WEEKS[1885]]
    assert backtest.plan(lake, weeks, again=False) == []
    assert backtest.plan(lake, weeks, again=True) == [(WEEKS[1885], True), (WEEKS[1913], True)]
    _publish(lake, "ensemble_forecast", WEEKS[1913], pa.table({"day": [0]}))  # forecast again, not scored since
    unborn = Week.parse("2016-02-22")
    assert backtest.plan(lake, [*weeks, unborn], again=False) == [(unborn, True), (WEEKS[1913], False)]


def test_a_week_that_has_not_matured_is_rejected_before_anything_runs(home: Path) -> None:
    write_sample(home / "landing", items=7, weeks=2, seed=1)
    lake = Lake(root=str(home / "lake"))
    with pytest.raises(
        UserError, match="week 2016-04-25 cannot be scored: its forecast ends on 2016-05-29, the landed"
    ):
        backtest.carry_out(lake, [WEEKS[1885], Week.parse("2016-04-25")], again=False)
    assert lake.list("") == []
    assert not (home / "dagster").exists()


def _calendar() -> pd.DataFrame:
    dates = pd.date_range("2011-01-29", periods=1969, unit="s")
    return pd.DataFrame({"date": dates, "d": range(1, 1970)})


def test_origins_are_the_last_days_of_weeks() -> None:
    keys = [week.key for week in backtest.weeks_of_origins([1857, 1885, 1913, 1941], _calendar())]
    assert keys == ["2016-02-22", "2016-03-21", "2016-04-18", "2016-05-16"]
    with pytest.raises(
        UserError, match=r"d_1914 \(Monday 2016-04-25\) is not the last day of a week.*d_1920, or d_1913"
    ):
        backtest.weeks_of_origins([1913, 1914], _calendar())
    with pytest.raises(UserError, match=r"d_1970 is not in calendar\.csv, which holds d_1 to d_1969"):
        backtest.weeks_of_origins([1970], _calendar())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --weeks or --origins"),
        (["--weeks", "2016-04-18", "--origins", "1913"], "give either --weeks or --origins"),
        (["--weeks", "2016-04-18,2016-04-19"], "2016-04-19 is not the first day of a week"),
        (["--origins", "1913,x"], "'x' is not a valid integer"),
    ],
)
def test_invalid_options_are_rejected(options: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["backtest", *options])
    assert done.exit_code == 2
    assert message in done.output


def test_the_command_prints_the_scores_in_the_lake(home: Path) -> None:
    _lake(home / "lake")
    done = CliRunner().invoke(cli, ["backtest", "--weeks", "2016-03-21, 2016-04-18"])
    assert done.exit_code == 0, done.output
    assert "Made by `m5 backtest --weeks 2016-03-21,2016-04-18`" in done.output
    assert _rows(done.output, "WRMSSE")[6][:3] == ["ensemble", "0.5000", "0.6000"]
