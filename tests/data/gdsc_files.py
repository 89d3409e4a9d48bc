"""Small files in the layouts of GDSC and the Cell Model Passports, for the tests of their readers.

The headers are those of the published files; lines and drugs are real names, the values are made up.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.readers.kinds import Reading
from tests.data.small_tables import matrix

COSMIC = ["683665", "684052", "684057", "684059"]
NAMES = ["MC-CAR", "ES3", "ES5", "ES7"]
SIDM = ["SIDM00636", "SIDM00265", "SIDM00263", "SIDM00269"]
TYPES = ["MM", "UNCLASSIFIED", "UNCLASSIFIED", "SKCM"]
#: GDSC's number, name, target, pathway.
DRUGS = [
    (1003, "Camptothecin", "TOP1", "DNA replication"),
    (1908, "Ulixertinib", "ERK1, ERK2", "ERK MAPK signaling"),
    (2047, "Ulixertinib", "ERK1, ERK2", "ERK MAPK signaling"),
    (1054, "Palbociclib", "CDK4, CDK6", "Cell cycle"),
]


def fitted() -> pd.DataFrame:
    """Return the release layout: 4 lines × 4 numbers of 3 drugs."""
    rng = np.random.default_rng(5)
    rows = [
        {
            "DATASET": "GDSC2", "NLME_RESULT_ID": 343, "NLME_CURVE_ID": 15946310 + 4 * i + j,
            "COSMIC_ID": int(COSMIC[i]), "CELL_LINE_NAME": NAMES[i], "SANGER_MODEL_ID": SIDM[i], "TCGA_DESC": TYPES[i],
            "DRUG_ID": number, "DRUG_NAME": name, "PUTATIVE_TARGET": target, "PATHWAY_NAME": pathway,
            "COMPANY_ID": 1046, "WEBRELEASE": "Y", "MIN_CONC": 0.0001, "MAX_CONC": 0.1,
            "LN_IC50": round(float(rng.normal(0, 3)), 6), "AUC": round(float(rng.uniform(0.3, 1)), 6),
            "RMSE": round(float(rng.uniform(0, 0.2)), 6), "Z_SCORE": round(float(rng.normal()), 6),
        }
        for i in range(4)
        for j, (number, name, target, pathway) in enumerate(DRUGS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def export() -> pd.DataFrame:
    """Return the web site's layout, both screens in one file: PANCANCER_IC."""
    frame = fitted()
    frame = frame[frame["DRUG_ID"] != 2047]
    names = {
        "DRUG_NAME": "Drug name", "DRUG_ID": "Drug Id", "CELL_LINE_NAME": "Cell line name",
        "COSMIC_ID": "Cosmic sample Id", "TCGA_DESC": "TCGA classification", "LN_IC50": "IC50", "AUC": "AUC",
        "MAX_CONC": "Max conc", "RMSE": "RMSE", "Z_SCORE": "Z score", "DATASET": "Dataset version",
    }  # fmt: skip
    frame = frame.rename(columns=names)[list(names.values())]
    other = frame[frame["Drug Id"] == 1003].assign(**{"Dataset version": "GDSC1", "IC50": 1.5})
    frame = pd.concat([frame, other])
    frame.insert(5, "Tissue", "bone")
    frame.insert(6, "Tissue sub-type", "ewings_sarcoma")
    return frame


def cell_lines() -> dict[str, pd.DataFrame]:
    """Return the three sheets of Cell_Lines_Details.xlsx, headers with their line breaks."""
    lines = pd.DataFrame(
        {
            "Sample Name": NAMES, "COSMIC identifier": list(map(int, COSMIC)),
            "Whole Exome Sequencing (WES)": "Y", "Copy Number Alterations (CNA)": "Y",
            "Gene Expression": ["Y", "Y", "N", "Y"], "Methylation": "Y", "Drug\nResponse": "Y",
            "GDSC\nTissue descriptor 1": ["myeloma", "bone", "bone", "bone"],
            "GDSC\nTissue\ndescriptor 2": ["myeloma", *["ewings_sarcoma"] * 3],
            "Cancer Type\n(matching TCGA label)": ["MM", None, "UNABLE TO CLASSIFY", "COAD/READ"],
            "Microsatellite \ninstability Status (MSI)": ["MSS/MSI-L", "MSI-H", None, "MSS/MSI-L"],
            "Screen Medium": "R", "Growth Properties": ["Suspension", None, "Adherent", "Adherent"],
        }
    )  # fmt: skip
    total = {"Sample Name": "TOTAL:", **dict(zip(lines.columns[2:7], [4, 4, 3, 4, 4], strict=True))}
    lines = pd.concat([lines.astype(object), pd.DataFrame([total])], ignore_index=True)
    tissues = pd.DataFrame(
        {
            "Line": ["MC-CAR", "ES3", "ES_5", "ES7", "ACN"], "COSMIC_ID": [*map(int, COSMIC), 906803],
            "Site": ["haematopoietic_and_lymphoid_tissue", *["bone"] * 3, "autonomic_ganglia"],
            "Histology": ["haematopoietic_neoplasm", *["ewings_sarcoma-peripheral"] * 3, "neuroblastoma"],
        }
    )  # fmt: skip
    decode = pd.DataFrame(
        {
            "TCGA tissue classification:": ["TCGA Label", "MM", "COREAD", None, "Growth media"],
            None: ["Definition", "Multiple Myeloma", "Colon adenocarcinoma and Rectum adenocarcinoma", None, None],
        }
    )
    return {"Cell line details": lines, "COSMIC tissue classification": tissues, "Decode": decode}


