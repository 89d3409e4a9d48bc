"""A screen gives the predictor's own values, resumes by shard, and reports bad SMILES without stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.cluster import Cluster, Here
from halfmax.cluster.cores import Cores
from halfmax.data.dataset import ResponseDataset
from halfmax.data.synthetic import _SMILES, make_dataset
from halfmax.errors import DataError
from halfmax.features.pipeline import FeaturePipeline
from halfmax.predictor import Predictor
from halfmax.screening import screen
from halfmax.screening.job import best_of
from halfmax.state import State

DATASET = make_dataset(40, 8, 30)
NEW = make_dataset(7, 8, 30, seed=5)
LIBRARY = ["CCOC", "c1ccc(Cl)cc1", "CC(C)CO", "CCO", "NCCO", "CC(=O)OC", "C1CCCC1", "OCC(O)CO", "CCCCN", "Cc1ccccc1"]
BAD = {4: "", 5: "C\u041eC", 6: "CC(", 7: "C" * 1200, 8: "CCO)junk", 9: "[" * 400}
BLOCKS = ("fingerprint", "descriptors", "targets", "mechanism")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fitted = Predictor.of("kernel_ridge").fit(DATASET, features=FeaturePipeline(drug_blocks=BLOCKS))
    return fitted.save(tmp_path_factory.mktemp("fitted") / "predictor")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "samples.csv"
    NEW.omics["expression"].to_csv(path, index_label="sample_id")
    return {"expression": path}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "library.smi"
    path.write_text("\n".join(f"{smiles} compound {i}" for i, smiles in enumerate(LIBRARY)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of three compounds or samples, blocks of four samples."""
    for name, value in {"BLOCK": 4, "CHUNK": 3, "_LEAST": 1, "_MOST": 3}.items():
        monkeypatch.setattr(f"halfmax.screening.shards.{name}", value)


def expected(folder: Path, smiles: list[str]) -> pd.DataFrame:
    """Return what the predictor says of the compounds, asked in the plain way."""
    predictor = Predictor.load(folder)
    drugs = pd.DataFrame({"smiles": smiles}, index=[f"compound {i}" for i in range(len(smiles))])
    ids = NEW.samples.index
    pairs = pd.MultiIndex.from_product([ids, drugs.index], names=["sample_id", "drug_id"]).to_frame(index=False)
    data = ResponseDataset("x", NEW.measure, pairs.assign(value=np.nan), NEW.samples[[]], drugs, NEW.omics)
    return predictor.predict(data)


def written(out: Path, kind: str = "pairs") -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted((out / kind).iterdir())], ignore_index=True)


def test_new_compounds_get_the_predictors_own_values(
    folder: Path, files: dict[str, Path], library: Path, tmp_path: Path, small: None
) -> None:
    done = screen(folder, files, tmp_path / "out", cluster=Here(), library=library, top=3, unit="zscore_gene")
    table = written(tmp_path / "out")
    wanted = expected(folder, LIBRARY).rename(columns={"drug_id": "compound_id"})
    both = table.astype({"sample_id": str, "compound_id": str}).merge(wanted, on=["sample_id", "compound_id"])
    assert len(both) == len(table) == done.n_pairs == 70
    # CCO is drug D00 of the training data, whose own values count
    unknown = both["compound_id"] != "compound 3"
    np.testing.assert_allclose(both["prediction_x"][unknown], both["prediction_y"][unknown], rtol=1e-5, atol=1e-6)
    assert (both["prediction_x"] - both["prediction_y"])[~unknown].abs().min() > 1e-3
    own, _ = Predictor.load(folder).predict_samples(dict(NEW.omics), drugs=["D00"])
    own = own.set_index("sample_id")["prediction"]
    known = both[~unknown].set_index("sample_id")["prediction_x"]
    np.testing.assert_allclose(known, own.reindex(known.index), rtol=1e-5)
    assert written(tmp_path / "out", "compounds").set_index("line")["known_as"].dropna().to_dict() == {4: "D00"}


def test_the_best_of_each_sample_are_the_best_of_all_pairs(
    folder: Path, files: dict[str, Path], library: Path, tmp_path: Path, small: None
) -> None:
    screen(folder, files, tmp_path / "out", cluster=Here(), library=library, top=3, unit="zscore_gene")
    pairs = written(tmp_path / "out").sort_values(["sample_id", "prediction", "line"])
    top = pd.read_parquet(tmp_path / "out" / "top.parquet").sort_values(["sample_id", "rank"])
    first = pairs.groupby("sample_id", observed=True).head(3)
    assert top["line"].tolist() == first["line"].tolist()
    assert top["prediction"].tolist() == first["prediction"].tolist()
    assert top["rank"].tolist() == [1, 2, 3] * 7
    asked = {"library": library, "top": 3, "unit": "zscore_gene", "pairs": False}
    alone = screen(folder, files, tmp_path / "top", cluster=Here(), **asked)  # type: ignore[arg-type]
    assert not (tmp_path / "top" / "pairs").exists()
    assert alone.n_pairs == 70
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "top" / "top.parquet").sort_values(["sample_id", "rank"]), top
    )


