"""The contracts hold for halfmax's own models, steps and readers, and catch those that break them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.errors import ContractError, DataError
from halfmax.features.omics import STEPS
from halfmax.models.base import MODELS, BaseModel, Prediction, check_targets
from halfmax.state import Stateful
from halfmax.testing import check_model, check_reader, check_step

FEW = {"n_estimators": 10}
OWN = {
    **dict.fromkeys(("mean", "drug_mean", "sample_mean", "tissue_mean", "tissue_drug_mean", "mean_effects")),
    "factorisation": {},
    "kernel_ridge": {},
    "response_gp": {},
    "elastic_net": {},
    "mlp": {"width": 16, "drug_width": 8, "members": 1, "epochs": 3, "batch_size": 16},
}
STEPS_OWN = {
    **dict.fromkeys(("log1p", "sample_zscore", "rank", "standard", "minmax", "robust", "quantile", "variance")),
    **dict.fromkeys(("impute", "correlation")),
    "top_variance": {"n": 4},
    "genes": {"genes": ["G1", "G7"]},
    "pca": {"n_components": 3},
}


@pytest.mark.parametrize("name", OWN)
def test_own_models_keep_the_contract(name):
    check_model(name, OWN[name])


def test_a_model_that_sees_profiles_beats_one_that_does_not():
    check_model("kernel_ridge", beats="drug_mean")
    with pytest.raises(ContractError, match="mean does not beat drug_mean"):
        check_model("mean", beats="drug_mean")


@pytest.mark.parametrize("name", STEPS_OWN)
def test_own_steps_keep_the_contract(name):
    check_step(name, STEPS_OWN[name])
    if name == "impute":
        check_step(name, missing=True)


class Kept(BaseModel):
    """A model that keeps the contract, for others to break."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, x, y, *, valid=None, start=None, on_epoch=None):
        self.mean_ = float(check_targets(x, y).mean())
        return self

    def predict(self, x):
        self._check_fitted()
        return Prediction(np.full(x.n_pairs, self.mean_ + self.shift, dtype=np.float32))


class TakesNaN(Kept):
    def fit(self, x, y, **_):
        self.mean_ = float(np.nanmean(y))
        return self


class KnowsPlaces(Kept):
    def predict(self, x):
        self._check_fitted()
        return Prediction(np.arange(x.n_pairs, dtype=np.float32))


class KnowsRows(Kept):
    def predict(self, x):
        self._check_fitted()
        return Prediction(x.sample_index.astype(np.float32))


class Forgets(Kept):
    def fit(self, x, y, **options):
        super().fit(x, y)
        self.hidden = self.mean_ + 1.0
        return self

    def predict(self, x):
        self._check_fitted()
        return Prediction(np.full(x.n_pairs, getattr(self, "hidden", 0.0), dtype=np.float32))


class Unseeded(Kept):
    def fit(self, x, y, **_):
        check_targets(x, y)
        self.mean_ = float(np.random.default_rng().normal())
        return self


class Changes(Kept):
    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift + 1.0


class Writes(Kept):
    def fit(self, x, y, **_):
        y -= y.mean()
        return super().fit(x, y)


class Unfitted(Kept):
    mean_ = 0.0

    def predict(self, x):
        return Prediction(np.zeros(x.n_pairs, dtype=np.float32))


class Strange(Kept):
    @classmethod
    def search_space(cls):
        return {"width": {"low": 1, "high": 2}}


BROKEN = {
    TakesNaN: "takes a target that is NaN",
    KnowsPlaces: "pairs stand in another order",
    KnowsRows: "samples and drugs stand in another order",
    Forgets: "after it was saved",
    Unseeded: "fitted again with the same seed",
    Changes: "only stores",
    Unfitted: "before it is fitted",
    Strange: "no parameter of it",
}


@pytest.fixture
def registries(monkeypatch):
    for registry in (MODELS, STEPS):
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))


@pytest.mark.usefixtures("registries")
def test_a_model_of_ones_own_is_held_to_it():
    MODELS.register("kept")(Kept)
    check_model("kept", {"shift": 0.5})


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_what_breaks_the_contract_of_models_is_caught(cls):
    MODELS.register("broken")(cls)
    with pytest.raises(ContractError, match=BROKEN[cls]):
        check_model("broken", {"shift": 0.5})


@pytest.mark.usefixtures("registries")
def test_nobody_writes_to_what_a_model_is_given():
    MODELS.register("broken")(Writes)
    with pytest.raises(ValueError, match="read-only"):
        check_model("broken")


class LearnsLate(Stateful):
    """A step that learns from the rows that it transforms: the leak that the contract is for."""

    def fit(self, block):
        self.mean_ = block.values.mean(axis=0)
        return self

    def transform(self, block):
        self._check_fitted()
        return replace(block, values=block.values - block.values.mean(axis=0))


class Loses(LearnsLate):
    def transform(self, block):
        return replace(block, values=block.values[:, :3])


class Doubles(LearnsLate):
    def transform(self, block):
        return replace(block, values=block.values.astype(np.float64))


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("cls", "words"), [(LearnsLate, "learns from the rows"), (Loses, "10 names"), (Doubles, "float64")]
)
def test_what_breaks_the_contract_of_steps_is_caught(cls, words):
    STEPS.register("broken")(cls)
    with pytest.raises(ContractError, match=words):
        check_step("broken")


def careful(path: Path) -> ResponseDataset:
    """Read sample, drug and value, one pair a line."""
    try:
        table = pd.read_csv(path, names=["sample_id", "drug_id", "value"], dtype={"sample_id": str, "drug_id": str})
        table["value"] = table["value"].astype(float)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return ResponseDataset(
        name="pairs",
        measure=MEASURES["ln_ic50"],
        response=table.dropna(ignore_index=True),
        samples=pd.DataFrame(index=pd.Index(table["sample_id"].unique(), name="sample_id")),
        drugs=pd.DataFrame(index=pd.Index(table["drug_id"].unique(), name="drug_id")),
        omics={},
        notes={"source": path.name},
    )


def careless(path: Path) -> ResponseDataset:
    table = pd.read_csv(path, names=["sample_id", "drug_id", "value"])
    return replace(careful(path), response=table)


def silent(path: Path) -> ResponseDataset:
    return replace(careful(path), notes={})


def test_readers_are_held_to_theirs(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("A,X,1.5\nB,X,2.5\nA,Y,0.5\nB,Y,-1.0\n")
    check_reader(careful, path)
    with pytest.raises(ContractError, match="which is none of"):
        check_reader(careless, path)
    with pytest.raises(ContractError, match="where the data come from"):
        check_reader(silent, path)
