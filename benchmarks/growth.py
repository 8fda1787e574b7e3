"""Measures time and memory of a week's stages with 3,049 series (one store), 30,490 (ten) and 304,900 (a hundred).

    python benchmarks/growth.py --folder FOLDER [--stores 1 10 100] [--weeks 64] [--figure docs/growth.png]

For each size, a lake is generated once: M5's 3,049 items in the given number of stores, drawn like the sample, with
prices since 2011. Then the week's programs run as in jobs, from files to files, each in its own process: the features
job; both models' servers, which get one file per store; the ensemble and the week's loads as Dagster runs them, into an
embedded PostgreSQL. Both trainings run with few rows and steps, to measure only the panel's share. The models that
predict are trained once, on the smallest size, with the real number of trees, leaves and weights, because the time of a
prediction does not depend on its accuracy. The totals' forecast is the last four weeks' mean.

Measured are seconds, CPU seconds and peak resident memory per process (wait4's rusage); for PostgreSQL, the CPU of all
its processes and the largest private memory of any, sampled ten times per second. Results are kept in the folder, and a
measured size is not measured again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from growth_lakes import ITEMS, WEEK, Size, generate

from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres.embedded_server import EmbeddedServer

MODELS = ("gbm", "lstm")
CONTENT = "application/x-parquet"

Results = dict[int, dict[str, dict[str, float]]]
"""Usage by number of series and by process."""

log = logging.getLogger("growth")


@dataclass(frozen=True)
class Usage:
    """The resource usage of a process.

    Attributes:
        seconds: from its start to its end.
        cpu: CPU seconds, user and system.
        megabytes: peak resident memory.
    """

    seconds: float
    cpu: float
    megabytes: float


def measure_features(size: Size) -> dict[str, Usage]:
    """Run the features job."""
    base = size.job("features")
    inputs = {
        "sales": [path for week in size.window for path in size.files("raw_sales", week.key)],
        "totals": [path for week in size.window for path in size.files("store_dept_sales", week.key)],
        "prices": size.files("sell_prices"),
        "calendar": size.files("calendar"),
    }
    for name, paths in inputs.items():
        folder = base / "processing/input" / name
        folder.mkdir(parents=True)
        for number, path in enumerate(paths):
            (folder / f"{number:04}.parquet").symlink_to(path)
    first = str(size.window[0].first_day)
    usage = _run(base, "features", "--origin", str(WEEK.origin), first, first)
    size.take("features", base / "processing/output" / str(WEEK.origin))
    return {"features": usage}


def measure_training(size: Size) -> dict[str, Usage]:
    """Train on the whole panel with few rows and steps, to measure the panel's share."""
    few = {"gbm": {"max_rows": 50_000, "iterations": 1, "department_iterations": 1}, "lstm": {"windows": 256}}
    return {f"{kind} training, panel": _train(size, kind, size.job(f"{kind}-panel"), few[kind]) for kind in MODELS}


def train_models(size: Size) -> None:
    """Train the models for predictions, with all trees and weights but few steps."""
    for kind, settings in {"gbm": {"max_rows": 6_000_000}, "lstm": {"windows": 256}}.items():
        base = size.job(f"{kind}-model")
        _train(size, kind, base, settings)
        (base / "model").replace(size.models / kind)


def _train(size: Size, kind: str, base: Path, settings: dict[str, Any]) -> Usage:
    (base / "input/config").mkdir(parents=True)
    text = json.dumps({name: str(value) for name, value in settings.items()})
    (base / "input/config/hyperparameters.json").write_text(text)
    channel = base / "input/data/panel"
    channel.mkdir(parents=True)
    for path in size.files("features", WEEK.key, "panel"):
        (channel / path.name).symlink_to(path)
    return _run(base, kind, "train")


def measure_predictions(size: Size) -> dict[str, Usage]:
    """Run both models' servers and send them their files one after the other, as Batch Transform does."""
    found = {}
    for kind, part in zip(MODELS, ("horizon", "panel"), strict=True):
        base = size.job(kind)
        shutil.copytree(size.models / kind, base / "model")
        if kind == "gbm":
            _set_stores(size, base / "model/gbm.json")
        answers = base / "answers"
        answers.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process, start = _start(base, kind, "serve", port=port), time.monotonic()
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/ping", process)
        for path in size.files("features", WEEK.key, part):
            body, headers = path.read_bytes(), {"Content-Type": CONTENT}
            answer = httpx.post(f"{address}/invocations", content=body, headers=headers, timeout=600)
            answer.raise_for_status()
            (answers / f"{path.name}.out").write_bytes(answer.content)
        process.send_signal(signal.SIGTERM)
        found[f"{kind} predictions"] = _ended(process, start, ok=(0, 1, -signal.SIGTERM))
        size.take(f"{kind}_predictions", answers)
    return found


def _set_stores(size: Size, description: Path) -> None:
    """Enter the stores of this size in the model's description, because the model checks their codes."""
    names = sorted(path.stem for path in size.files("features", WEEK.key, "horizon"))
    description.write_text(json.dumps(json.loads(description.read_text()) | {"stores": names}))


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the server at {address} does not answer")


def measure_assets(size: Size) -> dict[str, Usage]:
    """Build the ensemble and load the week as Dagster would, each in its own process."""
    found = {"ensemble": _run_assets(size, "ensemble")}
    with tempfile.TemporaryDirectory(prefix="m5-growth-", dir=size.root) as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        server.ensure_running()
        try:
            with _watching(Path(folder) / "postgres/data") as watched:
                found["load"] = _run_assets(size, "load", folder)
            found["load, PostgreSQL"] = Usage(found["load"].seconds, watched.cpu, watched.megabytes)
        finally:
            server.stop()
    return found


