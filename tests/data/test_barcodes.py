"""TCGA barcodes: their parts, tumour and normal, one aliquot a sample, one sample a patient."""

from __future__ import annotations

import pytest

from halfmax.data.barcodes import choose_samples, parse_barcode, sample_of_patient
from halfmax.data.findings import Findings
from halfmax.errors import DataError, UnknownNameError

ALIQUOT = "TCGA-A1-A0SB-01A-11R-A144-07"


def codes(findings: Findings) -> list[str]:
    return [finding.code for finding in findings.items]


@pytest.mark.parametrize("text", [ALIQUOT, ALIQUOT.lower(), ALIQUOT.replace("-", "."), f" {ALIQUOT} "])
def test_a_barcode_says_patient_sample_and_aliquot(text: str) -> None:
    barcode = parse_barcode(text)
    assert barcode is not None
    assert (barcode.patient, barcode.sample, barcode.kind) == ("TCGA-A1-A0SB", "TCGA-A1-A0SB-01", "tumour")
    assert (barcode.tss, barcode.vial, barcode.portion, barcode.analyte, barcode.plate) == (
        "A1",
        "A",
        "11",
        "R",
        "A144",
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [("TCGA-A1-A0SB-06", "tumour"), ("TCGA-A1-A0SB-11A", "normal"), ("TCGA-A1-A0SB-10", "normal"),
     ("TCGA-A1-A0SB-20A", "other"), ("TCGA-A1-A0SB", "unknown")],
)  # fmt: skip
def test_two_digits_tell_tumour_from_normal(text: str, kind: str) -> None:
    barcode = parse_barcode(text)
    assert barcode is not None
    assert barcode.kind == kind


@pytest.mark.parametrize("text", ["", "TCGA", "TCGA-A1-A0SB-D1234", "TCGA-A1.A0SB", "MCF7", "TCGA-A1-A0SB-01A-xx", "٣"])
def test_other_ids_are_no_barcodes(text: str) -> None:
    assert parse_barcode(text) is None


def test_normal_samples_are_left_out_and_counted() -> None:
    findings = Findings()
    ids = ["TCGA-A1-A0SB-01A", "TCGA-A1-A0SB-11A", "TCGA-A2-0001-06A"]
    chosen = choose_samples(ids, findings)
    assert list(chosen.ids) == ["TCGA-A1-A0SB-01", "TCGA-A2-0001-06"]
    assert list(chosen.samples["patient_id"]) == ["TCGA-A1-A0SB", "TCGA-A2-0001"]
    assert list(chosen.samples["sample_type"]) == ["Primary Solid Tumor", "Metastatic"]
    assert findings.items[0].code == "not-tumour"
    assert findings.items[0].count == 1
    assert list(choose_samples(ids, Findings(), samples="normal").ids) == ["TCGA-A1-A0SB-11"]
    assert len(choose_samples(ids, Findings(), samples="all").ids) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [(ALIQUOT, ALIQUOT.replace("01A", "01B")),  # the lowest vial
     (ALIQUOT.replace("11R", "11H"), ALIQUOT), (ALIQUOT, ALIQUOT.replace("11R", "11T")),  # the better analyte
     (ALIQUOT.replace("11R", "11D"), ALIQUOT.replace("11R", "11W")),  # native before amplified
     (ALIQUOT.replace("11R", "12R"), ALIQUOT), (ALIQUOT.replace("A144", "A145"), ALIQUOT)],  # the highest
)  # fmt: skip
def test_one_aliquot_of_a_sample_is_kept_in_whatever_order(first: str, second: str) -> None:
    for ids in ([first, second], [second, first]):
        findings = Findings()
        chosen = choose_samples(ids, findings)
        assert list(chosen.samples["aliquot"]) == [first]
        assert codes(findings) == ["several-aliquots"]
    assert list(choose_samples([first, second], Findings(), aliquots="all").ids) == [first, second]
    with pytest.raises(DataError, match="several aliquots"):
        choose_samples([first, second], Findings(strict=True))


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(DataError, match="more than once"):
        choose_samples([ALIQUOT, ALIQUOT], Findings())


def test_other_ids_stay_as_they_are() -> None:
    findings = Findings()
    chosen = choose_samples(["P1", "P2"], findings, kinds=["normal", "tumour"], patients=["a", "b"])
    assert list(chosen.ids) == ["P2"]
    assert chosen.samples.loc["P2", "patient_id"] == "b"
    assert codes(findings) == ["no-barcodes", "not-tumour"]


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="samples='all'"):
        choose_samples(["TCGA-A1-A0SB-11A"], Findings())
    with pytest.raises(UnknownNameError, match="tumour, normal, all"):
        choose_samples([ALIQUOT], Findings(), samples="tumor")  # type: ignore[arg-type]


def test_the_primary_tumour_stands_for_a_patient() -> None:
    ids = ["TCGA-A1-A0SB-06", "TCGA-A1-A0SB-01", "TCGA-A1-A0SB-11", "TCGA-A2-0001-06", "TCGA-A3-0001-11", "x"]
    assert sample_of_patient(ids) == {"TCGA-A1-A0SB": "TCGA-A1-A0SB-01", "TCGA-A2-0001": "TCGA-A2-0001-06"}
