"""Files of TCGA's providers: expression of the GDC, Firehose and Xena, drugs and survival of patients."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.clinical import category_of, drug_key, is_missing, read_drug_courses
from halfmax.data.readers.firehose import read_rsem
from halfmax.data.readers.gdc import read_star_counts
from halfmax.data.readers.kinds import KINDS, Reading, read_any, recognise
from halfmax.data.readers.survival import read_survival
from halfmax.data.readers.xena import read_xena_clinical
from halfmax.errors import DataError, UnknownNameError
from tests.data.tcga_samples import biotab_text, star_folder, star_name, star_text

MODULES = ("gdc", "maf", "vcf", "clinical", "survival", "xena", "firehose", "single_cell")
SAMPLES = {
    1: ("TCGA-A1-A0SB-01A", "Primary Tumor"),
    2: ("TCGA-A1-A0SB-11A", "Solid Tissue Normal"),
    3: ("TCGA-A2-A0T0-01A", "Primary Tumor"),
}


def found(reading: Reading, code: str) -> int:
    """Return the count of a finding; fail if there is none."""
    return next(finding.count for finding in reading.findings if finding.code == code)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_a_folder_of_star_counts_is_named_by_its_sheet(tmp_path: Path, nested: bool) -> None:
    folder = star_folder(tmp_path / "counts", SAMPLES, nested=nested)
    reading = read_any(folder)
    frame = reading.part("expression")
    assert reading.kind == "gdc-star-counts"
    assert list(frame.index) == ["TCGA-A1-A0SB-01", "TCGA-A2-A0T0-01"]
    assert list(frame.columns) == ["TP53", "EGFR", "KRAS", "PLCXD1"]
    np.testing.assert_allclose(frame.loc["TCGA-A2-A0T0-01"], [3, 6, 9, 13.5])  # with the copy on Y
    assert frame.to_numpy().dtype == np.float32
    assert [found(reading, c) for c in ("summary-rows", "par-y", "not-tumour")] == [4, 1, 1]
    assert [part.unit for part in reading.parts] == ["tpm", None]
    about = reading.part("samples")
    assert list(about["patient_id"]) == ["TCGA-A1-A0SB", "TCGA-A2-A0T0"]
    assert set(about["cancer_type"]) == {"BRCA"}


@pytest.mark.parametrize(
    ("column", "value", "unit"), [("counts", 10, "counts"), ("fpkm", 0.5, "fpkm"), ("tpm", 1, "tpm")]
)
def test_the_column_of_star_counts_is_chosen(tmp_path: Path, column: str, value: float, unit: str) -> None:
    folder = star_folder(tmp_path, SAMPLES)
    reading = read_star_counts(folder, column=column)
    assert reading.part("expression").loc["TCGA-A1-A0SB-01", "TP53"] == value
    assert reading.parts[0].unit == unit
    with pytest.raises(UnknownNameError, match="tpm, fpkm"):
        read_star_counts(folder, column="rpkm")


def test_normal_tissue_is_read_if_asked_for(tmp_path: Path) -> None:
    folder = star_folder(tmp_path, SAMPLES)
    assert list(read_star_counts(folder, samples="normal").part("expression").index) == ["TCGA-A1-A0SB-11"]
    assert len(read_star_counts(folder, samples="all").part("samples")) == 3


def test_two_files_of_one_sample_are_counted(tmp_path: Path) -> None:
    folder = star_folder(tmp_path, SAMPLES | {4: SAMPLES[1]})
    reading = read_star_counts(folder)
    assert reading.part("expression").loc["TCGA-A1-A0SB-01", "TP53"] == 1
    assert found(reading, "several-aliquots") == 1
    assert len(read_star_counts(folder, aliquots="all").part("expression")) == 3
    with pytest.raises(DataError, match="several files"):
        read_star_counts(folder, strict=True)


def test_other_projects_tell_normal_by_the_sheet(tmp_path: Path) -> None:
    folder = star_folder(tmp_path, {1: ("C3L-00001-01", "Primary Tumor"), 2: ("C3L-00001-06", "Solid Tissue Normal")})
    assert list(read_star_counts(folder).part("expression").index) == ["C3L-00001-01"]


def test_a_packed_file_alone_is_named_by_itself(tmp_path: Path) -> None:
    path = write(tmp_path / f"{star_name(7)}.gz", gzip.compress(star_text([1, 2, 3, 4, 5]).encode()))
    reading = read_any(path)
    assert list(reading.part("expression").index) == [star_name(7).split(".")[0]]
    assert found(reading, "no-sheet") == 0


def test_files_and_sheet_must_belong_together(tmp_path: Path) -> None:
    folder = star_folder(tmp_path / "a", SAMPLES)
    write(folder / star_name(9), star_text([1, 2, 3, 4, 5]))
    assert found(read_star_counts(folder), "not-in-sheet") == 1
    (folder / star_name(3)).unlink()
    assert found(read_star_counts(folder), "not-in-folder") == 1
    write(folder / star_name(1), star_text([1, 2, 3, 4, 5], {f"ENSG0000000000{i}.1": "X" for i in range(5)}))
    with pytest.raises(DataError, match="other genes"):
        read_star_counts(folder, samples="all")
    other = star_folder(tmp_path / "b", {8: SAMPLES[1]})
    shutil.copy(other / "gdc_sample_sheet.2026-01-01.tsv", tmp_path / "sheet.tsv")
    with pytest.raises(DataError, match="none of the"):
        read_star_counts(folder, sheet=tmp_path / "sheet.tsv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        read_star_counts(tmp_path / "empty")


@pytest.mark.parametrize("bad", ["x", "-1", "inf", "", "1e300"])
def test_a_bad_value_of_star_counts_is_refused(tmp_path: Path, bad: str) -> None:
    text = star_text([1, 2, 3, 4, 5]).replace("\t2\t1.0\t", f"\t{bad}\t1.0\t")
    assert bad in text
    with pytest.raises(DataError, match=r"ENSG00000146648|row 8"):
        read_star_counts(write(tmp_path / "a.tsv", text))


# Rows of TCGA ACC, Firehose 2015-11-01, as in the R package RTCGA.rnaseq.
RSEM = {"?|10431": (2034.1018, 1304.9251), "A2LD1|87769": (182.3919, 239.1584), "A1BG|1": (16.3305, 9.5987)}
ACC = ("TCGA-OR-A5J1-01A-11R-A29S-07", "TCGA-OR-A5J2-01A-11R-A29S-07")


def rsem_text(second: str | None = "normalized_count", scale: float = 1.0) -> str:
    lines = ["\t".join(["Hybridization REF", *ACC])]
    lines += ["\t".join(["gene_id", second, second])] if second else []
    return "\n".join([*lines, *(f"{gene}\t{a * scale}\t{b * scale}" for gene, (a, b) in RSEM.items())]) + "\n"


@pytest.mark.parametrize("second", ["normalized_count", None])
def test_firehose_expression_becomes_log2(tmp_path: Path, second: str | None) -> None:
    reading = read_any(write(tmp_path / "rsem.txt", rsem_text(second)))
    frame = reading.part("expression")
    assert reading.kind == "firehose-rsem"
    assert list(frame.index) == ["TCGA-OR-A5J1-01", "TCGA-OR-A5J2-01"]
    assert set(frame.columns) == {"?|10431", "GGACT", "A1BG"}  # A2LD1 is an old symbol
    np.testing.assert_allclose(frame["A1BG"], np.log2(np.array(RSEM["A1BG|1"]) + 1), rtol=1e-6)
    assert reading.parts[0].unit == "log2"


def test_firehose_values_of_three_kinds_are_told_apart(tmp_path: Path) -> None:
    kinds = ("raw_count", "scaled_estimate", "transcript_id")
    lines = ["\t".join(["Hybridization REF", *(a for a in ACC for _ in kinds)]), "\t".join(["gene_id", *kinds * 2])]
    lines += [f"{gene}\t{a}\t{a / 1e6}\tuc001\t{b}\t{b / 1e6}\tuc001" for gene, (a, b) in RSEM.items()]
    path = write(tmp_path / "rsem.txt", "\n".join(lines) + "\n")
    for value in ("raw_count", "scaled_estimate"):
        frame = read_rsem(path, value=value).part("expression")
        np.testing.assert_allclose(frame["A1BG"], np.log2(np.array(RSEM["A1BG|1"]) + 1), rtol=1e-5)
    with pytest.raises(DataError, match="raw_count"):
        read_rsem(path, value="normalized_count")


def test_firehose_values_that_are_logarithms_stay(tmp_path: Path) -> None:
    frame = read_rsem(write(tmp_path / "a.txt", rsem_text())).part("expression")
    names = list(RSEM)
    turned = pd.DataFrame(frame.to_numpy(), columns=names).assign(cohort="ACC", sample=ACC)
    turned[["cohort", "sample", *names]].to_parquet(tmp_path / "log.parquet")
    reading = read_any(tmp_path / "log.parquet")
    pd.testing.assert_frame_equal(reading.part("expression")[frame.columns], frame)
    unclear = write(tmp_path / "b.txt", rsem_text(None, 0.02))
    with pytest.raises(DataError, match="scale="):
        read_rsem(unclear)
    assert read_rsem(unclear, scale="linear").part("expression").to_numpy().max() < 6


def xena_text(values: np.ndarray, genes: list[str], samples: list[str]) -> str:
    return pd.DataFrame(values, pd.Index(genes, name="sample"), samples).to_csv(sep="\t")


XENA_GENES = ["TP53", "EGFR", "KRAS", "BRAF", "MYC", "PTEN", "RB1", "CDKN2A", "ERBB2", "PIK3CA"] * 1
XENA_SAMPLES = [f"TCGA-A1-{i:04d}-01" for i in range(15)] + ["TCGA-A1-0000-11"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_xena_matrix_says_its_unit(tmp_path: Path, packed: bool) -> None:
    rng = np.random.default_rng(0)
    genes = [*XENA_GENES, *(f"ENSG000001{i:05d}" for i in range(50))]
    linear = rng.gamma(0.5, 200, (len(genes), len(XENA_SAMPLES))).round(2) * (rng.random((len(genes), 1)) > 0.1)
    linear[rng.random(linear.shape) < 0.1] = 0
    for values, unit in ((np.log2(linear + 1), "log2"), (np.log2(linear + 0.001), "log2_tpm001")):
        content = xena_text(values.round(4), genes, XENA_SAMPLES).encode()
        reading = read_any(write(tmp_path / "HiSeqV2.gz", gzip.compress(content) if packed else content))
        assert reading.kind == "xena-matrix"
        assert reading.parts[0].unit == unit
        frame = reading.part("expression")
        assert list(frame.index) == XENA_SAMPLES[:-1]
        np.testing.assert_allclose(frame["TP53"], values[0, :-1].round(4), rtol=1e-6)
        assert found(reading, "not-tumour") == 1


@pytest.mark.parametrize(("values", "modality"), [((-2, -1, 0, 1, 2), "copy_number"), ((0, 1), "mutation")])
def test_a_xena_matrix_of_calls_is_told(tmp_path: Path, values: tuple[int, ...], modality: str) -> None:
    calls = np.resize(values, (len(XENA_GENES), len(XENA_SAMPLES)))
    reading = read_any(write(tmp_path / "calls.tsv", xena_text(calls, XENA_GENES, XENA_SAMPLES)))
    np.testing.assert_array_equal(reading.part(modality)["EGFR"], calls[1, :-1])


# Cells of the STAD clinical matrix of UCSC Xena, and a second sample of a patient.
CLINICAL_COLUMNS = ("sampleID", "_EVENT", "_OS", "_OS_IND", "_OS_UNIT", "_PATIENT", "_cohort", "_primary_disease",
                    "_primary_site", "age_at_initial_pathologic_diagnosis", "gender", "_GENOMIC_ID_x")  # fmt: skip
CLINICAL = "\n".join(
    "\t".join(row)
    for row in (
        CLINICAL_COLUMNS,
        *(
            (sample, event, days, event, "days", sample[:12], "TCGA Stomach Cancer (STAD)", "stomach adenocarcinoma",
             "Stomach", age, sex, "id")
            for sample, event, days, age, sex in (
                ("TCGA-B7-5816-01", "0", "812", "51", "FEMALE"),
                ("TCGA-B7-5816-11", "0", "812", "51", "FEMALE"),
                ("TCGA-B7-5818-01", "1", "356", "[Not Available]", "MALE"),
                ("TCGA-B7-5818-06", "1", "356", "62", "MALE"),
            )
        ),
    )
) + "\n"  # fmt: skip


def test_a_xena_clinical_matrix_gives_samples_and_survival(tmp_path: Path) -> None:
    path = write(tmp_path / "STAD_clinicalMatrix", CLINICAL)
    reading = read_any(path)
    samples = reading.part("samples")
    assert reading.kind == "xena-clinical"
    assert list(samples.index) == ["TCGA-B7-5816-01", "TCGA-B7-5818-01", "TCGA-B7-5818-06"]
    assert samples.loc["TCGA-B7-5816-01", ["tissue", "cancer_type", "age", "sex"]].tolist() == [
        "Stomach",
        "STAD",
        "51",
        "FEMALE",
    ]
    assert samples.loc["TCGA-B7-5818-01", "age"] is None
    assert not [name for name in samples if str(name).startswith("_GENOMIC")]
    clinical = reading.part("clinical")
    assert clinical.loc["TCGA-B7-5818"].tolist() == [356, 1]
    assert len(clinical) == 2
    with pytest.raises(DataError, match="different survival"):
        read_xena_clinical(write(path, CLINICAL.replace("06\t1\t356", "06\t1\t357")))


@pytest.mark.parametrize(
    ("text", "days", "event"),
    [("bcr_patient_barcode,type,OS,OS.time\nTCGA-A1-0001,BRCA,1,300\n", 300, 1),
     ("sample,_PATIENT,OS,OS.time\nTCGA-A1-0001-01,TCGA-A1-0001,0,300\n", 300, 0),
     ("patient,cohort,survival_months,censorship\nTCGA-A1-0001,BRCA,12,0.0\n", 365.25, 1),
     ("#Patient\nPATIENT_ID,OS_STATUS,OS_MONTHS\nTCGA-A1-0001,1:DECEASED,12\n", 365.25, 1)],
)  # fmt: skip
def test_survival_is_in_days_whoever_wrote_it(tmp_path: Path, text: str, days: float, event: int) -> None:
    path = write(tmp_path / "s.csv", text.replace(",", "\t"))
    reading = read_any(path)
    assert reading.kind == "tcga-survival"
    row = reading.part("clinical").loc["TCGA-A1-0001"]
    assert row["os_days"] == pytest.approx(days)
    assert row["os_event"] == event


def test_survival_without_meaning_is_empty_and_said(tmp_path: Path) -> None:
    text = "bcr_patient_barcode,OS,OS.time\nTCGA-A1-0001,maybe,x\nTCGA-A1-0002,1,-5\nTCGA-A1-0003,1,5\n"
    reading = read_survival(write(tmp_path / "s.csv", text))
    assert [found(reading, c) for c in ("bad-times", "negative-times", "bad-events")] == [1, 1, 1]
    assert reading.part("clinical")["os_days"].isna().tolist() == [True, True, False]


COURSES = [
    ("TCGA-A1-0001", "Paclitaxel", "200", "Complete Response"),
    ("TCGA-A1-0001", " paclitaxel", "20", "Clinical Progressive Disease"),
    ("TCGA-A1-0001", "Cisplatin", "20", "[Not Available]"),
    ("TCGA-A1-0002", "Paclitaxel", "[Not Available]", "Stable Disease"),
    ("TCGA-A1-0002", "[Unknown]", "5", "Partial Response"),
    ("TCGA-A1-0003", "5-FU  +  Leucovorin", "5", "Partial Response"),
    ("TCGA-A1-0004", "Avastin", "x5", "Tumor Free"),
]


@pytest.mark.parametrize(("course", "value"), [("first", 0.0), ("best", 3.0), ("worst", 0.0)])
def test_drug_courses_become_ordered_responses(tmp_path: Path, course: str, value: float) -> None:
    path = write(tmp_path / "nationwidechildrens.org_clinical_drug_brca.txt", biotab_text(COURSES))
    assert [kind.name for _, kind in recognise(path)] == ["tcga-biotab-drug"]
    reading = read_drug_courses(path, course=course)
    response = reading.part("response").set_index(["sample_id", "drug_id"])
    assert response["value"].to_dict() == {
        ("TCGA-A1-0001", "paclitaxel"): value,
        ("TCGA-A1-0002", "paclitaxel"): 1.0,
        ("TCGA-A1-0003", "5-fu + leucovorin"): 2.0,
    }
    assert response.loc[("TCGA-A1-0003", "5-fu + leucovorin"), "drug_name"] == "5-FU  +  Leucovorin"
    assert reading.parts[0].measure is not None
    assert reading.parts[0].measure.higher_is_sensitive
    counts = {c: found(reading, c) for c in ("header-rows", "several-courses", "unknown-response", "bad-days")}
    assert counts == {"header-rows": 2, "several-courses": 1, "unknown-response": 1, "bad-days": 1}
    assert len(reading.part("clinical")) == 7
    assert reading.part("drugs").loc["paclitaxel", "n_courses"] == 3


def test_drug_columns_have_other_names_in_some_cohorts(tmp_path: Path) -> None:
    columns = ["bcr_patient_uuid", "bcr_patient_barcode", "bcr_drug_barcode", "drug_name", "therapy_type",
               "days_to_drug_therapy_start", "days_to_drug_therapy_end", "measure_of_response",
               "regimen_number"]  # fmt: skip
    same = read_drug_courses(write(tmp_path / "a.txt", biotab_text(COURSES))).part("response")
    for rows in (1, 3):
        path = write(tmp_path / "b.txt", biotab_text(COURSES, columns, header_rows=rows))
        pd.testing.assert_frame_equal(read_drug_courses(path).part("response"), same)


def test_no_response_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of its 1 courses"):
        read_drug_courses(write(tmp_path / "a.txt", biotab_text(COURSES[2:3])))
    with pytest.raises(DataError, match="column for the response"):
        read_drug_courses(write(tmp_path / "a.txt", "bcr_patient_barcode\tdrug_name\nTCGA-A1-0001\tx\n"))


def test_words_of_clinical_tables() -> None:
    assert [category_of(w) for w in ("Complete Response", "complete remission/response", "PD", "x")] == [
        "CR",
        "CR",
        "PD",
        None,
    ]
    assert [is_missing(w) for w in ("[Not Evaluated]", "Unknown", "", "0", "No")] == [True, True, True, False, False]
    assert drug_key(" Gemcitabine\t HCl ") == "gemcitabine hcl"


def test_the_page_names_every_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tutorials" / "tcga.md").read_text(encoding="utf-8")
    kinds = [KINDS.get(name) for name in KINDS.names()]
    ours = {kind.name for kind in kinds if kind.read.__module__.rsplit(".", 1)[1] in MODULES}
    assert len(ours) == 9
    assert not [name for name in ours if f"| `{name}` |" not in text]
