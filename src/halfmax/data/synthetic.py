"""Datasets with planted truth, for tests and the documentation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from halfmax.data.dataset import MEASURES, ResponseDataset

_SMILES = (
    "CCO", "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "c1ccccc1", "CCN(CC)CC",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "OC1CCCCC1", "NCCc1ccc(O)c(O)c1", "CC(N)C(=O)O", "O=C(O)c1ccccc1O", "CCCCCC", "c1ccc2ccccc2c1", "CC#N", "C1CCNCC1",
    "COc1ccccc1", "Nc1ccncc1",
)  # fmt: skip


def make_dataset(
    n_samples: int = 60,
    n_drugs: int = 8,
    n_genes: int = 40,
    *,
    noise: float = 0.3,
    missing: float = 0.1,
    seed: int = 0,
) -> ResponseDataset:
    """Return a dataset in which each drug's response is its mean plus one gene's effect plus noise.

    Drug ``D03`` answers to gene ``G3`` (its number modulo `n_genes`) with slope −1 [ln µM per standard deviation]; the
    means of the drugs are spread over about ±3. Tissues ``lung``, ``blood`` and ``skin`` are dealt in turn and shift
    gene ``G0``. A share `missing` of the pairs is not measured.
    """
    rng = np.random.default_rng(seed)
    sample_ids = [f"S{i:03d}" for i in range(n_samples)]
    drug_ids = [f"D{j:02d}" for j in range(n_drugs)]
    tissue = np.array(["lung", "blood", "skin"])[np.arange(n_samples) % 3]
    x = rng.normal(size=(n_samples, n_genes))
    x[:, 0] += np.array([-1.0, 0.0, 1.0])[np.arange(n_samples) % 3]
    target = np.arange(n_drugs) % n_genes
    y = np.linspace(-3, 3, n_drugs) - x[:, target] + noise * rng.normal(size=(n_samples, n_drugs))
    measured = rng.random((n_samples, n_drugs)) >= missing
    measured[np.arange(n_drugs) % n_samples, np.arange(n_drugs)] = True
    rows, columns = np.nonzero(measured)
    response = pd.DataFrame(
        {
            "sample_id": np.array(sample_ids, dtype=object)[rows],
            "drug_id": np.array(drug_ids, dtype=object)[columns],
            "value": y[rows, columns],
        }
    )
    genes = [f"G{i}" for i in range(n_genes)]
    return ResponseDataset(
        name="synthetic",
        measure=MEASURES["ln_ic50"],
        response=response,
        samples=pd.DataFrame({"tissue": tissue}, index=pd.Index(sample_ids, name="sample_id")),
        drugs=pd.DataFrame(
            {"name": drug_ids, "smiles": [_SMILES[j % len(_SMILES)] for j in range(n_drugs)]},
            index=pd.Index(drug_ids, name="drug_id"),
        ),
        omics={"expression": pd.DataFrame(x.astype(np.float32), index=sample_ids, columns=genes)},
        notes={"source": "made by halfmax.data.synthetic", "licence": "none needed"},
    )
