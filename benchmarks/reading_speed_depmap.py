"""Measure how fast DepMap-sized files are read, beside bare readers, and how much memory a long mutation list takes.

Two files are made up: an expression table of 1,700 models × 19,000 genes, and mutation lists of 100,000 and 1,000,000
rows. Of the first, halfmax reads, checks and stores a dataset folder; pandas and polars parse the CSV and no more. Every
measurement is a process of its own with one thread; its clock starts after the imports. Repeats take turns, so that other
work on the machine meets all alike, and the median CPU time counts. The bar is twice the time of bare polars.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, machine, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    from halfmax.data.readers.kinds import Reading

N_MODELS, N_GENES = 1700, 19000
MUTATION_ROWS = (100_000, 1_000_000)
BAR = 2.0
READERS = ("halfmax", "pandas", "polars")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has polars (default: this one)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", type=int, default=N_MODELS)
    parser.add_argument("--genes", type=int, default=N_GENES)
    parser.add_argument("--mutations", type=int, nargs="+", default=list(MUTATION_ROWS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    set_threads(1)
    if args.worker:
        print(json.dumps(WORKERS[args.worker[0]](Path(args.worker[1]))))
        return

    from halfmax.data.storage import write_json

    report: dict[str, Any] = {"run": now(), "machine": machine(), "repeats": args.repeats}
    with tempfile.TemporaryDirectory() as folder:
        table = make_expression(Path(folder), args.models, args.genes)
        rows = [run(name, table, args) for _ in range(args.repeats) for name in READERS]
        report["expression"] = {
            "models": args.models,
            "genes": args.genes,
            "file_mb": round(table.stat().st_size / 1e6),
        }
        report["expression"] |= summary(rows)
        table.unlink()
        report["mutations"] = []
        for n_rows in args.mutations:
            path = make_mutations(Path(folder), n_rows)
            about = {"rows": n_rows, "file_mb": round(path.stat().st_size / 1e6)}
            report["mutations"] += [about | run(name, path, args) for name in ("mutations", "mutations-pandas")]
            path.unlink()
    write_json(args.out / "reading_speed_depmap.json", report)
    print(json.dumps({key: report[key] for key in ("expression", "mutations")}, indent=1))


def make_expression(folder: Path, n_models: int, n_genes: int) -> Path:
    """Write log2(TPM + 1) of made-up models over real protein-coding genes, with all digits, as DepMap does."""
    import numpy as np

    rng = np.random.default_rng(0)
    genes = gene_labels()[:n_genes]
    path = folder / "OmicsExpressionProteinCodingGenesTPMLogp1.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("," + ",".join(genes) + "\n")
        for row in range(n_models):
            values = np.log2(1 + rng.lognormal(2, 2, len(genes)) * (rng.random(len(genes)) > 0.2))
            file.write(f"ACH-{row + 1:06d}," + ",".join(map(repr, values.tolist())) + "\n")
    return path


def make_mutations(folder: Path, n_rows: int) -> Path:
    """Write a list of mutations with 40 columns, those of DepMap that are read among them."""
    import numpy as np

    rng = np.random.default_rng(1)
    genes = [label.rstrip(")").split(" (") for label in gene_labels()[:N_GENES]]
    words = ["missense_variant", "stop_gained", "frameshift_variant", "splice_donor_variant"]
    header = ["Chrom", "Pos", "Ref", "Alt", "AF", "VariantInfo", "ProteinChange", "HugoSymbol", "EntrezGeneID"]
    header += ["LikelyLoF", "Hotspot", "ModelID", "IsDefaultEntryForModel", *(f"Other{i}" for i in range(27))]
    path = folder / "OmicsSomaticMutations.csv"
    filler = ",".join(["a note of usual length"] * 9 + [""] * 18)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(header) + "\n")
        for start in range(0, n_rows, 50_000):
            n = min(50_000, n_rows - start)
            which, model = rng.integers(len(genes), size=n), rng.integers(N_MODELS, size=n)
            place, kind, damaging, hot = (rng.integers(top, size=n) for top in (10**8, len(words), 8, 50))
            file.writelines(
                f"chr1,{place[i]},A,{'T' * (300 if i % 1000 == 0 else 1)},0.{place[i] % 97},{words[kind[i]]},"
                f"p.A{place[i] % 2000}T,{genes[which[i]][0]},{genes[which[i]][1]},{damaging[i] == 0},{hot[i] == 0},"
                f"ACH-{model[i] + 1:06d},Yes,{filler}\n"
                for i in range(n)
            )
    return path


def gene_labels() -> list[str]:
    """Return ``SYMBOL (entrez)`` of the protein-coding genes that the package knows."""
    import gzip
    from importlib import resources

    text = gzip.decompress(resources.files("halfmax.data").joinpath("genes.tsv.gz").read_bytes()).decode()
    header, *lines = (line.split("\t") for line in text.splitlines())
    symbol, locus, entrez = (header.index(name) for name in ("symbol", "locus", "entrez"))
    return [
        f"{line[symbol]} ({line[entrez].split('|')[0]})"
        for line in lines
        if line[locus] == "protein_coding" and line[entrez]
    ]


def run(what: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what a process of its own measured."""
    python = args.peer_python if what == "polars" else sys.executable
    environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [python, str(Path(__file__).resolve()), "--worker", what, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if told.returncode:
        error = told.stderr.strip().splitlines()[-1:]
        return {"reader": what, "error": error[0] if error else f"exit {told.returncode}"}
    return {"reader": what, **json.loads(told.stdout.splitlines()[-1])}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians of each reader, and the ratios that the bar speaks of."""
    found: dict[str, Any] = {"runs": rows}
    for name in READERS:
        mine = [row for row in rows if row["reader"] == name and "cpu_s" in row]
        keys = ("cpu_s", "read_cpu_s", "peak_mb")
        found[name] = {key: statistics.median(row[key] for row in mine) for key in keys if mine and key in mine[0]}
    for name in ("polars", "pandas"):
        if found[name]:
            found[f"ratio_to_{name}"] = round(found["halfmax"]["cpu_s"] / found[name]["cpu_s"], 3)
    if "ratio_to_polars" in found:
        found["bar"] = BAR
        found["met"] = found["ratio_to_polars"] <= BAR
    return found


def halfmax_worker(path: Path) -> dict[str, float]:
    """Read, check and store as a dataset folder."""
    import pandas as pd

    from halfmax.data.dataset import MEASURES, ResponseDataset
    from halfmax.data.readers.kinds import read_any

    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        reading = read_any(path)
        read = time.process_time() - start
        frame = reading.part("expression")
        pairs = pd.DataFrame({"sample_id": frame.index[:1], "drug_id": ["none"], "value": [0.0]})
        samples, drugs = pd.DataFrame(index=frame.index), pd.DataFrame(index=pd.Index(["none"], name="drug_id"))
        dataset = ResponseDataset("reading", MEASURES["auc"], pairs, samples, drugs, {"expression": frame})
        dataset.save(Path(folder) / "dataset")
        total = time.process_time() - start
        stored = sum(p.stat().st_size for p in Path(folder).rglob("*.parquet"))
    return {"cpu_s": total, "read_cpu_s": read, "stored_mb": stored / 1e6, "peak_mb": peak_memory_mb()}


def pandas_worker(path: Path) -> dict[str, float]:
    import pandas as pd

    start = time.process_time()
    pd.read_csv(path, index_col=0)
    return {"cpu_s": time.process_time() - start, "peak_mb": peak_memory_mb()}


def polars_worker(path: Path) -> dict[str, float]:
    import polars as pl

    start = time.process_time()
    pl.read_csv(path)
    return {"cpu_s": time.process_time() - start, "peak_mb": peak_memory_mb()}


def mutations_worker(path: Path) -> dict[str, float]:
    """Read a mutation list and write its variants to a file; memory above that of the imports counts."""
    from halfmax.data.readers.depmap_mutations import read_depmap_mutations

    with tempfile.TemporaryDirectory() as folder:
        idle, start = peak_memory_mb(), time.process_time()
        reading: Reading = read_depmap_mutations(path, variants=Path(folder) / "variants.parquet")
        cpu = time.process_time() - start
    n_mutated = int(reading.part("mutation").to_numpy().sum())
    size = sum(part.frame.to_numpy().nbytes for part in reading.parts) / 1e6
    return {"cpu_s": cpu, "idle_mb": idle, "peak_mb": peak_memory_mb(), "result_mb": size, "mutated": n_mutated}


def mutations_pandas_worker(path: Path) -> dict[str, float]:
    import pandas as pd

    idle, start = peak_memory_mb(), time.process_time()
    pd.read_csv(path)
    return {"cpu_s": time.process_time() - start, "idle_mb": idle, "peak_mb": peak_memory_mb()}


WORKERS = {
    "halfmax": halfmax_worker,
    "pandas": pandas_worker,
    "polars": polars_worker,
    "mutations": mutations_worker,
    "mutations-pandas": mutations_pandas_worker,
}

if __name__ == "__main__":
    main()
