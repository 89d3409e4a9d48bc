"""Mutated files of TCGA's providers: an answer or an error of our own, soon."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from halfmax.data.readers.clinical import read_drug_courses
from halfmax.data.readers.firehose import read_rsem
from halfmax.data.readers.gdc import read_star_counts
from halfmax.data.readers.kinds import recognise
from halfmax.data.readers.maf import read_maf
from halfmax.data.readers.survival import read_survival
from halfmax.data.readers.vcf import read_vcf
from halfmax.data.readers.xena import read_xena_clinical, read_xena_matrix
from halfmax.errors import HalfmaxError
from tests.data.tcga_samples import ANN, CSQ, SHEET_HEADER, biotab_text, maf_text, star_name, star_text, vcf_text
from tests.data.test_maf import ROWS
from tests.data.test_tcga_files import CLINICAL, COURSES, XENA_GENES, XENA_SAMPLES, rsem_text, xena_text
from tests.data.test_vcf import VEP

N_MUTATIONS, SECONDS = 50, 2.0
SHEET = f"{SHEET_HEADER}\ni\t{star_name(1)}\ta\tb\tTCGA-X\tTCGA-A1-0001\tTCGA-A1-0001-01A\tP\n"
SURVIVAL = "bcr_patient_barcode\ttype\tOS\tOS.time\nTCGA-A1-0001\tBRCA\t1\t300\nTCGA-A1-0002\tBRCA\t0\t20\n"
SPLICES = (b'"', b"\0", b",", b"\t", b";", b"|", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf", b"#", b"1e400", b"inf", b"-",
           b"[x]", b"=", b"TCGA-A1-0001-11A", "٣".encode(), b"CSQ=", b"gene_id", b"PASS", b"0/99999999999")  # fmt: skip


def read_sheet(path: Path) -> object:
    """Read good counts under a mutated sample sheet."""
    folder = path.parent / "counts"
    folder.mkdir(exist_ok=True)
    (folder / star_name(1)).write_text(star_text([1, 2, 3, 4, 5]), encoding="utf-8")
    return read_star_counts(folder, sheet=path)


def read_vcf_whole(path: Path) -> object:
    return read_vcf(path, variants=True)


def read_maf_whole(path: Path) -> object:
    return read_maf(path, variants=True)


SEEDS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "star": (read_star_counts, star_text([1, 2, 3, 4, 5]).encode()),
    "star-packed": (read_star_counts, gzip.compress(star_text([1, 2, 3, 4, 5]).encode())),
    "sheet": (
        read_sheet,
        f"{SHEET_HEADER}\ni\t{star_name(1)}\ta\tb\tTCGA-X\tTCGA-A1-0001\tTCGA-A1-0001-01A\tP\n".encode(),
    ),
    "maf": (read_maf_whole, maf_text(ROWS).encode()),
    "maf-packed": (read_maf_whole, gzip.compress(maf_text(ROWS).encode())),
    "biotab": (read_drug_courses, biotab_text(COURSES).encode()),
    "survival": (read_survival, SURVIVAL.encode()),
    "xena": (read_xena_matrix, xena_text(np.arange(160).reshape(10, 16) / 8, XENA_GENES, XENA_SAMPLES).encode()),
    "xena-clinical": (read_xena_clinical, CLINICAL.encode()),
    "rsem": (read_rsem, rsem_text().encode()),
    "vcf": (read_vcf_whole, vcf_text(CSQ, VEP, ("N1", "T1", "T2")).encode()),
    "vcf-snpeff": (read_vcf_whole, vcf_text(ANN, ["1 1 C T,G PASS ANN=T|missense_variant|M|TP53|E|t"]).encode()),
    "vcf-packed": (read_vcf_whole, gzip.compress(vcf_text(CSQ, VEP, ("N1", "T1", "T2")).encode())),
}


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the file with bytes cut out, put in, repeated or changed."""
    for _ in range(int(rng.integers(1, 5))):
        start = int(rng.integers(0, len(content) + 1))
        end = min(start + int(rng.integers(0, 40)), len(content))
        choice = int(rng.integers(0, 4))
        middle = (b"", SPLICES[int(rng.integers(len(SPLICES)))], content[start:end] * 2, rng.bytes(3))[choice]
        content = content[:start] + middle + content[end:]
    return content


def survives(name: str, path: Path, seed: int) -> None:
    read, content = SEEDS[name]
    path.write_bytes(mutate(content, np.random.default_rng(seed)))
    started = time.process_time()
    for step in (recognise, read):
        with suppress(HalfmaxError):
            step(path)
    assert time.process_time() - started < SECONDS, f"seed {seed} took too long"


@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_gives_an_answer_or_our_error(tmp_path: Path, name: str) -> None:
    assert SEEDS[name][0](_written(tmp_path / "good", SEEDS[name][1])) is not None
    for seed in range(N_MUTATIONS):
        survives(name, tmp_path / "x.tsv", seed)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_many_mutated_files(tmp_path: Path, name: str) -> None:
    for seed in range(N_MUTATIONS, 2000):
        survives(name, tmp_path / "x.tsv", seed)
