"""Write a halfmax dataset in the folder layout that drevalpy's public loaders read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfmax.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from halfmax.data.dataset import ResponseDataset

#: Width of the fingerprint of drevalpy's EnsembleMF, and of the others it reads.
FINGERPRINT_BITS = (128, 256, 1024)
#: Gene lists that drevalpy's models ask for by name; each is written with the same genes.
GENE_LISTS = ("all_genes", "landmark_genes", "gene_expression_intersection")


def write_features(dataset: ResponseDataset, folder: Path, name: str, genes: list[str]) -> None:
    """Write expression, names, fingerprints and gene lists of the samples and drugs of `dataset`."""
    import pandas as pd

    own = folder / name
    for path in (own / "drug_fingerprints", folder / "meta" / "gene_lists"):
        path.mkdir(parents=True, exist_ok=True)
    expression = dataset.omics["expression"].loc[dataset.samples.index, genes]
    expression.rename_axis("cell_line_name").to_csv(own / "gene_expression.csv")
    drugs = list(map(str, dataset.drugs.index))
    pd.DataFrame({"cell_line_name": list(map(str, dataset.samples.index))}).to_csv(
        own / "cell_line_names.csv", index=False
    )
    pd.DataFrame({"pubchem_id": drugs, "drug_name": drugs}).to_csv(own / "drug_names.csv", index=False)
    for bits in FINGERPRINT_BITS:
        path = own / "drug_fingerprints" / f"pubchem_id_to_demorgan_{bits}_map.csv"
        fingerprints(dataset.drugs["smiles"], bits).to_csv(path, index=False)
    for gene_list in GENE_LISTS:
        pd.DataFrame({"Symbol": genes}).to_csv(folder / "meta" / "gene_lists" / f"{gene_list}.csv", index=False)


def fingerprints(smiles: pd.Series, bits: int) -> pd.DataFrame:
    """Return Morgan fingerprints of radius 2, one column a drug."""
    import pandas as pd
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits)
    columns = {}
    for drug, text in smiles.items():
        molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            raise DataError(f"the structure of {drug!r} cannot be read: {text!r}")
        columns[str(drug)] = generator.GetFingerprintAsNumPy(molecule)
    return pd.DataFrame(columns)


def most_variable_genes(dataset: ResponseDataset, n: int) -> list[str]:
    """Return the `n` genes with the largest variance over the samples of `dataset`, in the table's order; 0 for all."""
    expression = dataset.omics["expression"].loc[dataset.samples.index]
    if n <= 0 or n >= expression.shape[1]:
        return list(expression.columns)
    chosen = set(expression.var().nlargest(n).index)
    return [gene for gene in expression.columns if gene in chosen]
