"""Cell lines and other samples by any name or id: COSMIC, DepMap, Sanger, Cellosaurus, CCLE, TCGA barcodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import pandas as pd

from halfmax.data.cell_lines import CELL_LINE_ALIASES
from halfmax.data.id_kinds import IdKind, Scheme, entries_of
from halfmax.data.id_map import IdMap

_ACH = re.compile(r"ACH-\d{6}", re.IGNORECASE)
_SIDM = re.compile(r"SIDM\d{5}", re.IGNORECASE)
_RRID = re.compile(r"(?:RRID:)?\s*(CVCL_[A-Z0-9]{4})", re.IGNORECASE)
_COSMIC = re.compile(r"(?:COSMIC[:\s]*|COSS)?(\d{3,8})(?:\.0+)?", re.IGNORECASE)
# Project, site, patient; sample type (01 to 09 are tumours) with vial; portion, plate, centre.
_BARCODE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?:-\d{2})?)(?:[A-Z](?:-.+)?)?", re.IGNORECASE)
#: Tissues in CCLE's names; without one, a name such as A549_CRAF_KD is that of a derived line.
_TISSUES = (
    "ADRENAL_CORTEX|AUTONOMIC_GANGLIA|BILIARY_TRACT|BONE|BREAST|CENTRAL_NERVOUS_SYSTEM|CERVIX|ENDOMETRIUM|EYE|"
    "FIBROBLAST|GASTROINTESTINAL_TRACT|HAEMATOPOIETIC_AND_LYMPHOID_TISSUE|KIDNEY|LARGE_INTESTINE|LIVER|LUNG|"
    "MATCHED_NORMAL_TISSUE|OESOPHAGUS|OVARY|PANCREAS|PLACENTA|PLEURA|PRIMARY|PROSTATE|SALIVARY_GLAND|SKIN|"
    "SMALL_INTESTINE|SOFT_TISSUE|STOMACH|TESTIS|THYROID|UPPER_AERODIGESTIVE_TRACT|URINARY_TRACT|UVEA|VULVA"
)
_CCLE = re.compile(rf"([A-Z0-9]+)_(?:{_TISSUES})")
_CCLE_ANY = re.compile(r"[A-Z0-9]+_\w+", re.IGNORECASE)


def _plain(pattern: re.Pattern[str], text: str) -> str | None:
    """Return an id in capitals, without what may stand around it: ``905933`` of ``905933.0``."""
    found = pattern.fullmatch(text)
    return None if found is None else (found[1] if pattern.groups else found[0]).upper()


def _patient_of(barcode: str) -> str | None:
    """Return the patient of a tumour sample; a normal sample does not stand for its patient."""
    return barcode[:12] if barcode[12:14] == "-0" else None


def _name_in_ccle(text: str) -> str | None:
    found = _CCLE.fullmatch(text)
    return found[1] if found else None


#: How samples are named; what decides first stands first.
SAMPLE_SCHEME = Scheme(
    what="sample",
    kinds=(
        IdKind("ach", "DepMap id", partial(_plain, _ACH), _ACH, ("depmapid", "modelid", "achid", "achilles")),
        IdKind("sidm", "Sanger model id", partial(_plain, _SIDM), _SIDM, ("sangermodelid", "sidm", "modelid")),
        IdKind("cosmic", "COSMIC id", partial(_plain, _COSMIC), None,
               ("cosmicid", "cosmicidentifier", "cosmicsampleid", "cosmic", "cosmicsample")),
        IdKind("ccle_name", "CCLE name", partial(_plain, _CCLE_ANY), _CCLE,
               ("cclename", "ccleid", "cclecelllinename"), _name_in_ccle),
        IdKind("barcode", "TCGA barcode", partial(_plain, _BARCODE), _BARCODE,
               ("bcrpatientbarcode", "tumorsamplebarcode", "barcode"), wider=_patient_of),
        IdKind("rrid", "Cellosaurus id", partial(_plain, _RRID), _RRID, ("rrid", "cellosaurus", "cellosaurusid")),
    ),
    # Derived lines can share a Cellosaurus or Sanger id with their parent, so DepMap's is the surest.
    exclusive=("ach", "sidm", "cosmic", "barcode", "rrid"),
    against={"ccle_name": None},
    names=("name", "celllinename", "samplename", "modelname", "cellline", "line", "cclname", "primarycelllinename",
           "sample", "sampleid"),
    aliases=("strippedcelllinename", "strippedname", "synonyms", "aliases", "alias", "othernames", "modelidalias",
             "deepdrname"),
    known=CELL_LINE_ALIASES,
)  # fmt: skip


def sample_map(
    tables: Mapping[str, pd.DataFrame], id_kinds: Mapping[str, str] | None = None, *, label_by: str = "name"
) -> IdMap:
    """Return what samples are called in all these tables.

    T-T and TT, or KM-H2 and KMH-2, are never one by their letters: rows become one by an id in common, by the same
    spelling, or by the same letters and digits if no other row has them and no id differs.

    Parameters
    ----------
    tables
        Name of a table to its frame, index = sample; columns of ids (DepMap ``ACH-…``, Sanger ``SIDM…``, COSMIC
        numbers, Cellosaurus ``CVCL_…``, CCLE names) and of further names are found by their look and their names.
        What stands first gives a sample its name.
    id_kinds
        Name of a table to what its index is, where the look does not tell: numbers may be COSMIC's.
    label_by
        What becomes the id here: ``name``, ``ach``, ``sidm``, ``cosmic``, ``rrid``, ``ccle_name`` or ``barcode``.
    """
    kinds = id_kinds or {}
    entries = [
        entry
        for table, frame in tables.items()
        for entry in entries_of(
            frame,
            table,
            kinds.get(table) or SAMPLE_SCHEME.guess(map(str, frame.index), str(frame.index.name)),
            SAMPLE_SCHEME,
        )
    ]
    return IdMap(SAMPLE_SCHEME, entries, label_by)
