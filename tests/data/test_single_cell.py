"""AnnData and 10x files: planted counts are summed by sample, and what is read is said."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from halfmax.data.readers.kinds import read_any
from halfmax.data.readers.single_cell import read_single_cell
from halfmax.errors import DataError, HalfmaxError, UnknownNameError
from tests.data.test_tcga_files import found
from tests.data.test_tcga_fuzz import mutate

SYMBOLS = ["TP53", "EGFR", "KRAS", "BRAF"]
ENSEMBL = ["ENSG00000141510", "ENSG00000146648", "ENSG00000133703", "ENSG00000157764"]
CELLS = [
    f"{'ACGTACGTACGTAC' if i % 2 else 'TTGTACGTACGTAA'}{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}-{i // 16}" for i in range(60)
]
COUNTS = np.random.default_rng(0).poisson(60, (60, 4))
DONORS = np.array(["d1", "d2", "d3"])[np.arange(60) % 3]
SUMS = np.array([COUNTS[np.arange(60) % 3 == donor].sum(axis=0) for donor in range(3)])


def h5ad(path: Path, **changes: Any) -> Path:
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame(
        {"donor_id": DONORS, "sex": np.where(DONORS == "d1", "F", "M"), "batch": np.arange(60) % 2}, CELLS
    )
    data = anndata.AnnData(sp.csr_matrix(COUNTS.astype(np.float32)), obs, pd.DataFrame(index=SYMBOLS))
    for name, value in changes.items():
        setattr(data, name, value)
    data.write_h5ad(path)
    return path


def test_cells_are_summed_by_sample(tmp_path: Path) -> None:
    reading = read_any(h5ad(tmp_path / "a.h5ad"))
    frame = reading.part("expression")
    assert reading.kind == "single-cell"
    np.testing.assert_array_equal(frame, SUMS)
    assert list(frame.index) == ["d1", "d2", "d3"]
    assert reading.parts[0].unit == "counts"
    about = reading.part("samples")
    assert about["n_cells"].tolist() == [20, 20, 20]
    assert about["n_reads"].tolist() == SUMS.sum(axis=1).tolist()
    assert about["sex"].tolist() == ["F", "M", "M"]
    assert "batch" not in about  # differs between the cells of a sample
    assert [found(reading, code) for code in ("matrix-choice", "sample-column", "pseudobulk")] == [0, 0, 3]


def test_the_order_of_cells_means_nothing(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    data = anndata.read_h5ad(h5ad(tmp_path / "a.h5ad"))
    data[np.random.default_rng(1).permutation(60)].copy().write_h5ad(tmp_path / "b.h5ad")
    pd.testing.assert_frame_equal(
        read_single_cell(tmp_path / "b.h5ad").part("expression"),
        read_single_cell(tmp_path / "a.h5ad").part("expression"),
    )


def test_the_column_of_samples_is_chosen(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "mix.h5ad")
    assert read_single_cell(path, by="batch").part("samples")["n_cells"].to_dict() == {"0": 30, "1": 30}
    with pytest.raises(DataError, match="donor_id"):
        read_single_cell(path, by="donor")
    one = read_single_cell(h5ad(tmp_path / "P1.h5ad", obs=pd.DataFrame(index=CELLS)))
    np.testing.assert_array_equal(one.part("expression").loc[["P1"]], [COUNTS.sum(axis=0)])


def test_the_matrix_is_chosen_and_must_hold_counts(tmp_path: Path) -> None:
    logged = sp.csr_matrix(np.log1p(COUNTS / 7).astype(np.float32))
    path = h5ad(tmp_path / "a.h5ad", X=logged, layers={"counts": sp.csr_matrix(COUNTS)})
    with pytest.raises(DataError, match=r"no counts.*layers\['counts'\].*layer="):
        read_single_cell(path)
    np.testing.assert_array_equal(read_single_cell(path, layer="counts").part("expression"), SUMS)
    with pytest.raises(DataError, match="It has: counts"):
        read_single_cell(path, layer="count")
    with pytest.raises(DataError, match="no raw matrix"):
        read_single_cell(path, raw=True)


def test_the_raw_matrix_is_read(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    data = anndata.read_h5ad(h5ad(tmp_path / "a.h5ad"))
    data.raw = data.copy()
    data = data[:, :2].copy()
    data.X = sp.csr_matrix(data.X.toarray() / 3)
    data.write_h5ad(tmp_path / "b.h5ad")
    np.testing.assert_array_equal(read_single_cell(tmp_path / "b.h5ad", raw=True).part("expression"), SUMS)


def test_rows_that_are_samples_stay(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(0)
    genes = [f"ENSG00000{i:06d}" for i in range(141000, 141120)]
    tpm = rng.gamma(0.5, 200, (3, len(genes)))
    data = anndata.AnnData(
        tpm / tpm.sum(axis=1, keepdims=True) * 1e6, pd.DataFrame({"tissue": list("abc")}, ["s1", "s2", "s3"])
    )
    data.var_names = genes
    data.write_h5ad(tmp_path / "bulk.h5ad")
    reading = read_single_cell(tmp_path / "bulk.h5ad")
    assert reading.parts[0].unit == "tpm"
    np.testing.assert_allclose(reading.part("expression"), data.X.astype(np.float32))
    assert reading.part("samples")["tissue"].tolist() == list("abc")
    with pytest.raises(UnknownNameError, match="samples or cells"):
        read_single_cell(tmp_path / "bulk.h5ad", rows="genes")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["h5ad", "10x"])
def test_indices_out_of_range_are_refused(tmp_path: Path, name: str) -> None:
    h5py = pytest.importorskip("h5py")
    path = h5ad(tmp_path / "a.h5ad") if name == "h5ad" else tenx_h5(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["X/indices" if name == "h5ad" else "matrix/indices"][3] = 2**30
    with pytest.raises(DataError, match="damaged"):
        read_single_cell(path)


def test_genes_may_be_named_in_a_column(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "a.h5ad", var=pd.DataFrame({"feature_name": SYMBOLS}, [f"row{i}" for i in range(4)]))
    assert list(read_single_cell(path).part("expression").columns) == SYMBOLS


def tenx_folder(folder: Path, prefix: str = "", *, kinds: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    features = [f"{i}\t{s}\tGene Expression" if kinds else f"{i}\t{s}" for i, s in zip(ENSEMBL, SYMBOLS, strict=True)]
    matrix = np.vstack([COUNTS.T, np.ones((1, 60), dtype=int)]) if kinds else COUNTS.T
    features += ["CD3\tCD3\tAntibody Capture"] if kinds else []
    name = "features.tsv.gz" if kinds else "genes.tsv.gz"
    (folder / f"{prefix}{name}").write_bytes(gzip.compress("\n".join(features).encode()))
    (folder / f"{prefix}barcodes.tsv.gz").write_bytes(gzip.compress("\n".join(CELLS).encode()))
    buffer = io.BytesIO()
    scipy.io.mmwrite(buffer, sp.coo_matrix(matrix))
    (folder / f"{prefix}matrix.mtx.gz").write_bytes(gzip.compress(buffer.getvalue()))
    return folder


@pytest.mark.parametrize("kinds", [True, False])
def test_a_10x_folder_is_one_sample(tmp_path: Path, kinds: bool) -> None:
    reading = read_any(tenx_folder(tmp_path / "P1" / "filtered_feature_bc_matrix", kinds=kinds))
    assert list(reading.part("expression").columns) == SYMBOLS
    np.testing.assert_array_equal(reading.part("expression").loc[["P1"]], [COUNTS.sum(axis=0)])
    assert reading.part("samples").loc["P1", "n_cells"] == 60


def test_prefixes_in_a_10x_folder_are_samples(tmp_path: Path) -> None:
    tenx_folder(tmp_path, "GSM1_A_")
    reading = read_single_cell(tenx_folder(tmp_path, "GSM2_B_"))
    assert list(reading.part("expression").index) == ["GSM1_A", "GSM2_B"]
    np.testing.assert_array_equal(reading.part("expression"), [COUNTS.sum(axis=0)] * 2)


def test_files_of_a_10x_folder_must_belong_together(tmp_path: Path) -> None:
    folder = tenx_folder(tmp_path / "a")
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(b"AAAC-1\n"))
    with pytest.raises(DataError, match="1 barcodes"):
        read_single_cell(folder)
    (folder / "barcodes.tsv.gz").unlink()
    with pytest.raises(DataError, match="no barcodes"):
        read_single_cell(folder)


@pytest.mark.parametrize("version", [2, 3])
def test_a_10x_h5_file(tmp_path: Path, version: int) -> None:
    path = tenx_h5(tmp_path / "P1.h5", version)
    reading = read_any(path)
    np.testing.assert_array_equal(reading.part("expression").loc[["P1"], SYMBOLS], [COUNTS.sum(axis=0)])


def tenx_h5(path: Path, version: int = 3) -> Path:
    h5py = pytest.importorskip("h5py")
    matrix = sp.csc_matrix(COUNTS.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = matrix.shape
        group["barcodes"] = np.array(CELLS, dtype="S")
        if version == 3:
            group["features/id"] = np.array(ENSEMBL, dtype="S")
            group["features/feature_type"] = np.array(["Gene Expression"] * 4, dtype="S")
        else:
            group["genes"], group["gene_names"] = np.array(ENSEMBL, dtype="S"), np.array(SYMBOLS, dtype="S")
    return path


@pytest.mark.parametrize("name", ["h5ad", "10x", "mtx", "features"])
def test_a_mutated_file_gives_an_answer_or_our_error(tmp_path: Path, name: str) -> None:
    folder = tenx_folder(tmp_path / "folder")
    if name in ("h5ad", "10x"):
        path = h5ad(tmp_path / "a.h5ad") if name == "h5ad" else tenx_h5(tmp_path / "a.h5")
    else:
        path = folder / ("matrix.mtx.gz" if name == "mtx" else "features.tsv.gz")
    content = path.read_bytes() if name in ("h5ad", "10x") else gzip.decompress(path.read_bytes())
    refused = 0
    for seed in range(50):
        mutated = mutate(content, np.random.default_rng(seed))
        path.write_bytes(mutated if name in ("h5ad", "10x") else gzip.compress(mutated))
        try:
            read_single_cell(folder if name in ("mtx", "features") else path)
        except HalfmaxError:
            refused += 1
    assert refused > 10