COMPOUNDS = """DRUG_ID,SCREENING_SITE,DRUG_NAME,SYNONYMS,TARGET,TARGET_PATHWAY
1003,SANGER,Camptothecin,"7-Ethyl-10-Hydroxy-Camptothecin, SN-38",TOP1,DNA replication
156,MGH,AZD6482,"AZD 6482, AZD-6482",PI3Kbeta,PI3K/MTOR
1066,SANGER,AZD6482,"AZD 6482, AZD-6482",PIK3CB,PI3K/MTOR
17,MGH,Cyclopamine,,SMO,Other
"""
#: The head of the web site's list of 2022, with the blanks in its header.
DRUG_LIST = """Drug Id, Name, Synonyms, Targets, Target pathway, PubCHEM, Datasets, number of cell lines, Screening site
"1003","Camptothecin","SN-38","TOP1","DNA replication","24360","GDSC1","877","SANGER"
"1003","Camptothecin","SN-38","TOP1","DNA replication","24360","GDSC2","966","SANGER"
"1066","AZD6482","AZD-6482","PIK3CB","PI3K/MTOR signaling","44137675","GDSC1","902","SANGER"
"2169","AZD6482","AZD-6482","PI3Kbeta","PI3K/MTOR signaling","44137675","GDSC2","267","SANGER"
"17","Cyclopamine","","SMO","Other","several","GDSC1","397","MGH"
"""


def rma() -> pd.DataFrame:
    """Return genes × DATA.<COSMIC id>: one line twice, one row without a symbol."""
    values = (matrix(5).T * 0.7 + 2.5).round(6)
    columns = [*(f"DATA.{c}" for c in COSMIC), f"DATA.{COSMIC[0]}.1"]
    frame = values.set_axis(columns, axis=1).rename_axis("GENE_SYMBOLS").reset_index()
    frame.insert(1, "GENE_title", [f"title of {symbol} [Source:HGNC]" for symbol in frame["GENE_SYMBOLS"]])
    return pd.concat([frame, frame.iloc[[0]].assign(GENE_SYMBOLS="", GENE_title="")], ignore_index=True)


def genetic_features(*, new: bool = False) -> pd.DataFrame:
    """Return lines × features in long form, the names of 2017 to 2019 or those of 2023; one pair is not listed."""
    features = [("TP53_mut", "", ""), ("cnaPANCAN1", "gain", "MDM2,FRS2"), ("cnaPANCAN2", "loss", "CDKN2A")]
    rows = [
        {
            "cell_line_name": NAMES[i], "cosmic_sample_id": int(COSMIC[i]), "gdsc_desc1": "bone",
            "gdsc_desc2": "ewings_sarcoma", "tcga_desc": TYPES[i], "genetic_feature": name, "is_mutated": (i + j) % 2,
            "recurrent_gain_loss": gain, "genes_in_segment": genes,
        }
        for i in range(4)
        for j, (name, gain, genes) in enumerate(features)
    ][:-1]  # fmt: skip
    frame = pd.DataFrame(rows)
    if new:
        names = ["Cell Line Name", "COSMIC ID", "GDSC Desc1", "GDSC Desc2", "TCGA Desc", "Genetic Feature",
                 "IS Mutated", "Recurrent Gain Loss", "Genes in Segment"]  # fmt: skip
        frame.columns = pd.Index(names)
    return frame


MUTATIONS = """gene_symbol,ensembl_gene_id,gene_id,model_id,model_name,transcript_id,protein_mutation,rna_mutation,\
cdna_mutation,chromosome,position,reference,alternative,cancer_driver,cancer_predisposition_variant,effect,vaf,coding,source
TP53,ENSG00000141510,SIDG39247,SIDM00636,MC-CAR,ENST00000269305,p.R175H,r.715g>a,c.524G>A,chr17,7675088,C,T,t,f,missense,\
0.98,t,Sanger
TP53,ENSG00000141510,SIDG39247,SIDM00636,MC-CAR,ENST00000269305,p.R175H,r.715g>a,c.524G>A,chr17,7675088,C,T,t,f,missense,\
0.97,t,Broad
KRAS,ENSG00000133703,SIDG14307,SIDM00265,ES3,ENST00000256078,p.G12D,r.225g>a,c.35G>A,chr12,25245350,C,T,t,f,missense,\
0.51,t,Sanger
FAM134B,ENSG00000154153,SIDG34181,SIDM00265,ES3,ENST00000306320,p.A12A,r.99c>t,c.36C>T,chr5,16617166,G,A,f,f,silent,\
0.33,t,Sanger
MLL,ENSG00000118058,SIDG15000,SIDM00263,ES5,ENST00000534358,p.Q10*,r.28c>t,c.28C>T,chr11,118436500,C,T,f,f,nonsense,\
,t,Sanger
EGFR,ENSG00000146648,SIDG09000,SIDM00269,ES7,ENST00000275493,-,-,c.-5C>T,chr7,55019017,C,T,f,f,5prime_UTR,0.2,f,Sanger
"""


