"""Small files in the layouts of TCGA's providers, written with planted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

GENES = {
    "ENSG00000141510.18": "TP53",
    "ENSG00000146648.21": "EGFR",
    "ENSG00000133703.14": "KRAS",
    "ENSG00000182378.15": "PLCXD1",
    "ENSG00000182378.15_PAR_Y": "PLCXD1",
}
SUMMARY = ("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous")
STAR_HEADER = (
    "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\tfpkm_unstranded\t"
    "fpkm_uq_unstranded"
)
SHEET_HEADER = "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type"


def star_text(values: Sequence[float], genes: Mapping[str, str] = GENES) -> str:
    """Return a STAR gene count file: TPM as given, counts ten times, FPKM half of it."""
    lines = ["# gene-model: GENCODE v36", STAR_HEADER]
    lines += [f"{name}\t\t\t8120268\t8120268\t8120268\t\t\t" for name in SUMMARY]
    for (gene, symbol), tpm in zip(genes.items(), values, strict=True):
        counts = int(tpm * 10)
        lines.append(
            f"{gene}\t{symbol}\tprotein_coding\t{counts}\t{counts // 2}\t{counts // 2}\t{tpm}\t{tpm / 2}\t{tpm / 3}"
        )
    return "\n".join(lines) + "\n"


def star_name(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000.rna_seq.augmented_star_gene_counts.tsv"


def star_folder(folder: Path, samples: Mapping[int, tuple[str, str]], *, nested: bool = False) -> Path:
    """Write file 1, 2, … with TPM number × (1, 2, 3, 4, 0.5), and the sheet: number to Sample ID and Sample Type."""
    rows = [SHEET_HEADER]
    for number, (sample, kind) in samples.items():
        place = folder / f"file{number}" if nested else folder
        place.mkdir(parents=True, exist_ok=True)
        text = star_text([number * k for k in (1, 2, 3, 4, 0.5)])
        (place / star_name(number)).write_text(text, encoding="utf-8")
        rows.append(
            f"id{number}\t{star_name(number)}\tTranscriptome Profiling\tGene Expression Quantification\tTCGA-BRCA\t"
            f"{sample[:12]}\t{sample}\t{kind}"
        )
    (folder / "gdc_sample_sheet.2026-01-01.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


GDC_MAF = ("Hugo_Symbol", "Entrez_Gene_Id", "Center", "NCBI_Build", "Chromosome", "Start_Position", "End_Position",
           "Strand", "Variant_Classification", "Variant_Type", "Reference_Allele", "Tumor_Seq_Allele1",
           "Tumor_Seq_Allele2", "Tumor_Sample_Barcode", "HGVSp_Short")  # fmt: skip
FIREHOSE_MAF = tuple({"Start_Position": "Start_position", "End_Position": "End_position",
                      "HGVSp_Short": "Protein_Change"}.get(name, name) for name in GDC_MAF)  # fmt: skip


def maf_text(
    rows: Sequence[tuple[str, str, str, int]],
    columns: Sequence[str] = GDC_MAF,
    *,
    comments: int = 2,
    build: str = "GRCh38",
) -> str:
    """Return a MAF of rows (gene, aliquot, classification, position)."""
    lines = [f"#comment {i}" for i in range(comments)] + ["\t".join(columns)]
    for gene, aliquot, word, position in rows:
        lines.append(f"{gene}\t0\tc\t{build}\t17\t{position}\t{position}\t+\t{word}\tSNP\tC\tC\tT\t{aliquot}\tp.R1H")
    return "\n".join(lines) + "\n"


# The header of nationwidechildrens.org_clinical_drug_*.txt, shortened; its second and third row name the data elements.
BIOTAB_COLUMNS = ("bcr_patient_uuid", "bcr_patient_barcode", "bcr_drug_barcode", "pharmaceutical_therapy_drug_name",
                  "pharmaceutical_therapy_type", "pharmaceutical_tx_started_days_to", "pharmaceutical_tx_ended_days_to",
                  "treatment_best_response", "regimen_number")  # fmt: skip
BIOTAB_ELEMENTS = ("bcr_patient_uuid", "bcr_patient_barcode", "bcr_drug_barcode", "drug_name", "therapy_type",
                   "days_to_drug_therapy_start", "days_to_drug_therapy_end", "measure_of_response",
                   "regimen_number")  # fmt: skip


def biotab_text(
    rows: Sequence[tuple[str, str, str, str]], columns: Sequence[str] = BIOTAB_COLUMNS, *, header_rows: int = 3
) -> str:
    """Return a Biotab drug file of rows (patient, drug, start, response)."""
    heads = [columns, BIOTAB_ELEMENTS, ["CDE_ID:", "CDE_ID:2003301", *(f"CDE_ID:{i}" for i in range(7))]][:header_rows]
    body = [
        (f"uuid-{i}", patient, f"{patient}-D{i}", drug, "Chemotherapy", start, "[Not Available]", response, "1")
        for i, (patient, drug, start, response) in enumerate(rows)
    ]
    return "\n".join("\t".join(cells) for cells in [*heads, *body]) + "\n"


VCF_HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">
{info}
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
{more}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO{samples}
"""
CSQ = (
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. Format: '
    'Allele|Consequence|IMPACT|SYMBOL|Gene|Feature|PICK">'
)
ANN = (
    "##INFO=<ID=ANN,Number=.,Type=String,Description=\"Functional annotations: 'Allele | Annotation | "
    "Annotation_Impact | Gene_Name | Gene_ID | Feature_Type'\">"
)


def vcf_text(info: str, records: Sequence[str], samples: Sequence[str] = (), more: str = "") -> str:
    """Return a VCF of records ``chrom pos ref alt filter info [GT …]``, blanks between the cells."""
    columns = "".join(f"\t{name}" for name in ("FORMAT", *samples)) if samples else ""
    lines = []
    for record in records:
        chrom, pos, ref, alt, passed, content, *genotypes = record.split(" ")
        cells = [chrom, pos, ".", ref, alt, ".", passed, content, *(["GT", *genotypes] if samples else [])]
        lines.append("\t".join(cells))
    return VCF_HEADER.format(info=info, samples=columns, more=more) + "\n".join(lines) + "\n"