def test_bad_smiles_are_named_by_line_and_stop_nothing(
    folder: Path, files: dict[str, Path], tmp_path: Path, small: None
) -> None:
    rows = ["CCOC a", "# a comment", "CC(C)CO b", *(f"{bad}\tbad" for bad in BAD.values()), "NCCO", ""]
    rows[3] = ", bad"  # a line of one comma: no SMILES
    library = tmp_path / "library.smi"
    library.write_text("\n".join(rows), encoding="utf-8")
    done = screen(folder, files, tmp_path / "out", cluster=Here(), library=library, unit="zscore_gene")
    assert done.rejected["line"].tolist() == list(BAD)
    assert all(done.rejected["reason"].str.len() > 20)
    assert "not a valid SMILES" in done.rejected.set_index("line")["reason"][6]
    assert "the limit is 1000" in done.rejected.set_index("line")["reason"][7]
    assert set(written(tmp_path / "out")["compound_id"]) == {"a", "b", "line 10"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "rejected.csv"), done.rejected)


def test_known_drugs_get_the_values_of_predict(
    folder: Path, files: dict[str, Path], tmp_path: Path, small: None
) -> None:
    done = screen(folder, files, tmp_path / "out", cluster=Here(), top=2, unit="zscore_gene")
    wanted, _ = Predictor.load(folder).predict_samples(dict(NEW.omics))
    table = written(tmp_path / "out").astype({"sample_id": str, "drug_id": str})
    both = table.merge(wanted, on=["sample_id", "drug_id"])
    assert len(both) == len(wanted) == done.n_pairs == 56
    np.testing.assert_allclose(both["prediction_x"], both["prediction_y"], rtol=1e-5, atol=1e-6)
    top = pd.read_parquet(tmp_path / "out" / "top.parquet").sort_values(["sample_id", "rank"])
    assert top["drug_id"].tolist() == wanted[wanted["rank"] <= 2].sort_values(["sample_id", "rank"])["drug_id"].tolist()
    assert len(list((tmp_path / "out" / "pairs").iterdir())) == 3


def test_samples_of_a_parquet_file_are_read_in_blocks_to_the_same_end(
    folder: Path, files: dict[str, Path], tmp_path: Path, small: None
) -> None:
    path = tmp_path / "samples.parquet"
    NEW.omics["expression"].iloc[:, ::-1].reset_index(names="sample_id").to_parquet(path, row_group_size=2)
    screen(folder, files, tmp_path / "a", cluster=Here(), unit="zscore_gene")
    screen(folder, {"expression": path}, tmp_path / "b", cluster=Here(), unit="zscore_gene")
    keys = ["sample_id", "drug_id"]
    one, other = (written(tmp_path / name).astype(dict.fromkeys(keys, str)).sort_values(keys) for name in "ab")
    np.testing.assert_array_equal(one[keys], other[keys])
    np.testing.assert_allclose(one["prediction"], other["prediction"], rtol=1e-5, atol=1e-6)
    NEW.omics["expression"].assign(G0="high").reset_index(names="sample_id").to_parquet(path)
    with pytest.raises(DataError, match="columns after sample_id must hold numbers"):
        screen(folder, {"expression": path}, tmp_path / "c", cluster=Here(), unit="zscore_gene")


class Cut(Cluster):
    """A cluster that stops after some tasks, as one that was killed would."""

    def __init__(self, after: int) -> None:
        self.after, self.done = after, 0

    def map(self, job: str, tasks: object, shared: State | None = None) -> Iterator[tuple[int, State]]:
        for number, found in Here().map(job, tasks, shared):  # type: ignore[arg-type]
            if self.done == self.after:
                raise KeyboardInterrupt
            self.done += 1
            yield number, found


@pytest.mark.parametrize("with_library", [True, False])
def test_a_screen_that_was_cut_off_does_only_what_is_missing(
    with_library: bool, folder: Path, files: dict[str, Path], library: Path, tmp_path: Path, small: None
) -> None:
    asked = {"library": library if with_library else None, "top": 2, "unit": "zscore_gene"}
    whole = screen(folder, files, tmp_path / "whole", cluster=Here(), **asked)  # type: ignore[arg-type]
    total = 8 if with_library else 3
    with pytest.raises(KeyboardInterrupt):
        screen(folder, files, tmp_path / "cut", cluster=Cut(2), **asked)  # type: ignore[arg-type]
    (tmp_path / "cut" / "pairs" / ".000009.parquet.abc.part").touch()  # what a kill leaves of a file
    rest = Cut(100)
    again = screen(folder, files, tmp_path / "cut", cluster=rest, **asked)  # type: ignore[arg-type]
    assert rest.done == total - 2
    assert (again.n_pairs, again.n_samples) == (whole.n_pairs, whole.n_samples)
    for kind in ("pairs", "top"):
        names = [path.name for path in sorted((tmp_path / "whole" / kind).iterdir())]
        assert names == [path.name for path in sorted((tmp_path / "cut" / kind).iterdir())]
        for name in names:
            assert (tmp_path / "whole" / kind / name).read_bytes() == (tmp_path / "cut" / kind / name).read_bytes()
    nothing = Cut(100)
    screen(folder, files, tmp_path / "cut", cluster=nothing, **asked)  # type: ignore[arg-type]
    assert nothing.done == 0


