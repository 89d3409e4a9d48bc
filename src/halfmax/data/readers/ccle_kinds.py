"""How files of CCLE and ProCan are recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from halfmax.data.readers.ccle_matrices import (
    LOCUS,
    PROCAN_PROTEIN,
    TEN_PLEX,
    is_line_column,
    read_ccle_expression,
    read_ccle_metabolomics,
    read_ccle_methylation,
    read_ccle_proteomics,
    read_ccle_rppa,
    read_procan_proteomics,
)
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind
from halfmax.data.readers.line_ids import CCLE_NAME

_TERMS = "CCLE terms of use (sites.broadinstitute.org/ccle)"
_EXPRESSION = re.compile(r"expr|rma|u133|rpkm|tpm|fpkm|rnaseq|\.gct", re.IGNORECASE)
_METABOLITES = ("2-aminoadipate", "kynurenine", "alpha-ketoglutarate", "lactate", "taurocholate")
_ANTIBODIES = ("14-3-3_beta", "4E-BP1", "Akt_pS473", "c-Kit", "E-Cadherin")


def _share(names: Sequence[str], fits: Callable[[str], object]) -> float:
    some = names[:500]
    return sum(bool(fits(name)) for name in some) / max(len(some), 1)


def _header(seen: Glimpse) -> tuple[str, ...]:
    """Return the names of the columns; in a GCT file they stand below the size."""
    if len(seen.rows) > 1 and seen.rows[0] and all(cell.strip().isdigit() or not cell for cell in seen.rows[0]):
        return tuple(" ".join(cell.split()) for cell in seen.rows[1])
    return seen.columns


def _is_expression(seen: Glimpse) -> float:
    header = _header(seen)
    if len(header) < 3 or _is_methylation(seen) or _is_proteomics(seen):
        return 0.0
    in_rows = "ccle_name" in header or (
        len(seen.rows) > 1 and _share([row[0] for row in seen.rows[1:] if row], CCLE_NAME.fullmatch) > 0.5
    )
    if _share(header[2:], is_line_column) > 0.5 or (in_rows and len(header) > 50):
        return 0.8 if _EXPRESSION.search(seen.path.name) else 0.3
    return 0.0


def _is_rppa(seen: Glimpse) -> float:
    found = sum(seen.has(name) for name in _ANTIBODIES)
    return 0.95 if found >= 3 else 0.0


def _is_metabolomics(seen: Glimpse) -> float:
    found = sum(seen.has(name) for name in _METABOLITES)
    return 0.95 if found >= 3 else 0.0


def _is_methylation(seen: Glimpse) -> float:
    header = _header(seen)
    lines = _share(header[6:], is_line_column) > 0.5
    if lines and (seen.has("TSS_id") or seen.has("cluster_id") or seen.has("locus_id")):
        return 0.95
    return 0.9 if len(header) > 3 and _share(header[1:-1], LOCUS.fullmatch) > 0.5 else 0.0


def _is_proteomics(seen: Glimpse) -> float:
    return 0.95 if sum(TEN_PLEX.fullmatch(name) is not None for name in seen.columns) >= 2 else 0.0


def _is_procan(seen: Glimpse) -> float:
    found = _share(seen.columns[1:], PROCAN_PROTEIN.fullmatch) > 0.5 if len(seen.columns) > 2 else False
    return 0.95 if found else 0.0


EXPRESSION = FileKind(
    "ccle-expression",
    "CCLE expression, arrays or RNA-seq",
    "CCLE",
    _is_expression,
    read_ccle_expression,
    _TERMS,
    ("unit", "strict"),
)
RPPA = FileKind("ccle-rppa", "CCLE protein arrays (RPPA)", "CCLE", _is_rppa, read_ccle_rppa, _TERMS, ("strict",))
METABOLOMICS = FileKind(
    "ccle-metabolomics", "CCLE metabolites", "CCLE", _is_metabolomics, read_ccle_metabolomics, _TERMS, ("strict",)
)
METHYLATION = FileKind(
    "ccle-methylation",
    "CCLE promoter methylation (RRBS)",
    "CCLE",
    _is_methylation,
    read_ccle_methylation,
    _TERMS,
    ("strict",),
)
PROTEOMICS = FileKind(
    "ccle-proteomics",
    "CCLE proteins by mass spectrometry",
    "CCLE",
    _is_proteomics,
    read_ccle_proteomics,
    _TERMS,
    ("strict",),
)
PROCAN = FileKind(
    "procan-proteomics",
    "ProCan-DepMapSanger proteins by mass spectrometry",
    "ProCan",
    _is_procan,
    read_procan_proteomics,
    "see the figshare record of the release",
    ("strict",),
)
