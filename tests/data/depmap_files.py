"""Small files in the layouts of DepMap, CCLE, PRISM, CTRP and ProCan, made up, for the tests of their readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.readers.kinds import SURE, recognise
from tests.data.small_tables import SYMBOLS, matrix

ACHS = [f"ACH-{i:06d}" for i in range(1, 7)]
CCLE = [
    *("A549_LUNG", "MCF7_BREAST", "HL60_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE"),
    *("A375_SKIN", "HT29_LARGE_INTESTINE", "U2OS_BONE"),
]
GENES = [f"{symbol} ({i + 1000000})" for i, symbol in enumerate(SYMBOLS)]

MODEL = (
    "ModelID,PatientID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreeCode,RRID,CCLEName,SangerModelID,"
    "COSMICID,PublicComments\n"
    "ACH-000001,PT-1,NIH:OVCAR-3,NIHOVCAR3,Ovary/Fallopian Tube,HGSOC,CVCL_0465,NIHOVCAR3_OVARY,SIDM00105,905933.0,"
    '"a, b"\n'
    "ACH-000002,PT-2,HL-60,HL60,Myeloid,AML,CVCL_0002,HL60_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE,SIDM00829,905938.0,\n"
    "ACH-000003,PT-3,A-1,A1,,NA,,,,,\n"
)
ANNOTATIONS = (
    "CCLE_ID\tdepMapID\tName\tSite_Primary\ttcga_code\n"
    "DMS53_LUNG\tACH-000698\tDMS 53\tlung\tSCLC\n"
    "WS1_SKIN\tNA\tWS1\tskin\t\n"
)
MUTATIONS = (
    "Chrom,Pos,ProteinChange,HugoSymbol,LikelyLoF,Hotspot,EntrezGeneID,ModelID,IsDefaultEntryForModel,VariantInfo,AF,CivicDescription\n"
    'chr1,1,p.Q61R,NRAS,False,True,4893.0,ACH-000001,Yes,missense_variant,0.4,"one, two"\n'
    "chr17,2,p.R196*,TP53,True,False,7157,ACH-000001,Yes,stop_gained,0.9,\n"
    'chr17,3,p.R175H,TP53,False,True,7157,ACH-000002,Yes,missense_variant,1.0,"three\nlines"\n'
    "chr17,4,p.R175H,TP53,False,True,7157,ACH-000003,No,missense_variant,0.5,\n"
    "chr7,5,p.V600E,BRAF,False,True,673,,Yes,missense_variant,0.5,\n"
    "chr7,6,,FAM134B,True,False,54463,ACH-000002,Yes,frameshift_variant,0.5,\n"
)
PRISM = (
    "broad_id,depmap_id,ccle_name,screen_id,upper_limit,lower_limit,slope,r2,auc,ec50,ic50,name,moa,target,disease.area,"
    "indication,smiles,phase,passed_str_profiling,row_name\n"
    "BRD-K00000001-001-01-1,ACH-000001,A549_LUNG,MTS010,1,0.1,-1,0.9,0.5,1.5,2.0,drug-a,m,EGFR,,,CCO,Launched,TRUE,x\n"
    "BRD-K00000001-003-02-9,ACH-000001,A549_LUNG,MTS010,1,0.1,-1,0.9,0.7,1.5,8.0,drug-a,m,EGFR,,,CCO,Launched,TRUE,x\n"
    "BRD-K00000001-001-01-1,ACH-000001,A549_LUNG,HTS002,1,0.1,-1,0.9,0.1,1.5,9.0,drug-a,m,EGFR,,,CCO,Launched,TRUE,x\n"
    'BRD-K00000002-001-01-1,ACH-000002,MCF7_BREAST,HTS002,1,0.1,-1,0.9,0.9,4,,drug-b,m,,,,"CCN, CCC",Launched,TRUE,x\n'
    "BRD-K00000002-001-01-1,ACH-000003,A375_SKIN,HTS002,1,0.1,-1,0.9,0.9,4,3,drug-b,m,,,,CCN,Launched,FALSE,x\n"
    "BRD-K00000002-001-01-1,,HT29_LARGE_INTESTINE,HTS002,1,0.1,-1,0.9,0.8,4,0,drug-b,m,,,,CCN,Launched,TRUE,x\n"
)
CTRP = {
    "v20.data.curves_post_qc.txt": "experiment_id\tarea_under_curve\tapparent_ec50_umol\tpred_pv_high_conc\t"
    "master_cpd_id\n"
    "1\t14.5\t2.0\t0.8\t10\n2\t12.5\t4.0\t0.7\t10\n3\t6.0\t0.1\t0.1\t11\n3\t9.0\t0.1\t0.1\t12\n9\t1.0\t0.1\t0.1\t11\n"
    "3\t2.0\t0.1\t0.1\t99\n",
    "v20.meta.per_experiment.txt": "experiment_id\trun_id\tmaster_ccl_id\n1\t7\t100\n1\t8\t100\n2\t7\t100\n3\t7\t101\n",
    "v20.meta.per_cell_line.txt": "master_ccl_id\tccl_name\tccle_primary_site\tccle_primary_hist\n"
    "100\tA549\tlung\tcarcinoma\n101\tMCF7\tbreast\tcarcinoma\n",
    "v20.meta.per_compound.txt": "master_cpd_id\tcpd_name\tbroad_cpd_id\tcpd_smiles\tgene_symbol_of_protein_target\n"
    "10\tdrug-a\tBRD-K00000001\tCCO\tEGFR\n11\tdrug-b\tBRD-K00000002\tCCN\t\n12\ta:b (1:1 mol/mol)\t\tCC.CN\t\n",
}
CCLE_DRUG = (
    "CCLE Cell Line Name,Primary Cell Line Name,Compound,Target,Doses (uM),Activity Data (median),Activity SD,Num Data,"
    "FitType,EC50 (uM),IC50 (uM),Amax,ActArea\n"
    '1321N1_CENTRAL_NERVOUS_SYSTEM,1321N1,AEW541,IGF1R,".0025,.0080,8","8.67,-10,-43","3.31,3.72,7.51",3,Sigmoid,8.7,8,-42.5,0.71\n'
    'A549_LUNG,A549,AEW541,IGF1R,".0025,8","1,-80","1,2",2,Sigmoid,NA,2.5,-80,1.67\n'
)
RPPA = ",14-3-3_beta,4E-BP1,Akt_pS473,c-Kit,E-Cadherin_Caution\nA549_LUNG,-0.1, 0.06, 0.3,NA,1\nMCF7_BREAST,1,2,3,4,5\n"
METABOLITES = (
    "CCLE_ID,DepMap_ID,2-aminoadipate,kynurenine,lactate,taurocholate\n"
    "A549_LUNG,ACH-000681,6.1,5.9,5.8,5.2\nOC315_OVARY,,6.0,5.9,5.7,5.1\n"
)
METHYLATION = (
    "TSS_id\tgene\tchr\tfpos\ttpos\tstrand\tavg_coverage\tA549_LUNG\tMCF7_BREAST\n"
    "SGIP1_1_66998824_66999824\tSGIP1\t1\t66998824\t66999824\t+\t45.5\t0.25\t0.5\n"
    "SKI_1_2159133_2160133\tSKI\t1\t2159133\t2160133\t+\t20\t    NaN\t1\n"
)
PROTEINS = (
    "Protein_Id,Gene_Symbol,Description,Group_ID,Uniprot,Uniprot_Acc,A549_LUNG_TenPx01,MCF7_BREAST_TenPx01,"
    "A549_LUNG_TenPx20,TenPx01_Peptides,TenPx20_Peptides\n"
    'sp|P55011|S12A2_HUMAN,SLC12A2,"Solute carrier, 12",0,S12A2_HUMAN,P55011,2.0,0.5,4.0,6,7\n'
    "sp|P37108|SRP14_HUMAN,SRP14,Signal,1,SRP14_HUMAN,P37108,1.0,NA,,3,1\n"
)
PROCAN = (
    "Project_Identifier\tP37108;SRP14_HUMAN\tQ96JP5;ZFP91_HUMAN\n"
    "SIDM00018;K052\t7.0\t\nSIDM00023;TE-12\t6.9\t3.1\n"
)  # fmt: skip


def expression() -> pd.DataFrame:
    """Return log2(TPM + 1) of six models, under ACH ids and ``SYMBOL (entrez)``, the first column without name."""
    frame = matrix().round(4)
    return frame.set_axis(pd.Index(ACHS), axis=0).set_axis(GENES, axis=1)


def gct() -> str:
    frame = matrix().T.round(4).set_axis(CCLE, axis=1)
    rows = [
        f"ENSG{i:011d}.1\t{name}\t" + "\t".join(map(str, row))
        for i, (name, row) in enumerate(zip(frame.index, frame.to_numpy(), strict=True))
    ]
    return "\n".join(["#1.2", f"{len(frame)}\t{frame.shape[1]}", "Name\tDescription\t" + "\t".join(CCLE), *rows, ""])


def copy_number(scale: str) -> pd.DataFrame:
    """Return relative copies of 20 models, most neutral, some with one copy lost or gained, or their logarithm."""
    rng = np.random.default_rng(3)
    copies = rng.choice([0.5, 1.0, 1.5], p=[0.15, 0.7, 0.15], size=(20, len(GENES))) + rng.normal(
        0, 0.01, (20, len(GENES))
    )
    values = copies if scale == "relative" else np.log2(copies + 1)
    return pd.DataFrame(values.round(4), pd.Index([f"ACH-{i:06d}" for i in range(20)]), GENES)


def damaging() -> pd.DataFrame:
    values = np.random.default_rng(4).choice([0, 1, 2], p=[0.9, 0.08, 0.02], size=(6, len(GENES)))
    return pd.DataFrame(values, pd.Index(ACHS), GENES)


def put(folder: Path, name: str, content: str | pd.DataFrame) -> Path:
    path = folder / name
    if isinstance(content, pd.DataFrame):
        content.to_csv(path)
    else:
        path.write_text(content, encoding="utf-8")
    return path


def put_ctrp(folder: Path) -> Path:
    for name, content in CTRP.items():
        put(folder, name, content)
    return folder


def sure_kinds(path: Path) -> list[str]:
    """Return the kinds that a file is surely of, those of anybody's own tables left out."""
    return [kind.name for sure, kind in recognise(path) if sure >= SURE and kind.provider != "any"]


