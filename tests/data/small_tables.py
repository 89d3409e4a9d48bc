"""Small tables for the tests of the readers: a matrix over real gene symbols, and files of text."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

SYMBOLS = [
    line.split("\t")[0]
    for line in gzip.decompress(resources.files("halfmax.data").joinpath("genes.tsv.gz").read_bytes())
    .decode()
    .splitlines()
    if "\tprotein_coding\t" in line
][::97]
RNG = np.random.default_rng(11)


def matrix(n_samples: int = 6) -> pd.DataFrame:
    """Return log2(TPM + 1) of a few samples over every 97th protein-coding gene."""
    rng, size = np.random.default_rng(11), (n_samples, len(SYMBOLS))
    tpm = rng.lognormal(2, 2.5, size=size) * (rng.random(size) > 0.2)
    tpm *= 1e6 / tpm.sum(axis=1, keepdims=True)
    samples = [f"line-{i}" for i in range(n_samples)]
    return pd.DataFrame(np.log2(tpm + 1).astype(np.float32), pd.Index(samples, name="sample_id"), SYMBOLS)


def codes(findings: object) -> list[str]:
    return [finding.code for finding in findings]  # type: ignore[attr-defined]


def text(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
