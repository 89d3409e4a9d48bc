"""VCF files: genes and consequences of whoever annotated them, carriers, filters, and the matched normal."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from halfmax.data.readers.kinds import read_any
from halfmax.data.readers.vcf import read_vcf
from halfmax.errors import DataError
from tests.data.tcga_samples import ANN, CSQ, vcf_text
from tests.data.test_tcga_files import found, write

VEP = [
    "17 7675088 C T PASS DP=9;CSQ=T|downstream_gene_variant|MODIFIER|WRAP53|E|ENST2|,T|missense_variant|M|TP53|"
    "ENSG00000141510|ENST1| 0/0 0/1 0/0",
    "7 55191822 T G PASS CSQ=G|synonymous_variant|L|EGFR|E|ENST1| 0/0 0/1 1|1",
    "10 87933147 C T germline;base_qual CSQ=T|stop_gained|H|PTEN|E|ENST1| 0/0 0/1 0/1",
    "9 100 C T . CSQ=T|stop_gained&splice_region_variant|H|CDKN2A|E|ENST1| 0/0 ./. 0/1",
    "4 100 A C PASS DP=3 0/0 0/1 0/0",
]
NORMAL = "##normal_sample=N1\n"


def test_carriers_of_vep_annotations(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", vcf_text(CSQ, VEP, ("N1", "T1", "T2"), NORMAL))
    reading = read_any(path, variants=True)
    frame = reading.part("mutation")
    assert reading.kind == "vcf"
    assert list(frame.columns) == ["CDKN2A", "TP53"]
    assert frame.loc["T1"].tolist() == [0, 1]
    assert frame.loc["T2"].tolist() == [1, 0]
    assert reading.part("samples")["n_variants"].tolist() == [3, 2]
    assert reading.part("samples")["n_counted"].tolist() == [1, 1]
    codes = ("filtered", "unfiltered", "no-annotation", "not-tumour")
    assert [found(reading, code) for code in codes] == [1, 1, 1, 1]
    variants = reading.part("variants")
    assert variants[["sample_id", "gene", "effect"]].to_numpy().tolist() == [
        ["T1", "WRAP53", "noncoding"], ["T1", "TP53", "missense"], ["T1", "EGFR", "silent"],
        ["T2", "EGFR", "silent"], ["T2", "CDKN2A", "damaging"]]  # fmt: skip


def test_packed_in_several_parts_as_bgzip_does(tmp_path: Path) -> None:
    text = vcf_text(CSQ, VEP, ("N1", "T1", "T2"), NORMAL).encode()
    packed = b"".join(gzip.compress(text[start : start + 150]) for start in range(0, len(text), 150))
    reading = read_any(write(tmp_path / "a.vcf.gz", packed))
    assert reading.part("mutation").to_numpy().tolist() == [[0, 1], [1, 0]]


def test_several_alternatives_of_one_record(tmp_path: Path) -> None:
    records = [
        "12 25245350 C A,T PASS CSQ=A|missense_variant|M|KRAS|E|ENST1|,T|synonymous_variant|L|KRAS|E|ENST1| 0/2 0/1",
        "3 100 CAG C,CA PASS CSQ=-|frameshift_variant|H|BAP1|E|ENST1|,A|synonymous_variant|L|BAP1|E|ENST1| 0|1 0/2",
    ]
    frame = read_vcf(write(tmp_path / "a.vcf", vcf_text(CSQ, records, ("T1", "T2")))).part("mutation")
    assert frame.loc["T1", ["KRAS", "BAP1"]].tolist() == [0, 1]
    assert frame.loc["T2", ["KRAS", "BAP1"]].tolist() == [1, 0]


def test_the_picked_transcript_is_taken(tmp_path: Path) -> None:
    record = "17 1 C T PASS CSQ=T|stop_gained|H|TP53|E|ENST1|,T|synonymous_variant|L|TP53|E|ENST2|{} 0/1"
    for pick, mutated in (("1", 0), ("", 1)):
        path = write(tmp_path / "a.vcf", vcf_text(CSQ, [record.format(pick)], ("T1",)))
        assert read_vcf(path, genes=["TP53"]).part("mutation").to_numpy().tolist() == [[mutated]]


@pytest.mark.parametrize(
    ("info", "content"),
    [
        (ANN, "ANN=T|missense_variant|MODERATE|TP53|ENSG00000141510|transcript,T|intron_variant|MODIFIER|EGFR|E|t"),
        (
            '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Local consequence annotation from BCFtools/csq, see '
            'http://x. Format: Consequence|gene|transcript|biotype|strand|amino_acid_change|dna_change">',
            "BCSQ=missense|TP53|ENST1|protein_coding|-|1R>1H|1C>T,@9",
        ),
        (
            '##INFO=<ID=GENE,Number=1,Type=String,Description="Gene">\n##INFO=<ID=EFFECT,Number=1,Type=String,'
            'Description="Effect">',
            "GENE=TP53;EFFECT=missense_variant",
        ),
        (
            '##INFO=<ID=Gene.refGene,Number=.,Type=String,Description="ANNOVAR">\n##INFO=<ID=ExonicFunc.refGene,'
            'Number=.,Type=String,Description="ANNOVAR">',
            "Gene.refGene=TP53;ExonicFunc.refGene=nonsynonymous_SNV",
        ),
    ],
    ids=["snpeff", "bcftools", "gene-effect", "annovar"],
)
def test_other_annotations_are_read(tmp_path: Path, info: str, content: str) -> None:
    path = write(tmp_path / "P1.vcf", vcf_text(info, [f"17 1 C T PASS {content}"]))
    frame = read_vcf(path).part("mutation")
    assert frame.index.tolist() == ["P1"]
    assert frame.columns.tolist() == ["TP53"]


def test_a_gene_without_consequence_counts_and_is_warned_of(tmp_path: Path) -> None:
    info = '##INFO=<ID=GENE,Number=1,Type=String,Description="Gene">'
    reading = read_vcf(write(tmp_path / "P1.vcf", vcf_text(info, ["17 1 C T PASS GENE=TP53", "1 1 C T PASS GENE=."])))
    assert reading.part("mutation").columns.tolist() == ["TP53"]
    assert [f.level for f in reading.findings if f.code == "no-consequence"] == ["warning"]


def test_the_sample_is_named_by_the_file_or_the_caller(tmp_path: Path) -> None:
    path = write(tmp_path / "P7.vcf", vcf_text(CSQ, [VEP[0].removesuffix(" 0/0")], ("NORMAL", "TUMOR")))
    assert read_vcf(path).part("mutation").index.tolist() == ["P7"]
    assert read_vcf(path, sample="me").part("samples").index.tolist() == ["me"]
    several = write(tmp_path / "b.vcf", vcf_text(CSQ, VEP, ("A", "B", "C")))
    with pytest.raises(DataError, match="3 samples"):
        read_vcf(several, sample="me")


@pytest.mark.parametrize("info", ["##source=caller", CSQ.replace("SYMBOL|Gene", "X|Y")])
def test_no_annotation_says_what_is_needed(tmp_path: Path, info: str) -> None:
    with pytest.raises(DataError, match=r"CSQ.*ANN.*vep --vcf --symbol"):
        read_vcf(write(tmp_path / "a.vcf", vcf_text(info, VEP, ("N1", "T1", "T2"))))


@pytest.mark.parametrize(
    ("text", "match"),
    [("x\n", "#CHROM"), (vcf_text(CSQ, []), "no record"), (vcf_text(CSQ, ["1 1 C T PASS DP=1"]), "has a gene"),
     (vcf_text(CSQ, ["1 1 C T PASS DP=1"]) + "1\t2\n", "cannot be read"),
     (vcf_text(CSQ, VEP[2:3], "abc"), "has a gene")],
)  # fmt: skip
def test_a_damaged_vcf_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_vcf(write(tmp_path / "a.vcf", text))
