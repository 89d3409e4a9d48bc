"""MAF files: the planted mutations are found whatever the layout, the size of a block and the order of rows."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers import maf_stream
from halfmax.data.readers.effects import effect_of, gravest
from halfmax.data.readers.kinds import read_any
from halfmax.data.readers.maf import read_maf, stream_variants
from halfmax.errors import DataError, UnknownNameError
from tests.data.tcga_samples import FIREHOSE_MAF, GDC_MAF, maf_text
from tests.data.test_tcga_files import found, write

SYMBOLS = ["TP53", "KRAS", "EGFR", "BRAF", "PIK3CA", "PTEN", "RB1", "APC"]
WORDS = {"Missense_Mutation": True, "Nonsense_Mutation": True, "Splice_Site": True, "Silent": False, "Intron": False}
ALIQUOTS = [f"TCGA-A1-{i:04d}-01A-11D-A142-09" for i in range(6)]
ROWS = [
    ("TP53", ALIQUOTS[0], "Missense_Mutation", 1),
    ("KRAS", ALIQUOTS[0], "Silent", 2),
    ("TP53", ALIQUOTS[1], "Silent", 3),
]


def planted(n: int = 400, seed: int = 0) -> tuple[list[tuple[str, str, str, int]], pd.DataFrame, pd.Series]:
    """Return random rows, the matrix that they make, and the number of variants of each sample."""
    rng = np.random.default_rng(seed)
    rows = [
        (str(rng.choice(SYMBOLS)), str(rng.choice(ALIQUOTS)), str(rng.choice(list(WORDS))), int(rng.integers(1, 10**6)))
        for _ in range(n)
    ]
    table = pd.DataFrame(rows, columns=["gene", "aliquot", "word", "position"])
    table["sample_id"] = table["aliquot"].str[:15]
    hit = table[table["word"].map(WORDS)]
    matrix = pd.crosstab(hit["sample_id"], hit["gene"]).clip(upper=1)
    return rows, matrix, table.drop_duplicates(["aliquot", "position"]).groupby("sample_id").size()


@pytest.mark.parametrize("columns", [GDC_MAF, FIREHOSE_MAF], ids=["gdc", "firehose"])
@pytest.mark.parametrize("packed", [False, True])
def test_planted_mutations_are_found(tmp_path: Path, columns: tuple[str, ...], packed: bool) -> None:
    rows, matrix, counts = planted()
    content = maf_text(rows, columns, comments=2 if columns is GDC_MAF else 0).encode()
    reading = read_any(write(tmp_path / "a.maf", gzip.compress(content) if packed else content))
    frame = reading.part("mutation").sort_index()
    assert reading.kind == "maf"
    np.testing.assert_array_equal(frame[matrix.columns], matrix.loc[frame.index])
    assert set(frame.columns) == set(matrix.columns)
    assert reading.part("samples")["n_variants"].sort_index().tolist() == counts.tolist()


def test_blocks_and_order_of_rows_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, *_ = planted()
    whole = read_maf(write(tmp_path / "a.maf", maf_text(rows)))
    monkeypatch.setattr(maf_stream, "BLOCK_BYTES", 2000)
    assert len(list(maf_stream.MafRows(tmp_path / "a.maf"))) > 10
    for order in (rows, rows[::-1]):
        again = read_maf(write(tmp_path / "b.maf", maf_text(order)))
        for role in ("mutation", "samples"):
            pd.testing.assert_frame_equal(again.part(role).sort_index(), whole.part(role).sort_index())


def test_parquet_and_text_give_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.maf", maf_text(planted()[0]))
    pd.read_csv(path, sep="\t", comment="#").to_parquet(tmp_path / "a.parquet")
    for role in ("mutation", "samples"):
        pd.testing.assert_frame_equal(read_maf(tmp_path / "a.parquet").part(role), read_maf(path).part(role))


def test_burden_counts_a_variant_once_and_by_effect(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0], ("WRAP53", ALIQUOTS[0], "Silent", 1)]  # the same place again, and in another gene
    about = read_maf(write(tmp_path / "a.maf", maf_text(rows))).part("samples")
    assert about["n_variants"].tolist() == [2, 1]
    assert about["n_counted"].tolist() == [1, 0]


def test_a_sample_without_counted_mutations_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.maf", maf_text(ROWS))
    assert read_maf(path).part("mutation").loc["TCGA-A1-0001-01"].tolist() == [0]
    silent = read_maf(path, effects=["silent"]).part("mutation")
    assert silent.loc["TCGA-A1-0001-01", "TP53"] == 1
    with pytest.raises(UnknownNameError, match="damaging, missense"):
        read_maf(path, effects=["nonsense"])


def test_the_genes_are_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.maf", maf_text([*ROWS, ("EGFR", ALIQUOTS[1], "Silent", 9)]))
    reading = read_maf(path, genes=["ERBB1", "p53", "MYC"])
    assert reading.part("mutation").to_numpy().tolist() == [[0, 1, 0], [0, 0, 0]]
    assert found(reading, "genes-without-mutation") == 2
    with pytest.raises(DataError, match="no gene is mutated"):
        read_maf(path, min_samples=2)


def test_entrez_ids_rescue_names_that_are_no_symbols(tmp_path: Path) -> None:
    text = maf_text([("9-Sep", ALIQUOTS[0], "Silent", 1), ("1-Mar", ALIQUOTS[0], "Missense_Mutation", 2)])
    path = write(tmp_path / "a.maf", text.replace("1-Mar\t0", "1-Mar\t55016"))
    assert list(read_maf(path).part("mutation").columns) == ["MARCHF1"]


def test_what_does_not_count_is_said(tmp_path: Path) -> None:
    header = (*GDC_MAF, "Mutation_Status", "FILTER")
    lines = maf_text(ROWS, header).splitlines()
    for place, more in enumerate(("Somatic\tPASS", "Germline\tPASS", "\tpanel_of_normals"), 3):
        lines[place] += f"\t{more}"
    extra = lines[3].replace("Missense_Mutation", "Odd_Word").replace("GRCh38", "37").replace("\t1\t", "\t77\t")
    nobody = lines[3].replace(ALIQUOTS[0], "").replace("TP53", "Unknown")
    path = write(tmp_path / "a.maf", "\n".join([*lines, extra, nobody]) + "\n")
    reading = read_maf(path)
    codes = ("comments", "not-somatic", "filter", "unknown-classification", "mixed-builds", "rows-without-id")
    assert [found(reading, code) for code in codes] == [2, 1, 1, 1, 2, 1]
    assert reading.part("samples")["n_variants"].tolist() == [2, 1]
    with pytest.raises(DataError, match="strict"):
        read_maf(path, strict=True)


def test_normals_and_further_aliquots_are_left_out(tmp_path: Path) -> None:
    second = ALIQUOTS[0].replace("01A", "01B")
    rows = [
        *ROWS,
        ("APC", second, "Nonsense_Mutation", 5),
        ("APC", ALIQUOTS[0].replace("01A", "11A"), "Nonsense_Mutation", 6),
    ]
    reading = read_maf(write(tmp_path / "a.maf", maf_text(rows)))
    assert list(reading.part("mutation").columns) == ["TP53"]
    assert [found(reading, code) for code in ("several-aliquots", "not-tumour")] == [1, 1]


def test_variants_are_returned_one_by_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.maf", maf_text(ROWS, FIREHOSE_MAF, build="37"))
    table = read_maf(path, variants=True).part("variants")
    row = table.iloc[0]
    assert row[["sample_id", "gene", "chromosome", "start", "effect", "build"]].tolist() == [
        "TCGA-A1-0000-01", "TP53", "17", "1", "missense", "hg19"]  # fmt: skip
    assert row[["reference", "alternative", "protein_change"]].tolist() == ["C", "T", "p.R1H"]
    assert len(table) == len(pd.concat(stream_variants(path))) == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "empty"), ("# only\n", "comments"), ("a\tb\n1\t2\n", "Hugo_Symbol"), (maf_text([]), "no rows"),
     (maf_text(ROWS) + "TP53\tcut\n", "row 7 has 2"), (maf_text([("TP53", "", "Silent", 1)]), "none of its 1 rows")],
)  # fmt: skip
def test_a_file_that_is_no_maf_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_maf(write(tmp_path / "a.maf", text))


def test_alleles_may_be_long(tmp_path: Path) -> None:
    text = maf_text(ROWS).replace("\tC\tC\tT\t", f"\t{'ACGT' * 100}\t{'ACGT' * 100}\t-\t")
    assert read_maf(write(tmp_path / "a.maf", text)).part("mutation").shape == (2, 1)


def test_words_have_one_class() -> None:
    words = [
        "Frame_Shift_Del",
        "splice_donor_variant",
        "missense_variant",
        "In_Frame_Ins",
        "synonymous_variant",
        "5'UTR",
        "x",
    ]
    assert [effect_of(word) for word in words] == [
        "damaging", "damaging", "missense", "missense", "silent", "noncoding", None]  # fmt: skip
    assert gravest("intron_variant&splice_acceptor_variant") == "damaging"
    assert gravest("x&y") is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    code = "import sys; from halfmax.data.readers.maf import read_maf; read_maf(sys.argv[1]); " \
           "print(*(row for row in open('/proc/self/status') if row.startswith('VmHWM')))"  # fmt: skip
    rows = planted(1000)[0]
    peak = []
    for n in (50, 2000):  # 50,000 and two million variants, the larger file 200 MB
        head, *body = maf_text(rows, comments=0).splitlines(keepends=True)
        with (tmp_path / "a.maf").open("w", encoding="utf-8") as file:
            file.write(head)
            for turn in range(n):
                allele = f"{turn:b}".replace("0", "A").replace("1", "G")
                file.writelines(line.replace("\tC\tC\tT\t", f"\tC\tC\tT{allele}\t") for line in body)
        told = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "a.maf"], capture_output=True, text=True, check=True
        )
        peak.append(int(told.stdout.split()[1]) * 1024)
    assert peak[0] > 50e6
    assert peak[1] - peak[0] < 100e6  # the blocks that Arrow reads ahead; the rows' text takes 180 MB
    assert (tmp_path / "a.maf").stat().st_size > 160e6
