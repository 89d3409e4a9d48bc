"""Gene names: facts of HGNC, nothing guessed, and answers that do not depend on a name's company."""

from __future__ import annotations

import gzip
import random
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfmax.data.gene_names import HOW, resolve
from halfmax.data.identifiers import cytoband, locus, map_genes, match_genes, mean_of_columns
from halfmax.errors import DataError


# Symbols, old symbols and ids as genenames.org and NCBI Gene show them.
@pytest.mark.parametrize(
    ("name", "symbol", "how"),
    [
        ("TP53", "TP53", "exact"),
        (" TP53 ", "TP53", "exact"),
        ("tp53", "TP53", "case"),
        ("C1ORF52", "C1orf52", "case"),
        ("p53", "TP53", "alias"),
        ("HER2", "ERBB2", "alias"),
        ("FAM134B", "RETREG1", "previous"),
        ("MLLT4", "AFDN", "previous"),
        ("MARCH1", "MARCHF1", "previous"),
        ("MARC1", "MTARC1", "previous"),
        ("SEPT2", "SEPTIN2", "previous"),
        ("ENSG00000141510", "TP53", "ensembl"),
        ("ENSG00000141510.18", "TP53", "ensembl"),
        ("ensg00000141510", "TP53", "ensembl"),
        ("ENSG00000141510.18|TP53", "TP53", "ensembl"),
        ("ENSG00000141510_TP53", "TP53", "ensembl"),
        ("7157", "TP53", "entrez"),
        ("7157.0", "TP53", "entrez"),
        ("LOC7157", "TP53", "entrez"),
        ("TP53|7157", "TP53", "entrez"),
        ("TP53 (7157)", "TP53", "entrez"),
        ("A2LD1|87769", "GGACT", "entrez"),
        ("TP53|999999999", "TP53", "exact"),
        ("HLA.A", "HLA-A", "punctuation"),
        ("HLA_DRB1", "HLA-DRB1", "punctuation"),
        ("NKX2.1", "NKX2-1", "punctuation"),
        ("MT.ND1", "MT-ND1", "punctuation"),
        ("2-Sep", "SEPTIN2", "excel-date"),
        ("Sep-02", "SEPTIN2", "excel-date"),
        ("2-sep-23", "SEPTIN2", "excel-date"),
        ("2023-09-02", "SEPTIN2", "excel-date"),
        ("2023-09-02 00:00:00", "SEPTIN2", "excel-date"),
        ("9/2/2023", "SEPTIN2", "excel-date"),
        ("3-Mar", "MARCHF3", "excel-date"),
        ("1-Dec", "DELEC1", "excel-date"),
    ],
)
def test_a_name_means_its_current_symbol(name: str, symbol: str, how: str) -> None:
    genes = map_genes([name])
    assert (genes.symbols[0], genes.how[0]) == (symbol, how)


@pytest.mark.parametrize(
    ("name", "how", "candidates"),
    [
        ("1-Mar", "ambiguous", ("MARCHF1", "MTARC1")),
        ("2023-03-01", "ambiguous", ("MARCHF1", "MTARC1")),
        ("44621", "excel-serial", ("MARCHF1", "MTARC1")),  # 1 March 2022
        ("B3GNT1", "ambiguous", ("B3GNT2", "B4GAT1")),
    ],
)
def test_what_may_be_two_genes_is_reported_and_not_guessed(name: str, how: str, candidates: tuple[str, ...]) -> None:
    genes = map_genes([name])
    assert genes.symbols[0] is None
    assert genes.how[0] == how
    assert genes.candidates[name] == candidates


@pytest.mark.parametrize(
    "name",
    ["", "NA", "na", "null", "?", "?|100130426", "TP53.1", "1-May", "31-31", "ENSG00000002586.20_PAR_Y", "999999999"],
)
def test_what_is_no_gene_stays_unknown(name: str) -> None:
    assert map_genes([name]).how[0] == "unknown"


def test_a_current_symbol_wins_over_every_old_one() -> None:
    table = gzip.decompress(resources.files("halfmax.data").joinpath("genes.tsv.gz").read_bytes()).decode()
    rows = [line.split("\t") for line in table.splitlines()[1:]]
    symbols = {row[0] for row in rows}
    old = {name for row in rows for name in row[1].split("|")} & symbols
    assert len(rows) == 44997
    assert len(old) > 30
    assert all(resolve(name) == ((name,), "exact") for name in old)
    assert all(resolve(symbol) == ((symbol,), "exact") for symbol in symbols)


def test_facts_of_a_gene() -> None:
    assert cytoband("TP53") == "17p13.1"
    assert locus("TP53") == "protein_coding"
    assert locus("TP53TG1") == "lncRNA"
    assert cytoband("no gene") is None


def test_findings_name_each_kind_once() -> None:
    genes = map_genes(["TP53", "FAM134B", "p53", "HLA.A", "2-Sep", "1-Mar", "44621", "B3GNT1", "nonsense"])
    told = {finding.code: finding for finding in genes.findings}
    assert told["retired-symbols"].examples == ("FAM134B → RETREG1",)
    assert told["aliases"].examples == ("p53 → TP53",)
    assert told["spelling"].examples == ("HLA.A → HLA-A",)
    assert told["excel-dates"].examples == ("2-Sep → SEPTIN2",)
    assert told["excel-dates-unclear"].examples == ("1-Mar (MARCHF1 or MTARC1)", "44621 (MARCHF1 or MTARC1)")
    assert told["ambiguous-genes"].examples == ("B3GNT1 (B3GNT2 or B4GAT1)",)
    assert told["unknown-genes"].examples == ("nonsense",)
    assert genes.ambiguous["1-Mar"] == ("MARCHF1", "MTARC1")
    assert genes.unknown == ("nonsense",)
    assert genes.known_share == pytest.approx(5 / 9)


