"""Time and memory of reading TCGA's files, beside pandas' plain reader in the same process."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, machine, peak_memory_mb

from halfmax.data.readers.gdc import read_star_counts
from halfmax.data.readers.maf import read_maf

MAF_COLUMNS = ("Hugo_Symbol", "Entrez_Gene_Id", "Center", "NCBI_Build", "Chromosome", "Start_Position", "End_Position",
               "Strand", "Variant_Classification", "Variant_Type", "Reference_Allele", "Tumor_Seq_Allele1",
               "Tumor_Seq_Allele2", "Tumor_Sample_Barcode", *(f"annotation_{i}" for i in range(60)))  # fmt: skip
WORDS = ("Missense_Mutation", "Silent", "Nonsense_Mutation", "Intron", "Frame_Shift_Del")


def write_maf(path: Path, n_rows: int, n_genes: int = 18_000, n_samples: int = 2_000) -> None:
    """Write a MAF of random rows as wide as the GDC's, in pieces."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("#version gdc-1.0.0\n" + "\t".join(MAF_COLUMNS) + "\n")
        rest = "\t".join(["annotation"] * 60)
        for start in range(0, n_rows, 50_000):
            n = min(50_000, n_rows - start)
            genes, samples = rng.integers(n_genes, size=n), rng.integers(n_samples, size=n)
            words, places = rng.integers(len(WORDS), size=n), rng.integers(1, 2 * 10**8, size=n)
            file.writelines(
                f"GENE{g}\t0\tc\tGRCh38\t1\t{p}\t{p}\t+\t{WORDS[w]}\tSNP\tA\tA\tT\tTCGA-A1-{s:04d}-01A-11D-A1-09\t{rest}\n"
                for g, s, w, p in zip(genes, samples, words, places, strict=True)
            )


def write_counts(folder: Path, n_files: int, n_genes: int = 60_660) -> None:
    """Write STAR count files as long as GENCODE v36, and their sheet."""
    head = "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\t"
    sheet = ["File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type"]
    for number in range(n_files):
        values = np.random.default_rng(number).gamma(0.3, 50, n_genes)
        rows = (
            f"ENSG{i:011d}.1\tG{i}\tprotein_coding\t{int(v)}\t1\t1\t{v:.4f}\t{v:.4f}\t{v:.4f}"
            for i, v in enumerate(values)
        )
        name, sample = f"{number}.rna_seq.augmented_star_gene_counts.tsv", f"TCGA-A1-{number:04d}-01A"
        text = "\n".join(["# gene-model", f"{head}fpkm_unstranded\tfpkm_uq_unstranded", *rows]) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
        sheet.append(f"i\t{name}\ta\tb\tTCGA-BRCA\t{sample[:12]}\t{sample}\tPrimary Tumor")
    (folder / "gdc_sample_sheet.2026-01-01.tsv").write_text("\n".join(sheet) + "\n", encoding="utf-8")


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU time of a piece of work [s]."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_mb(path: Path, how: str) -> float:
    """Return the peak memory of a process that reads the file [MB]."""
    command = [sys.executable, __file__, "--one", how, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_one(how: str, path: Path) -> None:
    """Read a file and print this process's peak memory [MB]."""
    if how == "pandas":
        pd.read_csv(path, sep="\t", comment="#", low_memory=False)
    elif how == "halfmax":
        read_maf(path)
    sys.stdout.write(f"{peak_memory_mb()}")


def main() -> None:
    """Measure, and write ``results/tcga_files.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the MAF")
    parser.add_argument("--files", type=int, default=20, help="STAR count files")
    parser.add_argument("--one", nargs=2, metavar=("HOW", "PATH"), help="read one file and print the peak memory")
    given = parser.parse_args()
    if given.one:
        read_one(given.one[0], Path(given.one[1]))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "counts").mkdir()
        small, large = folder / "small.maf", folder / "large.maf"
        write_maf(small, given.rows // 10)
        write_maf(large, given.rows)
        write_counts(folder / "counts", given.files)
        star = sorted((folder / "counts").glob("*counts.tsv"))
        read_maf(small)  # loads the table of genes
        seconds = {
            "maf_halfmax": cpu(lambda: read_maf(large)),
            "maf_pandas": cpu(lambda: pd.read_csv(large, sep="\t", comment="#", low_memory=False)),
            "star_halfmax": cpu(lambda: read_star_counts(folder / "counts")),
            "star_pandas": cpu(lambda: [pd.read_csv(path, sep="\t", comment="#") for path in star]),
        }
        memory = {
            "nothing_read": peak_mb(small, "nothing"),
            "halfmax_small": peak_mb(small, "halfmax"),
            "halfmax_large": peak_mb(large, "halfmax"),
            "pandas_large": peak_mb(large, "pandas"),
        }
        result = {
            "rows": given.rows,
            "maf_mb": round(large.stat().st_size / 1e6, 1),
            "star_files": given.files,
            "cpu_s": {name: round(value, 2) for name, value in seconds.items()},
            "ratio_to_pandas": {
                what: round(seconds[f"{what}_halfmax"] / seconds[f"{what}_pandas"], 2) for what in ("maf", "star")
            },
            "peak_mb": memory,
            "machine": machine(),
        }
    text = json.dumps(result, indent=1) + "\n"
    (RESULTS / "tcga_files.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
