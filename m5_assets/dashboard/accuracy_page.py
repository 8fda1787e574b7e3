"""The Accuracy page: WRMSSE and bias of past weeks, against the seasonal naive."""

from __future__ import annotations

import pandas as pd

from m5_assets.dashboard import plotly_figures
from m5_assets.dashboard.database import Reader
from m5_assets.weeks import Week

LEVEL_NAMES = {
    1: "Total", 2: "State", 3: "Store", 4: "Category", 5: "Department", 6: "State-category", 7: "State-department",
    8: "Store-category", 9: "Store-department", 10: "Item", 11: "Item-state", 12: "Item-store",
}  # fmt: skip
"""The twelve levels of the M5 Competitors' Guide, table 1."""
WORST_ROWS = 20
_GROUPS = {"Category": (4, "cat_id", "cat"), "State": (2, "state_id", "state"), "Store": (3, "store_id", "store"),
           "Department": (5, "dept_id", "dept")}  # fmt: skip

_SCORES = """
SELECT week, model, level, horizon_week, wrmsse, bias FROM m5.accuracy
WHERE (level = 0 AND horizon_week = 0) OR week = :week
"""

_AGGREGATES = """
SELECT level, model, state_id, store_id, cat_id, dept_id, units, rmsse, mae, bias FROM m5.aggregate_accuracy
WHERE week = :week AND level IN (2, 3, 4, 5) AND model IN ('ensemble', 'seasonal_naive')
"""

# Only the few series shown need the benchmark. A null key means all; coalesce lets nulls join.
_WORST = """
WITH scored AS (
    SELECT *, weight * rmsse / sum(weight * rmsse) OVER () AS share FROM m5.aggregate_accuracy
    WHERE week = :week AND level = :level AND model = 'ensemble' AND rmsse IS NOT NULL
),
worst AS (SELECT * FROM scored ORDER BY share DESC, item_id, store_id LIMIT :count),
naive AS (
    SELECT * FROM m5.aggregate_accuracy WHERE week = :week AND level = :level AND model = 'seasonal_naive'
)
SELECT w.item_id, w.store_id, w.state_id, w.dept_id, w.cat_id, w.units, w.rmsse, n.rmsse AS naive_rmsse, w.mae, w.bias,
    w.share
FROM worst w LEFT JOIN naive n
    ON coalesce(n.item_id, '') = coalesce(w.item_id, '') AND coalesce(n.store_id, '') = coalesce(w.store_id, '')
    AND coalesce(n.state_id, '') = coalesce(w.state_id, '') AND coalesce(n.cat_id, '') = coalesce(w.cat_id, '')
    AND coalesce(n.dept_id, '') = coalesce(w.dept_id, '')
ORDER BY w.share DESC, w.item_id, w.store_id
"""


class Scores:
    """The scores of one week, and every week's total score."""

    def __init__(self, reader: Reader, week: Week) -> None:
        self._scores = reader.frame(_SCORES, week=week.first_day)
        self._aggregates = reader.frame(_AGGREGATES, week=week.first_day)
        self.week = week

    @property
    def over_weeks(self) -> pd.DataFrame:
        """Scores of every week over all levels and 28 days: week, model, wrmsse, bias."""
        return self._top(self._scores)

    @property
    def of_week(self) -> pd.DataFrame:
        """The week's scores over all levels and 28 days, indexed by model: wrmsse, bias."""
        rows = self.over_weeks
        return rows[rows["week"] == self.week.first_day].set_index("model")[["wrmsse", "bias"]]

    @property
    def by_level(self) -> pd.DataFrame:
        """The week's scores by level: level, level_name, model, wrmsse."""
        rows = self._scores
        rows = rows[(rows["week"] == self.week.first_day) & (rows["level"] > 0) & (rows["horizon_week"] == 0)]
        return rows.assign(level_name=rows["level"].map(LEVEL_NAMES)).sort_values(["level", "model"])

    @property
    def by_horizon(self) -> pd.DataFrame:
        """The week's scores by week of the horizon: horizon_week, model, wrmsse, bias."""
        rows = self._scores
        rows = rows[(rows["week"] == self.week.first_day) & (rows["level"] == 0) & (rows["horizon_week"] > 0)]
        return rows.sort_values(["horizon_week", "model"])

    def by_group(self) -> dict[str, pd.DataFrame]:
        """Return tables by category, state, store and department: name, units, rmsse, naive, skill, bias."""
        tables = {}
        for title, (level, column, parameter) in _GROUPS.items():
            rows = self._aggregates[self._aggregates["level"] == level]
            ours = rows[rows["model"] == "ensemble"].set_index(column)
            naive = rows[rows["model"] == "seasonal_naive"].set_index(column)
            table = ours[["units", "rmsse", "mae", "bias"]].astype(float)
            table = table.assign(naive=naive["rmsse"].astype(float), naive_bias=naive["bias"].astype(float))
            table["skill"] = 1 - table["rmsse"] / table["naive"]
            tables[title] = table.sort_index().rename_axis("name").reset_index().assign(parameter=parameter)
        return tables

    def charts(self) -> dict[str, plotly_figures.Figure]:
        """Return the page's four charts."""
        return {
            "weeks": plotly_figures.weekly_scores(self.over_weeks, "wrmsse", "WRMSSE"),
            "bias": plotly_figures.weekly_scores(self.over_weeks, "bias", "Forecast vs sales", as_percent=True),
            "levels": plotly_figures.level_scores(self.by_level),
            "horizon": plotly_figures.horizon_scores(self.by_horizon),
        }

    @staticmethod
    def _top(scores: pd.DataFrame) -> pd.DataFrame:
        return scores[(scores["level"] == 0) & (scores["horizon_week"] == 0)].sort_values(["week", "model"])


def worst(reader: Reader, week: Week, level: int) -> pd.DataFrame:
    """Return the level's series with the largest errors (weight times RMSSE) and their share of the level's score."""
    return reader.frame(_WORST, week=week.first_day, level=level, count=WORST_ROWS)


def wide(scores: pd.DataFrame, index: str, column: str) -> pd.DataFrame:
    """Return a chart's table: one row per value of `index`, one column per model."""
    return scores.pivot_table(index=index, columns="model", values=column, sort=False).reset_index()