def test_mouse_names_are_noticed() -> None:
    assert map_genes(["Trp53", "Egfr", "Brca1", "Gm10000", "1700001C02Rik", "ENSMUSG00000059552.14"]).is_mouse
    assert not map_genes(["TP53", "C1orf52", "EGFR", "Trp53"]).is_mouse
    assert map_genes(["Trp53", "Egfr"]).findings[0].level == "error"


GENES = ["TP53", "EGFR", "RETREG1", "HLA-A", "SEPTIN2", "KRAS"]


def test_names_of_both_sides_are_taken_to_current_symbols() -> None:
    match = match_genes(["FAM134B", "ENSG00000141510.18", "HLA.A", "1956"], GENES)
    assert match.positions.tolist() == [1, 3, 0, 2, -1, -1]
    assert match.missing == ("SEPTIN2", "KRAS")
    assert match.coverage == pytest.approx(4 / 6)
    retired = match_genes(["RETREG1"], ["FAM134B"])
    assert retired.positions.tolist() == [0]


def test_names_that_no_table_knows_match_by_their_text() -> None:
    assert match_genes(["other", " mystery 1 "], ["mystery 1"]).positions.tolist() == [1]
    assert match_genes(["B3GNT1"], ["B3GNT1"]).positions.tolist() == [0]
    assert match_genes(["B3GNT1"], ["B4GAT1"]).positions.tolist() == [-1]


def test_the_better_name_wins_and_equally_good_ones_are_averaged() -> None:
    values = np.array([[1, 2, 4]], dtype=np.float32)
    assert match_genes(["p53", "TP53", "FAM134B"], ["TP53"]).take(values).tolist() == [[2]]
    same = match_genes(["TP53", "KRAS", "TP53"], ["TP53"])
    assert same.groups == {0: (0, 2)}
    assert same.take(values).tolist() == [[2.5]]
    assert same.take(np.array([[np.nan, 0, 3.0]])).tolist() == [[3.0]]
    assert np.isnan(same.take(np.array([[np.nan, 0, np.nan]])))
    assert match_genes(["FAM134B", "RETREG1"], ["FAM134B"]).positions.tolist() == [0]
    assert match_genes(["FAM134B", "RETREG1"], ["RETREG1"]).positions.tolist() == [1]


def test_a_list_matches_itself_place_by_place() -> None:
    names = ["ARHGAP42", "AC090099.1", "RRM2", "B3GNT1", "nonsense", "FAM134B", "RETREG1", "HLA.A", "HLA-A", "1-Mar"]
    match = match_genes(names, names)
    assert match.positions.tolist() == list(range(len(names)))
    assert not match.groups


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_further_columns_change_nothing(rng: random.Random, n_samples: int) -> None:
    have = ["TP53", "TP53", "FAM134B", "HLA.A", "ENSG00000146648.19", "SEPT2", "2-Sep", "TP53"]
    values = np.random.default_rng(rng.randrange(1000)).normal(size=(n_samples, len(have))).astype(np.float32)
    first = match_genes(have, GENES).take(values)
    extra = ["age", "GAPDH", "nonsense", "Trp53", "12345678", "1-Mar"]
    order = rng.sample(range(len(have) + len(extra)), len(have) + len(extra))
    wide = np.hstack([values, np.full((n_samples, len(extra)), 1e6, dtype=np.float32)])
    second = match_genes([(have + extra)[i] for i in order], GENES).take(wide[:, order])
    assert first.tobytes() == second.tobytes()


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=2, max_size=6), st.randoms())
def test_a_mean_of_columns_has_the_same_bits_in_any_order(row: list[float], rng: random.Random) -> None:
    values = np.array([row], dtype=np.float32)
    order = rng.sample(range(len(row)), len(row))
    mean = mean_of_columns(values, range(len(row)))
    assert mean.tobytes() == mean_of_columns(values, order).tobytes()
    if not np.isnan(values).all():
        assert mean[0] == pytest.approx(np.nanmean(values.astype(np.float64)), rel=1e-9, abs=1e-6)


def test_too_few_genes_are_refused_with_what_is_missing() -> None:
    match = match_genes(["TP53", "EGFR", "RETREG1", "HLA-A"], GENES)
    match.require(0.6)
    with pytest.raises(DataError, match=r"4 of the model's 6 genes \(66.7%\); at least 80% .*'SEPTIN2', 'KRAS'"):
        match.require()
    with pytest.raises(DataError, match="mouse genes"):
        match_genes(["Trp53", "Gm1", "Krt5"], GENES).require()


def test_coverage_is_a_warning_below_95_per_cent() -> None:
    many = [f"g{i}" for i in range(100)]
    for n_have, level in ((95, "info"), (94, "warning")):
        finding = match_genes(many[:n_have], many).findings[0]
        assert (finding.code, finding.level) == ("gene-coverage", level)
        assert finding.message == f"gene coverage {n_have}/100 ({n_have}.0%)."


@given(st.text(max_size=30))
def test_any_text_has_an_answer(name: str) -> None:
    symbols, how = resolve(name)
    assert how in (*HOW, "ambiguous", "excel-serial", "unknown")
    assert (how in HOW) <= (len(symbols) == 1)
