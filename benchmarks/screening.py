"""Measure how many pairs a minute `halfmax screen` scores end to end, through disk: new compounds and known drugs.

A library is made of parts of drug-like molecules, each compound once. Rates by processor time are those of one core,
measured in one process with the process that reads structures counted; `wall` is with two workers.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, configuration, machine, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from halfmax.cluster import Cluster

CORES = (
    "c1cc({a})ccc1C(=O)N{b}",
    "c1nc({a})cc2c1ccn2C{b}",
    "C1CN({b})CCN1c1ncnc(N{a})c1",
    "O=S(=O)(N{b})c1ccc({a})cc1",
)
LEFT = ("C", "F", "Cl", "OC", "C#N", "N(C)C", "C(F)(F)F", "OCCOC", "c1ccccc1", "c1ccncc1", "N1CCOCC1", "C(=O)NC")
RINGS = ("c9ccc(F)cc9", "c9ccc(Cl)c(C)c9", "C9CCN(C)CC9", "c9ccc(OC)cc9", "c9nccs9", "c9ccc8[nH]ccc8c9", "C9CC9")
RIGHT = tuple(f"C{chain}{ring}" for chain in ("", "C", "(C)") for ring in RINGS)
TAIL = ("", ".Cl", ".OC(=O)C(F)(F)F")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kernel_ridge")
    parser.add_argument("--compounds", type=int, default=2000)
    parser.add_argument("--samples", nargs="+", type=int, default=[100, 898], help="of a library's screen")
    parser.add_argument("--many", type=int, default=20_000, help="samples scored with known drugs")
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--wall", action="store_true", help="also with two workers, on a quiet machine")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    from halfmax.cluster import Here, connect
    from halfmax.data.storage import write_json
    from halfmax.predictor import Predictor
    from halfmax.run import load_data, make_features, prepare

    config = configuration("LCO", [args.model], data=args.data)
    dataset = prepare(config, load_data(config)).dataset
    report: dict[str, Any] = {"run": now(), "machine": machine(), "model": args.model, "screens": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted = Predictor.of(args.model, config.params_of(args.model)).fit(dataset, features=make_features(config))
        predictor = fitted.save(folder / "predictor")
        library = folder / "library.smi"
        library.write_text("\n".join(f"{s} c{i}" for i, s in enumerate(compounds(args.compounds))) + "\n")
        expression = dataset.omics["expression"]
        places = [(Here(), "one process"), *([(connect("cores", 2), "two workers")] if args.wall else [])]
        for n, path in [*((n, library) for n in args.samples), (args.many, None)]:
            samples = folder / f"samples-{n}.parquet"
            repeated(expression, n, samples)
            for cluster, place in places:
                found = measure(predictor, samples, folder / "out", path, cluster)
                report["screens"].append({"kind": "library" if path else "known drugs", "place": place, **found})
                print(report["screens"][-1], flush=True)
        for cluster, _ in places:
            cluster.close()
    write_json(args.out / "screening.json", report)


def compounds(n: int) -> Iterator[str]:
    """Yield `n` different SMILES, with and without salts."""
    every = itertools.product(TAIL, CORES, LEFT, LEFT, RIGHT)
    made = (core.format(a=a, b=f"C(C{b})" + right) + tail for tail, core, a, b, right in every)
    yield from itertools.islice(made, n)


def repeated(expression: Any, n: int, path: Path) -> None:
    """Write `n` samples, whose profiles repeat under new names with a little noise, a block at a time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    values = expression.to_numpy(dtype=np.float32)
    writer = None
    for start in range(0, n, 2048):
        rows = np.arange(start, min(start + 2048, n))
        noisy = values[rows % len(values)] + rng.normal(0, 0.01, (len(rows), values.shape[1])).astype(np.float32)
        columns = {"sample_id": [f"sample {i}" for i in rows]} | dict(
            zip(map(str, expression.columns), noisy.T, strict=True)
        )
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False, compression="none")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def measure(predictor: Path, samples: Path, out: Path, library: Path | None, cluster: Cluster) -> dict[str, Any]:
    """Return the cost of one screen from files to files."""
    from halfmax.screening import screen

    shutil.rmtree(out, ignore_errors=True)
    cpu, wall = cpu_seconds(), time.perf_counter()
    done = screen(predictor, {"expression": samples}, out, cluster=cluster, library=library, unit="rma", top=20)
    used, took = cpu_seconds() - cpu, time.perf_counter() - wall
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "samples": done.n_samples,
        "pairs": done.n_pairs,
        "rejected": len(done.rejected),
        "cpu_s": round(used, 2),
        "wall_s": round(took, 2),
        "pairs_per_min_of_one_core": round(60 * done.n_pairs / used),
        "pairs_per_min_wall": round(60 * done.n_pairs / took),
        "mb_on_disk": round(size / 2**20, 1),
        "peak_memory_mb": peak_memory_mb(),
    }


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended [s]."""
    spent: Sequence[Any] = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(sum(use.ru_utime + use.ru_stime for use in spent))


if __name__ == "__main__":
    main()
