"""The report of a backtest as Markdown with plots; tables and plots are drawn by `m5_assets.assets.presentation`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from m5_assets.assets.accuracy import ALIGNED, BENCHMARK, SCORED
from m5_assets.assets.presentation import grouped_bars_png, markdown_table
from m5_assets.model_specs import ENSEMBLE, MEMBER_NAMES

M5_SERIES, M5_TEAMS, M5_ORIGIN = 30_490, 5_507, 1941
PRIVATE_LEADERBOARD = {
    **{1: 0.5204, 2: 0.5282, 3: 0.5357, 4: 0.5358, 5: 0.5360, 6: 0.5443, 10: 0.5475, 20: 0.5569, 28: 0.561},
    **{30: 0.5632, 40: 0.5699, 50: 0.5760, 248: 0.6373, 415: 0.671, 482: 0.68081},
}
"""WRMSSE by place, origin d_1941. To place 50: "Scores and Ranks.xlsx" of the organisers' repository,
github.com/Mcompetitions/M5-methods. 248 and 482: the teams' own accounts of their solutions. 415: the last team above
the best benchmark, exponential smoothing bottom-up, in "M5 accuracy competition: results, findings, and conclusions",
International Journal of Forecasting 38 (2022)."""


@dataclass(frozen=True)
class Backtest:
    """The accuracy of past weeks.

    Attributes:
        origins: one row per origin, oldest first; index `day`, the origin's day number in the calendar. Columns: `week`
            (Week), `series` (their number), `weights_and_scales` ("official" or "own") and `forecast` (its digest).
        accuracy: one row per origin, model, level and horizon week: `day`, then the columns of `read_accuracy`.
    """

    origins: pd.DataFrame
    accuracy: pd.DataFrame

    def scores(self, column: str = "wrmsse", level: int = 0, horizon_week: int = 0) -> pd.DataFrame:
        """Return one measure, one row per model and one column per origin."""
        kept = (self.accuracy["level"] == level) & (self.accuracy["horizon_week"] == horizon_week)
        wide = self.accuracy[kept].pivot(index="model", columns="day", values=column)
        return wide.reindex(index=list(SCORED), columns=self.origins.index)


def place(score: float) -> str:
    """Return the place of a WRMSSE on the private leaderboard, as a range between the published scores around it."""
    ranks, scores = list(PRIVATE_LEADERBOARD), list(PRIVATE_LEADERBOARD.values())
    better = bisect_left(scores, score)
    if better == len(ranks):
        return f"after {ranks[-1]}"
    first, last = (ranks[better - 1] + 1 if better else 1), ranks[better]
    return str(first) if first == last else f"{first} to {last}"


def report(backtest: Backtest, command: str, plots: Sequence[str] = ()) -> str:
    """Return the report as Markdown.

    Args:
        backtest: the accuracy to report.
        command: the command that reproduces the report.
        plots: file names of the plots, relative to the report.
    """
    sections = [
        f"# Accuracy\n\nMade by `{command}`. WRMSSE is the M5 competition's measure: lower is better, 0 is perfect.",
        _origins(backtest),
        "## WRMSSE\n\n`ensemble` is the forecast in use: the weighted average of the members (`average`), aligned to "
        f"the totals. {' and '.join(f'`{name}`' for name in ALIGNED.values())} are the members, each aligned on its "
        f"own. `{BENCHMARK}` repeats the last seven days.\n\n" + _summary(backtest.scores()),
        *(f"![{Path(name).stem.replace('-', ', ')}]({name})" for name in plots),
        _gains(backtest),
        *([_places(backtest)] if (backtest.origins["series"] == M5_SERIES).all() else []),
        _levels(backtest),
        _horizon_weeks(backtest),
        "## Bias\n\nUnits forecast divided by units sold, minus 1.\n\n"
        + _table(backtest.scores("bias").rename(columns=_day_name), _percent),
    ]
    return "\n\n".join(sections) + "\n"


def write(backtest: Backtest, command: str, output: Path) -> None:
    """Write the report, with its plots as PNG files beside it; each file is replaced atomically."""
    output.parent.mkdir(parents=True, exist_ok=True)
    images = {f"{output.stem}-{name}.png": image for name, image in _plots(backtest).items()}
    for name, image in images.items():
        _replace(output.with_name(name), image)
    _replace(output, report(backtest, command, list(images)).encode())


def _plots(backtest: Backtest) -> dict[str, bytes]:
    scores = backtest.scores().T.rename(index=_day_name)
    by_level = _mean_by_level(backtest).rename(index=lambda name: f"L{name.split()[0]}")
    return {
        "wrmsse": grouped_bars_png(scores, "WRMSSE by origin"),
        "levels": grouped_bars_png(by_level, "WRMSSE by level, mean over the origins"),
    }


def _replace(target: Path, content: bytes) -> None:
    unfinished = target.with_name(f".{target.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(target)


def _origins(backtest: Backtest) -> str:
    rows = [
        {
            "origin": f"{_day_name(day)}, {row['week'].origin}",
            "forecast week": str(row["week"]),
            "forecast through": str(row["week"].last_forecast_day),
            "series": f"{row['series']:,}",
            "weights and scales": row["weights_and_scales"],
            "forecast's digest": row["forecast"][:12],
        }
        for day, row in backtest.origins.iterrows()
    ]
    note = (
        "Official weights and scales are the competition's. Own ones are computed from the landed sales, and differ if "
        "those begin later than d_1."
    )
    return f"## Origins\n\n{markdown_table(pd.DataFrame(rows)).value}\n\n{note}"


def _summary(scores: pd.DataFrame) -> str:
    shown = scores.rename(columns=_day_name)
    summary = {"mean": scores.mean(axis=1), "worst": scores.max(axis=1), "sd": scores.std(axis=1)}
    return _table(shown.assign(**summary), _score)


def _gains(backtest: Backtest) -> str:
    scores = backtest.scores()
    members, aligned = scores.loc[list(MEMBER_NAMES)], scores.loc[list(ALIGNED.values())].min()
    best, average, ensemble = members.min(), scores.loc["average"], scores.loc[ENSEMBLE]
    frame = pd.DataFrame(
        {
            "best member": members.idxmin(),
            "its WRMSSE": best.map(_score),
            "by averaging": (1 - average / best).map(_percent),
            "by alignment": (1 - ensemble / average).map(_percent),
            "ensemble over best member": (1 - ensemble / best).map(_percent),
            "over best aligned member": (1 - ensemble / aligned).map(_percent),
        }
    )
    text = (
        "How much lower WRMSSE gets: by averaging (average against best member), by alignment (ensemble against "
        "average), and of the ensemble against the best member, plain and aligned."
    )
    return f"## Gain of the ensemble\n\n{text}\n\n{_table(frame.rename(index=_day_name), str, 'origin')}"


def _places(backtest: Backtest) -> str:
    scores = backtest.scores().loc[ENSEMBLE]
    frame = pd.DataFrame({"WRMSSE": scores.map(_score), "place": scores.map(place)}).rename(index=_day_name)
    text = (
        f"Where the ensemble's score would rank among the final scores of the competition's {M5_TEAMS:,} teams, as "
        f"closely as the published scores allow. Those are of origin d_{M5_ORIGIN}. Other origins have other 28 days, "
        "easier or harder for everyone, so their place is an orientation and not a result."
    )
    return f"## Place on the private leaderboard\n\n{text}\n\n{_table(frame, str, 'origin')}"


def _levels(backtest: Backtest) -> str:
    ensemble = pd.DataFrame({name: scores.loc[ENSEMBLE] for name, scores in _by_level(backtest).items()}).T
    return (
        f"## Levels\n\nMean over the origins.\n\n{_table(_mean_by_level(backtest), _score, 'level')}\n\n"
        f"The ensemble by origin.\n\n{_table(ensemble.rename(columns=_day_name), _score, 'level')}"
    )


def _by_level(backtest: Backtest) -> dict[str, pd.DataFrame]:
    names = backtest.accuracy[backtest.accuracy["level"] > 0].drop_duplicates("level").set_index("level")["name"]
    return {f"{level} {names[level]}": backtest.scores(level=level) for level in sorted(names.index)}


def _mean_by_level(backtest: Backtest) -> pd.DataFrame:
    return pd.DataFrame({name: scores.mean(axis=1) for name, scores in _by_level(backtest).items()}).T


def _horizon_weeks(backtest: Backtest) -> str:
    weeks = range(1, int(backtest.accuracy["horizon_week"].max()) + 1)
    mean = pd.DataFrame({f"week {week}": backtest.scores(horizon_week=week).mean(axis=1) for week in weeks})
    text = "WRMSSE of each seven days of the horizon, mean over the origins."
    return f"## Weeks of the horizon\n\n{text}\n\n{_table(mean, _score)}"


def _table(frame: pd.DataFrame, text: Callable[[float], str], corner: str = "model") -> str:
    return str(markdown_table(frame.map(text).rename_axis(corner).reset_index()).value)


def _day_name(day: object) -> str:
    return f"d_{day}"


def _score(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.4f}"


def _percent(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:+.2%}"
