#!/usr/bin/env python3
"""Compares our features with mlforecast's on the same rows: seconds, peak memory, equality.

    features_vs_mlforecast.py [--peer PYTHON] [--landing FOLDER] [--days 448] [--threads 2] [--rounds 3]

PYTHON is an interpreter with mlforecast (`make benchmark-features` sets one up); without it, only ours are measured.
Without landed files, sales of the
same size are generated. Both sides get the same series without release dates, so that they agree on where a series
begins, and compute 46 float features for each series and day: 19 lags, rolling means and standard deviations of six
windows, two maxima, three lagged windows, four same-weekday means and six calendar features. Ours are computed for a
horizon of one day, where lag k of the target is mlforecast's lag k.

Our result is a matrix, mlforecast's a pandas frame; both hold all rows. "By store" works like the features job: a tenth
of the series at a time, each matrix dropped before the next is computed, for which mlforecast has no call. The time is
that of the call itself (ours includes building the context), from arrays or a frame in memory; the peak memory is above
that of the input. The sides take turns, and the fastest round counts, as other work on the machine can only slow them.

A window cut by the first days has a value here but none in mlforecast, so equality is checked on values that both have,
over every 25th series. mlforecast updates rolling standard deviations from day to day in single precision and drifts;
where the two differ, ours must equal NumPy's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST_DAY = "2015-03-02"
SERIES = 30_490
TOLERANCE = 1e-3
"""Largest difference between values that count as equal; relative for values above 1."""
CHECKED = slice(None, None, 25)
LAGS = (1, 2, 3, 4, 5, 6, 7, 14)
TARGET_LAGS = (28, 35, 42, 49, 56, 63, 70, 77, 84, 91, 182)
WINDOWS = (7, 14, 28, 56, 91, 182)
WEEKS = (4, 8, 13, 26)
STORES = 10
OURS, PEER = "ours", "mlforecast"
PARTS = {OURS: 1, "by store": STORES}
"""Our variants, and the number of parts into which each divides the series."""
NAMES = {
    **{f"origin_lag_{k}": f"lag{k}" for k in LAGS},
    **{f"lag_{k}": f"lag{k}" for k in TARGET_LAGS},
    **{f"rolling_mean_{w}": f"rolling_mean_lag1_window_size{w}" for w in WINDOWS},
    **{f"rolling_std_{w}": f"rolling_std_lag1_window_size{w}" for w in WINDOWS},
    **{f"rolling_max_{w}": f"rolling_max_lag1_window_size{w}" for w in (28, 91)},
    **{f"lag_28_rolling_mean_{w}": f"rolling_mean_lag28_window_size{w}" for w in (7, 28)},
    "lag_28_rolling_std_28": "rolling_std_lag28_window_size28",
    **{f"same_weekday_mean_{w}": f"seasonal_rolling_mean_lag7_season_length7_window_size{w}" for w in WEEKS},
    **{"weekday": "dayofweek", "day_of_month": "day", "month": "month", "quarter": "quarter"},
    **{"week_of_year": "week", "day_of_year": "dayofyear"},
}
"""Our feature names and mlforecast's."""

Floats = npt.NDArray[np.float32]