#: Kind to the name and the content of a file of that kind.
FILES: dict[str, tuple[str, Callable[[], str | pd.DataFrame]]] = {
    "depmap-expression": ("OmicsExpressionProteinCodingGenesTPMLogp1.csv", expression),
    "depmap-copy-number": ("OmicsCNGene.csv", lambda: copy_number("relative")),
    "depmap-mutation-matrix": ("OmicsSomaticMutationsMatrixDamaging.csv", damaging),
    "depmap-model": ("Model.csv", lambda: MODEL),
    "depmap-mutations": ("OmicsSomaticMutations.csv", lambda: MUTATIONS),
    "ccle-annotations": ("Cell_lines_annotations_20181226.txt", lambda: ANNOTATIONS),
    "ccle-drug": ("CCLE_NP24.2009_Drug_data_2015.02.24.csv", lambda: CCLE_DRUG),
    "ccle-expression": ("CCLE_RNAseq_genes_rpkm_20180929.gct", gct),
    "ccle-metabolomics": ("CCLE_metabolomics_20190502.csv", lambda: METABOLITES),
    "ccle-methylation": ("CCLE_RRBS_TSS1kb_20181022.txt", lambda: METHYLATION),
    "ccle-proteomics": ("protein_quant_current_normalized.csv", lambda: PROTEINS),
    "ccle-rppa": ("CCLE_RPPA_20181003.csv", lambda: RPPA),
    "prism-secondary": ("secondary-screen-dose-response-curve-parameters.csv", lambda: PRISM),
    "procan-proteomics": ("ProCan-DepMapSanger_protein_matrix_8498_averaged.txt", lambda: PROCAN),
}