def test_worker_processes_write_the_same_bytes(
    folder: Path, files: dict[str, Path], library: Path, tmp_path: Path, small: None
) -> None:
    screen(folder, files, tmp_path / "here", cluster=Here(), library=library, top=2, unit="zscore_gene")
    with Cores(2) as cluster:
        screen(folder, files, tmp_path / "cores", cluster=cluster, library=library, top=2, unit="zscore_gene")
    for path in sorted((tmp_path / "here" / "pairs").iterdir()):
        assert path.read_bytes() == (tmp_path / "cores" / "pairs" / path.name).read_bytes()


def test_another_screen_in_the_folder_is_not_mixed_with_this_one(
    folder: Path, files: dict[str, Path], library: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    screen(folder, files, out, cluster=Here(), unit="zscore_gene")
    with pytest.raises(DataError, match="holds another screen: it differs in library, drugs, top"):
        screen(folder, files, out, cluster=Here(), library=library, top=1, unit="zscore_gene")
    screen(folder, files, out, cluster=Here(), library=library, top=1, unit="zscore_gene", fresh=True)
    assert json.loads((out / "screen.json").read_text())["done"] == {"pairs": 70, "samples": 7, "rejected": 0}
    with pytest.raises(DataError, match="files of something else"):
        screen(folder, files, tmp_path, cluster=Here(), unit="zscore_gene")


def test_what_cannot_be_asked_is_refused(folder: Path, files: dict[str, Path], library: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing would be written"):
        screen(folder, files, tmp_path / "out", cluster=Here(), pairs=False)
    with pytest.raises(DataError, match="leave out one"):
        screen(folder, files, tmp_path / "out", cluster=Here(), library=library, drugs=["D00"])
    with pytest.raises(DataError, match="reads expression and no mutation"):
        screen(folder, {**files, "mutation": library}, tmp_path / "out", cluster=Here())


def test_best_of_is_what_sorting_gives() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, size=(50, 20)).astype(np.float32)
    for sign in (1.0, -1.0):
        for k in (1, 4, 20, 30):
            place, value = best_of(score, k, sign)
            order = np.argsort(sign * score, axis=1, kind="stable")[:, :k]
            np.testing.assert_array_equal(place, order)
            np.testing.assert_array_equal(value, np.take_along_axis(score, order, axis=1))


def test_the_planted_structures_are_those_of_the_training_drugs() -> None:
    assert _SMILES[0] == LIBRARY[3]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["screen", "worker"])
def test_kill_9_of_the_screen_or_of_a_worker_loses_nothing(
    victim: str, folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    library = tmp_path / "library.smi"
    library.write_text("\n".join(f"{'C' * (i % 40 + 1)}OC{'C' * (i // 40)} c{i}" for i in range(600)))
    code = (
        "import sys; import halfmax.screening.shards as shards; shards._MOST = 20\n"
        "from halfmax.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def start(out: str) -> subprocess.Popen[bytes]:
        words = ["screen", str(folder), "--samples", str(files["expression"]), "--library", str(library), "--top", "3"]
        words += ["--out", str(tmp_path / out), "--unit", "zscore_gene", "--workers", "1", "--quiet"]
        return subprocess.Popen([sys.executable, "-c", code, *words])

    assert start("whole").wait() == 0
    running = start("cut")
    while len(list((tmp_path / "cut").glob("pairs/*.parquet"))) < 3:
        time.sleep(0.01)
    if victim == "worker":
        threads = Path(f"/proc/{running.pid}/task").glob(
            "*/children"
        )  # a child is listed under the thread that made it
        children = [child for thread in threads for child in thread.read_text().split()]
        os.kill(int(children[0]), signal.SIGKILL)
        assert running.wait() == 0
    else:
        running.kill()
        running.wait()
        done = len(list((tmp_path / "cut").glob("pairs/*.parquet")))
        assert 3 <= done < 30
        assert start("cut").wait() == 0
    for kind in ("pairs", "top", "compounds"):
        for path in sorted((tmp_path / "whole" / kind).iterdir()):
            assert path.read_bytes() == (tmp_path / "cut" / kind / path.name).read_bytes()