def _run_assets(size: Size, stage: str, home: str = "") -> Usage:
    command = [sys.executable, __file__, "--folder", str(size.root), "--stage", stage, "--home", home]
    with (size.root / f"{stage}.log").open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment())
        return _ended(process, start)


def run_assets(root: Path, stage: str, home: str) -> None:
    """Materialize the assets of a stage, in this process."""
    import dagster as dg

    from m5_assets.assets import rds
    from m5_assets.assets.ensemble import ensemble_forecast
    from m5_assets.resources.postgres import PostgresResource

    resources: dict[str, Any] = {"lake": Lake(root=str(root / "lake"))}
    assets: list[dg.AssetsDefinition] = [ensemble_forecast]
    if stage == "load":
        resources["postgres"] = PostgresResource(home=home)
        assets = [rds.rds_sales, rds.rds_forecast, rds.rds_series_outlook, rds.rds_store_dept_forecast]
    for asset in assets:
        dg.materialize([asset], partition_key=WEEK.key, resources=resources)


@dataclass
class Server:
    """PostgreSQL's usage; complete when the watching ends."""

    cpu: float = 0.0
    megabytes: float = 0.0


@contextmanager
def _watching(data: Path) -> Iterator[Server]:
    """Watch PostgreSQL's processes while the block runs."""
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    server, before, stop = Server(), _cpu_of(postmaster), threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
                server.megabytes = max(server.megabytes, _private_megabytes(child))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join()
    server.cpu = _cpu_of(postmaster) - before


def _cpu_of(postmaster: int) -> float:
    """Return the CPU seconds of all of PostgreSQL's processes, including ended ones."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for pid in (str(postmaster), *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # utime and stime, and those of reaped children
    return ticks / os.sysconf("SC_CLK_TCK")


def _private_megabytes(pid: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon:")), 0.0)


def _run(base: Path, module: str, *arguments: str) -> Usage:
    start = time.monotonic()
    return _ended(_start(base, module, *arguments), start)


def _start(base: Path, module: str, *arguments: str, port: int = 0) -> subprocess.Popen[bytes]:
    environment = _environment() | {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port)}
    with (base / "log").open("wb") as output:
        command = [sys.executable, "-m", f"m5_assets.containers.{module}", *arguments]
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "M5_LAST_WEEK": WEEK.key}


def _ended(process: subprocess.Popen[bytes], start: float, ok: tuple[int, ...] = (0,)) -> Usage:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}; see the log in its folder")
    return Usage(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def measure(size: Size) -> dict[str, dict[str, float]]:
    """Return the usage of each process of a size; results already in the folder are reused."""
    kept = size.root / "results.json"
    found: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.is_file() else {}
    stages = {
        "features": measure_features,
        "gbm training, panel": measure_training,
        "gbm predictions": measure_predictions,
        "load": measure_assets,
    }
    for name, stage in stages.items():
        if name not in found:
            if name == "gbm predictions" and not (size.models / "lstm").is_dir():
                size.models.mkdir(exist_ok=True)
                train_models(size)
            found |= {process: asdict(usage) for process, usage in stage(size).items()}
            kept.write_text(json.dumps(found, indent=1))
            log.info("%s series: %s measured", f"{size.series:,}", name)
    return found


def print_table(results: Results) -> None:
    """Print a Markdown table with a row per process and two columns per size."""
    sizes = list(results)
    print("| | " + " | ".join(f"{size:,}: CPU s | MB" for size in sizes) + " |")
    print("| --- |" + " --: |" * 2 * len(sizes))
    for process in _processes(results):
        found = [results[size].get(process) for size in sizes]
        cells = [f"{usage['cpu']:,.0f} | {usage['megabytes']:,.0f}" if usage else "- | -" for usage in found]
        print(f"| {process} | {' | '.join(cells)} |")


def _processes(results: Results) -> list[str]:
    """Return the processes measured at any size, in the order of the smallest size."""
    return list(dict.fromkeys(process for found in results.values() for process in found))


def draw(results: Results, path: Path) -> None:
    """Plot CPU seconds and peak memory against the number of series, with logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), dpi=80, layout="constrained")
    sizes = list(results)
    for axes, (key, title) in zip(
        figure.subplots(1, 2), (("cpu", "seconds of CPU"), ("megabytes", "peak memory, MB")), strict=True
    ):
        for process in _processes(results):
            known = [size for size in sizes if process in results[size]]
            axes.loglog(known, [results[size][process][key] for size in known], marker="o", markersize=3, label=process)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("series", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside right center")
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Generate, measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--stores", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--weeks", type=int, default=64)
    parser.add_argument("--items", type=int, default=ITEMS, help="items of each store")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--stage", choices=["ensemble", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if arguments.stage:
        run_assets(arguments.folder, arguments.stage, arguments.home)
        return
    results: Results = {}
    for stores in arguments.stores:
        size = Size(arguments.folder.resolve(), stores, arguments.weeks, arguments.items)
        if size.lake.find("ensemble_weights", WEEK.key) is None:
            generate(size)
        results[size.series] = measure(size)
    print_table(results)
    if arguments.figure:
        draw(results, arguments.figure)


if __name__ == "__main__":
    main()