def main() -> None:
    """Measure each side in its own process and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="an interpreter with mlforecast")
    parser.add_argument("--landing", type=Path)
    parser.add_argument("--days", type=int, default=448)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", choices=(*PARTS, PEER), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        measure = _mlforecast if arguments.engine == PEER else partial(_ours, PARTS[arguments.engine])
        print(json.dumps(measure(arguments.folder, arguments.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_sales(folder, arguments.landing, arguments.days)
        engines = (*PARTS, PEER) if arguments.peer else PARTS
        measured: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
        for _ in range(arguments.rounds):
            for engine in measured:
                measured[engine].append(_run(engine, folder, arguments.peer, arguments.threads))
        best = {engine: min(rounds, key=lambda found: found["seconds"]) for engine, rounds in measured.items()}
        _print_times(best)
        if arguments.peer:
            _check_equality(folder)
            _print_ratios(best)


def _run(engine: str, folder: Path, peer: Path, threads: int) -> dict[str, float]:
    """Measure an engine in its own process."""
    python = peer if engine == PEER else Path(sys.executable)
    command = [str(python), __file__, "--engine", engine, "--folder", str(folder), "--threads", str(threads)]
    environment = os.environ | {"PYTHONPATH": "" if engine == PEER else str(Path(__file__).parents[1])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write_sales(folder: Path, landing: Path | None, days: int) -> None:
    if landing and landing.is_dir():
        from m5_assets.resources.landing_files import Landing

        sales = Landing(str(landing)).sales()
        units, source = sales.units[:, -days:].astype(np.float32), str(landing.name)
    else:
        rng = np.random.default_rng(1)
        units = rng.poisson(rng.gamma(0.5, 2.0, (SERIES, 1)), (SERIES, days)).astype(np.float32)
        source = "generated"
    print(f"{units.shape[0]:,} series x {units.shape[1]} days ({source}), {len(NAMES)} features")
    np.save(folder / "sales.npy", units)


def _ours(parts: int, folder: Path, threads: int) -> dict[str, float]:
    measured, table = _measure(np.load(folder / "sales.npy"), threads, parts)
    if parts == 1:
        np.save(folder / "ours.npy", table[CHECKED])
    return measured


def _measure(sales: Floats, threads: int, parts: int) -> tuple[dict[str, float], Floats]:
    """Return the measurements of computing all rows, and the last part's (series, days, features) table."""
    import pandas as pd

    from m5_assets.forecasting.closed_days import ClosedDays
    from m5_assets.forecasting.features import Aggregates, Context, Rows, compute
    from m5_assets.forecasting.panel import HORIZON, Panel

    count, days = sales.shape
    dates = pd.date_range(FIRST_DAY, periods=days + HORIZON, unit="s")
    calendar = pd.DataFrame({"date": dates, **dict.fromkeys(("event_name_1", "event_type_1"), "")})
    calendar = calendar.assign(event_name_2="", event_type_2="", snap_CA=False)
    series = pd.DataFrame({"item_id": [f"{n // 10:05d}" for n in range(count)], "dept_id": "D", "cat_id": "C"})
    series = series.assign(store_id=[f"CA_{n % STORES}" for n in range(count)], state_id="CA")
    price = np.ones((count, days + HORIZON), np.float32)
    panel = Panel(series, sales, price, np.zeros(count, np.int32), calendar, ClosedDays())

    def rows(of: int) -> Rows:
        series = np.repeat(np.arange(of, dtype=np.int32), days - 1)
        return Rows(series, np.tile(np.arange(1, days, dtype=np.int32), of), np.ones(len(series), np.int32))

    names = list(NAMES)
    small = panel.select(np.arange(20))
    compute(
        Context.build(small), rows(20), names, threads=threads
    )  # compile the kernels, or load them from the cache, first
    base = _memory("VmRSS", reset=True)
    cpu, start = time.process_time(), time.perf_counter()
    aggregates, table = Aggregates.of([panel]), np.empty((0, 0), np.float32)
    for first in range(parts):
        part = panel if parts == 1 else panel.select(np.arange(first, count, parts))
        del table  # free it before the next is computed
        table = compute(Context.build(part, aggregates), rows(len(part.sales)), names, threads=threads)
    end, used, peak = time.perf_counter(), time.process_time() - cpu, _memory("VmHWM") - base
    measured = {"seconds": end - start, "cpu": used, "gigabytes": peak, "rows": count * (days - 1)}
    return measured, table.reshape(-1, days - 1, len(names))


