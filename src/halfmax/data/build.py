"""One dataset from any mix of files: each read as its kind, joined on one set of ids, with what was lost by cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.dataset import MODALITIES, ResponseDataset
from halfmax.data.drug_names import DRUG_SCHEME, with_structure_keys
from halfmax.data.findings import Finding, Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.join import Joined
from halfmax.data.readers.columns import DRUG_COLUMNS, SAMPLE_COLUMNS, SMILES
from halfmax.data.readers.kinds import KINDS, Part, Reading, read_any
from halfmax.data.readers.matrix import GENE_MODALITIES
from halfmax.data.sample_map import SAMPLE_SCHEME
from halfmax.data.storage import sha256_of
from halfmax.data.units import EXPRESSION_UNITS, to_log
from halfmax.errors import DataError, examples

#: Kind of id to the column of a dataset that shows it.
SAMPLE_ID_COLUMNS = {"cosmic": "cosmic_id", "ach": "depmap_id", "sidm": "sanger_id", "rrid": "rrid",
                     "ccle_name": "ccle_name"}  # fmt: skip
DRUG_ID_COLUMNS = {"gdsc_id": "gdsc_id", "broad_id": "broad_id", "pubchem": "pubchem_cid"}
