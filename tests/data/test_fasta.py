"""Stretches of a reference genome: what a file says at a position, with an index and without."""

from __future__ import annotations

import os

import numpy as np
import pytest

from halfmax.data.readers.fasta import Reference
from halfmax.errors import DataError

BASES = {
    name: "".join(np.random.default_rng(i).choice(list("ACGT"), n))
    for i, (name, n) in enumerate((("chr1", 203), ("chrM", 61), ("chr2", 60)))
}


def write(path, *, width=60, end="\n", last=True):
    lines = []
    for name, bases in BASES.items():
        lines += [f">{name} a genome", *(bases[i : i + width] for i in range(0, len(bases), width))]
    path.write_bytes((end.join(lines) + (end if last else "")).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_every_stretch_is_what_the_file_says(tmp_path, end, last):
    genome = Reference(write(tmp_path / "g.fa", end=end, last=last))
    rng = np.random.default_rng(1)
    for name, bases in BASES.items():
        for start, end_ in np.sort(rng.integers(1, len(bases) + 1, (40, 2)), axis=1):
            assert genome.stretch(name, start, end_) == bases[start - 1 : end_]
    assert genome.stretch("1", -5, 3) == BASES["chr1"][:3]
    assert genome.stretch("1", 200, 900) == BASES["chr1"][199:]
    assert genome.stretch("MT", 1, 2) == BASES["chrM"][:2]
    assert genome.stretch("1", 5, 4) == ""


def test_an_index_beside_the_file_is_used_and_must_fit(tmp_path):
    path = write(tmp_path / "g.fa")
    index = tmp_path / "g.fa.fai"
    index.write_text(f"chr2\t60\t{path.read_bytes().index(b'>chr2') + len('>chr2 a genome') + 1}\t60\t61\n")
    genome = Reference(path)
    assert genome.stretch("2", 1, 60) == BASES["chr2"]
    assert genome.name_of("1") is None
    index.write_text("chr2\t6000\t300\t60\t61\n")
    with pytest.raises(DataError, match="beyond its end"):
        Reference(path)
    index.write_text("chr2\t60\t300\t60\t61\n")
    os.utime(index, (1, 1))
    with pytest.raises(DataError, match="older"):
        Reference(path)
    index.write_text("rubbish")
    with pytest.raises(DataError, match="no index"):
        Reference(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot read"),
        (b"\x1f\x8bxx", "packed"),
        (b"ACGT\n", "does not begin"),
        (b">a\nACGT\nAC\nACGT\n", "differ in length"),
        (b">a\nACGT\n>a\nACGT\n", "has no name"),
    ],
)
def test_what_is_no_reference_is_refused(tmp_path, content, reason):
    path = tmp_path / "bad.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        Reference(path)


def test_an_unknown_chromosome_is_told(tmp_path):
    with pytest.raises(DataError, match="no chromosome '7'"):
        Reference(write(tmp_path / "g.fa")).stretch("7", 1, 2)