def _mlforecast(folder: Path, threads: int) -> dict[str, float]:
    import pandas as pd
    from mlforecast import MLForecast  # type: ignore[import-not-found]  # only in the peers' environment
    from mlforecast.lag_transforms import (  # type: ignore[import-not-found]
        RollingMax,
        RollingMean,
        RollingStd,
        SeasonalRollingMean,
    )

    sales = np.load(folder / "sales.npy")
    count, days = sales.shape
    columns: dict[str, Any] = {"unique_id": np.repeat(np.arange(count, dtype=np.int32), days)}
    columns["ds"] = np.tile(pd.date_range(FIRST_DAY, periods=days), count)
    frame = pd.DataFrame({**columns, "y": sales.reshape(-1)})
    one_day = [transform(w) for transform in (RollingMean, RollingStd) for w in WINDOWS]
    forecaster = MLForecast(
        models=[],
        freq="D",
        lags=[*LAGS, *TARGET_LAGS],
        lag_transforms={
            1: [*one_day, RollingMax(28), RollingMax(91)],
            28: [RollingMean(7), RollingMean(28), RollingStd(28)],
            7: [SeasonalRollingMean(7, weeks) for weeks in WEEKS],
        },
        date_features=["dayofweek", "day", "month", "quarter", "week", "dayofyear"],
        num_threads=threads,
    )
    base = _memory("VmRSS", reset=True)
    cpu, start = time.process_time(), time.perf_counter()
    table = forecaster.preprocess(frame, dropna=False, static_features=[])
    end, used, peak = time.perf_counter(), time.process_time() - cpu, _memory("VmHWM") - base
    checked = table[list(NAMES.values())].to_numpy(np.float32).reshape(count, days, -1)[CHECKED, 1:]
    np.save(folder / "mlforecast.npy", checked)
    return {"seconds": end - start, "cpu": used, "gigabytes": peak, "rows": len(table)}


def _memory(field: str, *, reset: bool = False) -> float:
    """Return a line of /proc/self/status in GB; `reset` resets the peak first."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024 / 1e9


def _check_equality(folder: Path) -> None:
    ours, peer = np.load(folder / "ours.npy"), np.load(folder / "mlforecast.npy")
    both = np.isfinite(ours) & np.isfinite(peer)
    difference = np.where(both, np.abs(ours - peer) / np.maximum(np.abs(peer), 1.0), 0.0).max(axis=(0, 1))
    for name, largest in zip(NAMES, difference, strict=True):
        if largest > TOLERANCE:
            window, lag = int(name.rsplit("_", 1)[1]), 28 if name.startswith("lag_28") else 1
            sales = np.load(folder / "sales.npy")[CHECKED].astype(float)
            exact = np.lib.stride_tricks.sliding_window_view(sales, window, axis=1)[:, :-lag].std(axis=2, ddof=1)
            column = list(NAMES).index(name)
            own, other = (np.abs(table[:, window + lag - 2 :, column] - exact).max() for table in (ours, peer))
            print(f"{name}: {largest:.1e} apart; from numpy's, ours {own:.1e}, mlforecast's {other:.1e}")
            if not own <= TOLERANCE:
                raise SystemExit(f"{name} is not what mlforecast computes, nor what numpy does")
    equal = int((difference <= TOLERANCE).sum())
    print(f"equality: {both.sum():,} values, {equal} of {len(NAMES)} features within {TOLERANCE}")


def _print_times(measured: dict[str, dict[str, float]]) -> None:
    for name, found in measured.items():
        each = f"{found['seconds'] / found['rows'] * 1e9:,.0f} ns per row"
        seconds = f"{found['seconds']:6.1f} s ({each}), {found['cpu']:.1f} s of CPU"
        print(f"{name:<11} {seconds}, peak {found['gigabytes']:.2f} GB")


def _print_ratios(measured: dict[str, dict[str, float]]) -> None:
    peer_ = measured[PEER]
    for name in PARTS:
        found = measured[name]
        print(
            f"{name} against mlforecast: {peer_['seconds'] / found['seconds']:.1f} times faster, "
            f"{found['cpu'] / peer_['cpu']:.2f} of the CPU, {found['gigabytes'] / peer_['gigabytes']:.2f} of the memory"
        )


if __name__ == "__main__":
    main()