def wes() -> pd.DataFrame:
    """Return WES_variants: names and COSMIC ids."""
    rows = [
        ("MC-CAR", 683665, "MM", "TP53", "ENST00000269305", "c.524G>A", "p.R175H", "missense", "G/A"),
        ("ES3", 684052, "NA", "KRAS", "ENST00000256078", "c.35G>A", "p.G12D", "missense", "G/A"),
        ("ES3", 684052, "NA", "TTN", "ENST00000589042", "c.36C>T", "p.A12A", "silent", "C/T"),
        ("ES5", 684057, "NA", "TTN", "ENST00000589042", "c.40C>T", "p.Q14*", "nonsense", "C/T"),
    ]
    names = ["SAMPLE", "COSMIC_ID", "Cancer Type", "Gene", "Transcript", "cDNA", "AA", "Classification", "SUBS"]
    return pd.DataFrame(rows, columns=names)


#: Three drug wells, controls, a blank and an unused well of each of two plates.
RAW = """RESEARCH_PROJECT,BARCODE,SCAN_ID,DATE_CREATED,SCAN_DATE,CELL_ID,MASTER_CELL_ID,COSMIC_ID,CELL_LINE_NAME,\
SEEDING_DENSITY,DRUGSET_ID,ASSAY,DURATION,POSITION,TAG,DRUG_ID,CONC,INTENSITY
""" + "".join(
    f"GDSC_SA,{plate},2945.0,2015-02-12T23:00:00Z,2015-02-16T23:00:00Z,4712,198.0,{cosmic}.0,{name},250,159,Glo,4,"
    f"{place},{tag},{drug},{dose},{value}\n"
    for plate, cosmic, name in ((3230, COSMIC[0], NAMES[0]), (3231, COSMIC[1], NAMES[1]))
    for place, (tag, drug, dose, value) in enumerate(
        [
            ("UN-USED", "", "", 0),
            ("B", "", "", 512),
            ("NC-1", "", "", 38000),
            ("NC-0", "", "", 39000),
            ("PC-1-D1-S", "1054", "10", 1200),
            ("L1-D1-S", "1003", "0.1", 2000),
            ("L1-D2-S", "1003", "0.05", 9000),
            ("L1-D3-S", "1003", "0.025", 30000),
        ],
        start=1,
    )
)


def workbook(sheets: Mapping[str, pd.DataFrame]) -> bytes:
    """Return a workbook with these sheets."""
    file = io.BytesIO()
    with pd.ExcelWriter(file, engine="openpyxl") as writer:
        for name, frame in sheets.items():
            frame.to_excel(writer, sheet_name=name, index=False)
    return file.getvalue()


def _csv(frame: pd.DataFrame, sep: str = ",") -> bytes:
    return frame.to_csv(index=False, sep=sep).encode()


#: Name of a file to the kind it is of and its content.
FILES: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "GDSC2_fitted_dose_response_27Oct23.csv": ("gdsc-fitted", lambda: _csv(fitted())),
    "PANCANCER_IC_Wed Nov 25.csv": ("gdsc-fitted", lambda: _csv(export())),
    "Cell_Lines_Details.xlsx": ("gdsc-cell-lines", lambda: workbook(cell_lines())),
    "Cell_Lines_Details.csv": ("gdsc-cell-lines", lambda: _csv(cell_lines()["Cell line details"].iloc[:-1])),
    "screened_compounds_rel_8.2.csv": ("gdsc-compounds", COMPOUNDS.encode),
    "Drug_listWed Aug 2022.csv": ("gdsc-compounds", DRUG_LIST.encode),
    "Cell_line_RMA_proc_basalExp.txt": ("gdsc-rma", lambda: _csv(rma(), "\t")),
    "PANCANCER_Genetic_features.csv": ("gdsc-genetic-features", lambda: _csv(genetic_features())),
    "PANCANCER_Genetic_features_2023.csv": ("gdsc-genetic-features", lambda: _csv(genetic_features(new=True))),
    "mutations_all_20230202.csv": ("cmp-mutations", MUTATIONS.encode),
    "WES_variants.csv": ("gdsc-wes-variants", lambda: _csv(wes())),
    "GDSC2_public_raw_data_24Jul22.csv": ("gdsc-raw", RAW.encode),
}


def put(folder: Path, name: str) -> Path:
    """Write one of `FILES`."""
    path = folder / name
    path.write_bytes(FILES[name][1]())
    return path


def write_csv(folder: Path, frame: pd.DataFrame, name: str = "file.csv") -> Path:
    """Write a frame as CSV without its index."""
    frame.to_csv(folder / name, index=False)
    return folder / name


def told(reading: Reading, code: str) -> str:
    """Return the first finding of this code as text."""
    return next(str(finding) for finding in reading.findings if finding.code == code)
