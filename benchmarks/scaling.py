"""Measure how cost grows: with workers, with the number of tasks a scheduler hands out, and with samples × drugs.

`cores`: a cross-validation on one and on two worker processes. `overhead`: tasks that only wait, on many simulated
workers of the same scheduler; what is not waiting is overhead. `size`: fitting, and scoring of known drugs to disk,
over three decades of pairs, each size in a process of its own; the exponent is the slope of log cost on log pairs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, machine, now, peak_memory_mb, set_threads

WORKERS = (1, 4, 16, 64, 256)
SIZES = ((100, 10), (100, 100), (1000, 100), (5000, 200))
WAIT, TASKS = 0.05, 20


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["cores", "overhead", "size"])
    parser.add_argument("--model", default="kernel_ridge", help="of `size`")
    parser.add_argument("--one-size", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)
    if args.one_size:
        print(json.dumps(one_size(args.model, *args.one_size)))
        return

    from halfmax.data.storage import write_json

    path = args.out / "scaling.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in args.parts:
        found = {"cores": cores, "overhead": overhead, "size": lambda: sizes(args.model)}[part]()
        report[part] = {"run": now(), "machine": machine(), "results": found}
        for row in found:
            print(part, row, flush=True)
        write_json(path, report)


def cores() -> list[dict[str, Any]]:
    """Cross-validate four folds of boosted trees on one and two workers."""
    from halfmax.cluster import connect
    from halfmax.data.synthetic import make_dataset
    from halfmax.distribute import cross_validate_on
    from halfmax.evaluate import ModelSpec
    from halfmax.split import make_splits

    dataset = make_dataset(400, 40, 300)
    splits = make_splits(dataset, "LCO", n_folds=4, seed=0)
    models = [ModelSpec(f"trees {seed}", "lightgbm", {"n_trees": 400, "seed": seed}) for seed in range(2)]
    rows: list[dict[str, Any]] = []
    for n in (1, 2):
        with connect("cores", n) as cluster:
            cross_validate_on(cluster, dataset, splits[:1], models, n_boot=0)  # workers start and import
            wall = time.perf_counter()
            found = cross_validate_on(cluster, dataset, splits, models, n_boot=0)
            took = time.perf_counter() - wall
        busy = float(found.timings["cpu_s"].sum())
        rows.append({"workers": n, "wall_s": round(took, 2), "cpu_s_of_fits": round(busy, 2)})
        rows[-1]["speed_up"] = round(rows[0]["wall_s"] / took, 2)
    return rows


class Waiting:
    """A simulated worker: it waits, then answers; the scheduler cannot tell it from one that works."""

    def ask(self, frame: bytes) -> bytes:
        from halfmax.cluster.frames import encode
        from halfmax.state import State

        time.sleep(WAIT)
        return encode(State())

    def close(self) -> None: ...


def overhead() -> list[dict[str, Any]]:
    """Hand out twenty tasks a worker."""
    from halfmax.cluster.cores import Pool
    from halfmax.state import State

    rows = []
    for n in WORKERS:
        cpu, wall = time.process_time(), time.perf_counter()
        Pool([Waiting() for _ in range(n)]).run("check", (State(meta={"task": i}) for i in range(TASKS * n)))
        took, used = time.perf_counter() - wall, time.process_time() - cpu
        ms = round(1e3 * used / (TASKS * n), 3)
        ideal = WAIT * TASKS
        rows.append({"workers": n, "tasks": TASKS * n, "wall_s": round(took, 3), "ideal_s": ideal, "cpu_ms_a_task": ms})
    return rows


def sizes(model: str) -> list[dict[str, Any]]:
    """Fit and score each size in a process of its own, and append the exponents."""
    import numpy as np

    rows = []
    for n, m in SIZES:
        command = [sys.executable, __file__, "--model", model, "--one-size", str(n), str(m)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    pairs = np.log([row["pairs"] for row in rows])
    exponents = {"exponent_of": model}
    for cost in ("fit_cpu_s", "score_cpu_s", "peak_memory_mb"):
        exponents[cost] = round(float(np.polyfit(pairs, np.log([row[cost] for row in rows]), 1)[0]), 2)
    return [*rows, exponents]


def one_size(model: str, n: int, m: int) -> dict[str, Any]:
    """Return what fitting and scoring of n samples × m drugs cost in this process."""
    from halfmax.cluster import Here
    from halfmax.data.synthetic import make_dataset
    from halfmax.predictor import Predictor
    from halfmax.screening import screen

    dataset = make_dataset(n, m, 500)
    cpu = time.process_time()
    predictor = Predictor.of(model).fit(dataset)
    fitted = time.process_time() - cpu
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved = predictor.save(folder / "predictor")
        samples = folder / "samples.parquet"
        dataset.omics["expression"].reset_index(names="sample_id").to_parquet(samples)
        cpu = time.process_time()
        done = screen(saved, {"expression": samples}, folder / "out", cluster=Here(), unit="zscore_gene")
        scored = time.process_time() - cpu
    return {
        "samples": n,
        "drugs": m,
        "pairs": done.n_pairs,
        "fit_cpu_s": round(fitted, 3),
        "score_cpu_s": round(scored, 3),
        "peak_memory_mb": peak_memory_mb(),
    }


if __name__ == "__main__":
    main()
