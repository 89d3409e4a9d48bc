"""Kinds of files: each says how surely a file is of its kind and reads it into parts of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from halfmax.data.dataset import Measure
from halfmax.data.findings import Finding
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.errors import DataError, examples
from halfmax.registry import Registry

#: What a part of a dataset can be, besides a modality (`expression`, `mutation`, …).
ROLES = ("response", "samples", "drugs", "wells", "clinical", "variants", "features")
#: How sure a kind must be for a file to be read as it without being told.
SURE = 0.5


@dataclass(frozen=True)
class Part:
    """One table of a dataset that a file holds.

    Parameters
    ----------
    role
        ``response`` (columns sample_id, drug_id, value and what else the file says of the pair, one row a pair),
        ``samples`` or ``drugs`` (index = id), ``wells``, ``clinical``, ``variants`` (one row each), ``features`` (what
        is known of a modality's features, index = name), or a modality (samples × features, float32).
    frame
        The table.
    measure
        What a response is.
    unit
        Unit of a modality, as in `halfmax.data.units`.
    id_kind
        What the sample ids are: ``name``, ``ccle_name``, ``cosmic``, ``ach``, ``sidm``, ``rrid``, ``barcode``.
    """

    role: str
    frame: pd.DataFrame
    measure: Measure | None = None
    unit: str | None = None
    id_kind: str = "name"


@dataclass(frozen=True)
class Reading:
    """What was read from one file or folder, and what was seen and done on the way."""

    kind: str
    parts: tuple[Part, ...]
    findings: tuple[Finding, ...] = ()

    def part(self, role: str) -> pd.DataFrame:
        """Return the table of this role; raise DataError if there is none."""
        for part in self.parts:
            if part.role == role:
                return part.frame
        raise DataError(f"this {self.kind} file holds {examples([p.role for p in self.parts])}, not {role}.")


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Parameters
    ----------
    name
        Short fixed name, such as ``gdsc-fitted``.
    title
        What it is, in words a person uses.
    provider
        Who publishes it; ``any`` for a user's own tables.
    recognise
        From a first look at a file, how sure it is that it is of this kind, 0 to 1; it never raises.
    read
        Reads it: ``read(path, **options)``; raises DataError where the file is not usable.
    licence
        Terms under which it is published.
    """

    name: str
    title: str
    provider: str
    recognise: Callable[[Glimpse], float]
    read: Callable[..., Reading]
    licence: str = ""
    options: tuple[str, ...] = field(default=())


_HERE = "halfmax.data.readers"
KINDS: Registry[FileKind] = Registry(
    "reader",
    {
        "depmap-expression": f"{_HERE}.depmap_matrix:EXPRESSION",
        "depmap-copy-number": f"{_HERE}.depmap_matrix:COPY_NUMBER",
        "depmap-mutation-matrix": f"{_HERE}.depmap_matrix:MUTATION_MATRIX",
        "depmap-model": f"{_HERE}.depmap_model:MODEL",
        "depmap-mutations": f"{_HERE}.depmap_mutations:MUTATIONS",
        "ccle-annotations": f"{_HERE}.depmap_model:ANNOTATIONS",
        "ccle-expression": f"{_HERE}.ccle_kinds:EXPRESSION",
        "ccle-rppa": f"{_HERE}.ccle_kinds:RPPA",
        "ccle-metabolomics": f"{_HERE}.ccle_kinds:METABOLOMICS",
        "ccle-methylation": f"{_HERE}.ccle_kinds:METHYLATION",
        "ccle-proteomics": f"{_HERE}.ccle_kinds:PROTEOMICS",
        "ccle-drug": f"{_HERE}.ccle_drug:DRUG",
        "prism-secondary": f"{_HERE}.prism:PRISM",
        "ctrp": f"{_HERE}.ctrp:CTRP",
        "procan-proteomics": f"{_HERE}.ccle_kinds:PROCAN",
        "gdsc-fitted": f"{_HERE}.gdsc_fitted:FITTED",
        "gdsc-cell-lines": f"{_HERE}.gdsc_lines:CELL_LINES",
        "gdsc-compounds": f"{_HERE}.gdsc_compounds:COMPOUNDS",
        "gdsc-rma": f"{_HERE}.gdsc_rma:RMA",
        "gdsc-genetic-features": f"{_HERE}.gdsc_events:GENETIC_FEATURES",
        "gdsc-wes-variants": f"{_HERE}.gdsc_mutations:WES_VARIANTS",
        "gdsc-raw": f"{_HERE}.gdsc_raw:RAW",
        "cmp-mutations": f"{_HERE}.gdsc_mutations:CMP_MUTATIONS",
        "table-drugs": f"{_HERE}.table_kinds:DRUGS",
        "table-matrix": f"{_HERE}.table_kinds:MATRIX",
        "table-response": f"{_HERE}.table_kinds:RESPONSE",
        "table-samples": f"{_HERE}.table_kinds:SAMPLES",
        "gdc-star-counts": f"{_HERE}.gdc:STAR_COUNTS",
        "maf": f"{_HERE}.maf:MAF",
        "tcga-biotab-drug": f"{_HERE}.clinical:BIOTAB_DRUG",
        "tcga-survival": f"{_HERE}.clinical:SURVIVAL",
        "xena-matrix": f"{_HERE}.xena:XENA_MATRIX",
        "xena-clinical": f"{_HERE}.xena:XENA_CLINICAL",
        "firehose-rsem": f"{_HERE}.firehose:FIREHOSE_RSEM",
        "vcf": f"{_HERE}.vcf:VCF",
        "single-cell": f"{_HERE}.single_cell:SINGLE_CELL",
    },
)


def recognise(path: Path | str) -> list[tuple[float, FileKind]]:
    """Return the kinds that a file or folder may be of, the surest first.

    Raises
    ------
    DataError
        If it cannot be opened.
    """
    seen = glimpse(path)
    found = [(kind.recognise(seen), kind) for kind in map(KINDS.get, KINDS.names())]
    return sorted(((sure, kind) for sure, kind in found if sure > 0), key=lambda item: (-item[0], item[1].name))


def kind_of(path: Path | str) -> FileKind:
    """Return the kind of a file.

    Raises
    ------
    DataError
        If its kind is not recognised, or is not plain between two.
    """
    found = [item for item in recognise(path) if item[0] >= SURE]
    if not found:
        raise DataError(
            f"{path} is of no kind that is recognised; say which with kind=, one of {', '.join(KINDS.names())}."
        )
    best = [kind for sure, kind in found if sure == found[0][0]]
    if len(best) > 1:
        raise DataError(f"{path} may be {examples([kind.name for kind in best])}; say which with kind=.")
    return best[0]


def read_any(path: Path | str, kind: str | None = None, **options: object) -> Reading:
    """Read a file of any known kind.

    Parameters
    ----------
    kind
        Name of the kind; recognised if not given.

    Raises
    ------
    DataError
        If its kind is not recognised, is not plain between two, or the file is not usable.
    """
    chosen = kind_of(path) if kind is None else KINDS.get(kind)
    return chosen.read(Path(path), **options)
