"""Contracts for plug-ins: what every model, step and reader keeps, checked on made-up data in seconds.

def test_my_model():
check_model("my_model", {"width": 32})
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from halfmax.data.dataset import ResponseDataset
from halfmax.data.synthetic import make_dataset
from halfmax.errors import ContractError, DataError, HalfmaxError, NotFittedError, examples
from halfmax.features.blocks import Block, PairFeatures
from halfmax.features.omics import STEPS
from halfmax.features.pipeline import FeaturePipeline
from halfmax.models.base import MODELS, Model
from halfmax.predictor import Predictor
from halfmax.split import make_splits
from halfmax.state import State, parameters_of

Array = npt.NDArray[np.float64]
#: By how much predictions may differ where only the order of rows does; targets have standard deviation 1.
TOLERANCE = 1e-4


def check_model(name: str, params: Mapping[str, Any] | None = None, *, beats: str | None = None) -> None:
    """Check a registered model against the contract of every model.

    Its parameters are stored as they are given and are plain JSON; `fit` returns the model, changes nothing that it is
    given, refuses NaN, and gives the same bits for the same seed; `predict` refuses before `fit`, is finite, also for
    samples and drugs that were not in training, and means nothing by the order of pairs, samples and drugs; a saved
    predictor predicts the same bits; the search space names parameters that there are.

    Parameters
    ----------
    params
        Small settings, so that the check is quick.
    beats
        A registered model that it must beat on unseen samples whose response follows a gene (root mean squared error).

    Raises
    ------
    ContractError
        With the first thing that does not hold.
    """
    given = dict(params or {})
    model = _made(MODELS.get(name), given)
    _check_space(name, MODELS.get(name))
    dataset = make_dataset(40, 6, 12)
    x, y = _encoded(dataset)
    _refuses(lambda: model.predict(x), NotFittedError, f"{name} predicts before it is fitted")
    _keep(model.fit(x, y) is model, f"{name}.fit does not return the model itself")
    first = _finite(name, model, x)
    again = _made(MODELS.get(name), given).fit(x, y).predict(x).mean
    _keep(np.array_equal(first, again), f"{name} gives other numbers when it is fitted again with the same seed")
    _check_order(name, model, x, first)
    _check_new(name, model, x)
    hole = y.copy()
    hole[3] = np.nan
    _refuses(lambda: _made(MODELS.get(name), given).fit(x, hole), DataError, f"{name}.fit takes a target that is NaN")
    _check_saving(name, given, dataset)
    if beats is not None:
        _check_beats(name, given, beats)


def check_step(name: str, params: Mapping[str, Any] | None = None, *, missing: bool = False) -> None:
    """Check a registered step against the contract of every step.

    Its parameters are stored as they are given and are plain JSON; `fit` returns the step; neither it nor `transform`
    changes what it is given; a row is transformed alike alone and among others, so nothing of test rows is learned;
    values stay float32, finite, a row for each row and a name for each column; the state goes through JSON and back.

    Parameters
    ----------
    missing
        Whether the step is also given values that are missing (and may leave them so).

    Raises
    ------
    ContractError
        With the first thing that does not hold.
    """
    given = dict(params or {})
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(3, 1, size=(30, 10))).astype(np.float32)
    if missing:
        values[2, 3] = values[7, 0] = np.nan
    train, test = (_frozen(Block(part, tuple(f"G{i}" for i in range(10)))) for part in (values[:20], values[20:]))
    step = _made(STEPS.get(name), given)
    targets = values[:20, :2].astype(np.float64) + 0.1 * rng.normal(size=(20, 2))
    supervised = bool(getattr(step, "supervised", False))
    fitted = step.fit(train, np.nan_to_num(targets)) if supervised else step.fit(train)
    _keep(fitted is step, f"{name}.fit does not return the step itself")
    done = step.transform(test)
    _keep(done.values.dtype == np.float32, f"{name} returns {done.values.dtype}, not float32")
    _keep(
        done.values.shape == (10, len(done.names)),
        f"{name} returns {done.values.shape} for 10 rows, {len(done.names)} names",
    )
    _keep(len(set(done.names)) == len(done.names), f"{name} names a column twice")
    _keep(missing or bool(np.isfinite(done.values).all()), f"{name} makes NaN or infinity of finite values")
    alone = np.vstack([step.transform(test.take(np.array([i]))).values for i in range(10)])
    _keep(
        np.allclose(alone, done.values, rtol=1e-4, atol=1e-4, equal_nan=True),
        f"{name} transforms a row otherwise alone than among others: it learns from the rows that it transforms",
    )
    restored = _made(STEPS.get(name), given).set_state(_through_json(step.get_state()))
    _keep(
        np.array_equal(restored.transform(test).values, done.values, equal_nan=True),
        f"{name} transforms otherwise after its state was stored and restored",
    )


def check_reader(reader: Callable[[Path], ResponseDataset], path: Path | str) -> None:
    """Check a reader of responses against the contract of every reader.

    It returns a `ResponseDataset` with the source in its notes, the same one each time, which can be saved and loaded;
    a file that is missing, empty, cut short or not what it says ends in one of `halfmax.errors` and in no other.

    Parameters
    ----------
    path
        A valid file.

    Raises
    ------
    ContractError
        With the first thing that does not hold.
    """
    path = Path(path)
    name = getattr(reader, "__name__", type(reader).__name__)
    found = reader(path)
    _keep(isinstance(found, ResponseDataset), f"{name} returns {type(found).__name__}, not a ResponseDataset")
    _keep(found.n_pairs > 0, f"{name} finds no response in {path.name}")
    _keep(bool(found.notes.get("source")), f"{name} does not say in notes['source'] where the data come from")
    _keep(reader(path).fingerprint() == found.fingerprint(), f"{name} reads other data the second time")
    with tempfile.TemporaryDirectory(prefix="halfmax-contract-") as place:
        folder = Path(place)
        loaded = ResponseDataset.load(found.save(folder / "saved"))
        _keep(loaded.fingerprint() == found.fingerprint(), f"what {name} reads is not the same after save and load")
        content = path.read_bytes()
        bad = folder / path.name
        _orderly(reader, bad, f"{name} on a file that is not there", must_fail=True)
        for what, part in {
            "an empty file": b"",
            "bytes that are no text": bytes(range(256)) * 4,
            "half a file": content[: len(content) // 2],
        }.items():
            bad.write_bytes(part)
            _orderly(reader, bad, f"{name} on {what}", must_fail=what != "half a file")


def _made(cls: Callable[..., Any], params: Mapping[str, Any]) -> Any:
    """Return an instance after checking that it stores its parameters and nothing else."""
    item, name = cls(**params), getattr(cls, "__name__", "it")
    try:
        stored = json.loads(json.dumps(item.get_params()))
    except TypeError as error:
        raise ContractError(f"parameters of {name} are not plain JSON: {error}.") from None
    for key, value in params.items():
        same = stored.get(key) == json.loads(json.dumps(value))
        _keep(same, f"{name} was given {key}={value!r} and stores {stored.get(key)!r}: __init__ only stores")
    learned = [key for key in vars(item) if key.endswith("_")]
    _keep(not learned, f"{name}.__init__ sets {examples(learned)}: what ends in _ is learned by fit")
    return item


def _check_space(name: str, cls: Any) -> None:
    known = parameters_of(cls)
    for key, entry in cls.search_space().items():
        _keep(key in known, f"the search space of {name} names {key!r}, which is no parameter of it")
        has = isinstance(entry, Mapping) and ("choices" in entry or {"low", "high"} <= set(entry))
        _keep(has, f"the search space of {name} says neither low and high nor choices of {key!r}: {entry!r}")


def _encoded(dataset: ResponseDataset) -> tuple[PairFeatures, Array]:
    x = FeaturePipeline().fit(dataset).transform(dataset)
    y = dataset.response["value"].to_numpy(dtype=np.float64)
    y = (y - y.mean()) / y.std()
    y.flags.writeable = False
    sides = ({k: _frozen(b) for k, b in side.items()} for side in (x.sample_x, x.drug_x))
    sample_x, drug_x = sides
    for array in (x.sample_index, x.drug_index):
        array.flags.writeable = False
    return replace(x, sample_x=sample_x, drug_x=drug_x), y


def _frozen(block: Block) -> Block:
    """Return a block that nobody can write to."""
    values = block.values.copy()
    values.flags.writeable = False
    return replace(block, values=values)


def _finite(name: str, model: Model, x: PairFeatures) -> npt.NDArray[np.float32]:
    mean = model.predict(x).mean
    _keep(mean.shape == (x.n_pairs,), f"{name} predicts shape {mean.shape} for {x.n_pairs} pairs")
    _keep(mean.dtype == np.float32, f"{name} predicts {mean.dtype}, not float32")
    n_bad = int((~np.isfinite(mean)).sum())
    _keep(n_bad == 0, f"{name} predicts NaN or infinity for {n_bad} of {len(mean)} pairs")
    return mean


def _check_order(name: str, model: Model, x: PairFeatures, first: npt.NDArray[np.float32]) -> None:
    rng = np.random.default_rng(1)
    pairs = rng.permutation(x.n_pairs)
    near = np.allclose(model.predict(x.take_pairs(pairs)).mean, first[pairs], atol=TOLERANCE)
    _keep(near, f"{name} predicts otherwise when the pairs stand in another order")
    some = pairs[:7]
    near = np.allclose(model.predict(x.take_pairs(some)).mean, first[some], atol=TOLERANCE)
    _keep(near, f"{name} predicts otherwise for some of the pairs than for all")
    moved = _moved(x, rng.permutation(len(x.sample_ids)), rng.permutation(len(x.drug_ids)))
    near = np.allclose(model.predict(moved).mean, first, atol=TOLERANCE)
    _keep(near, f"{name} predicts otherwise when samples and drugs stand in another order")


def _moved(x: PairFeatures, samples: npt.NDArray[np.int64], drugs: npt.NDArray[np.int64]) -> PairFeatures:
    """Return the same pairs with the tables of samples and drugs in another order."""
    return replace(
        x,
        sample_ids=x.sample_ids[samples],
        drug_ids=x.drug_ids[drugs],
        sample_x={k: b.take(samples) for k, b in x.sample_x.items()},
        drug_x={k: b.take(drugs) for k, b in x.drug_x.items()},
        drug_text={k: v[drugs] for k, v in x.drug_text.items()},
        sample_index=np.argsort(samples)[x.sample_index],
        drug_index=np.argsort(drugs)[x.drug_index],
    )


def _check_new(name: str, model: Model, x: PairFeatures) -> None:
    new = {"sample_ids": np.char.add("new ", x.sample_ids), "drug_ids": np.char.add("new ", x.drug_ids)}
    for side, ids in new.items():
        changed: dict[str, Any] = {side: ids}
        _finite(f"{name}, for {side.partition('_')[0]}s that it has not seen,", model, replace(x, **changed))


def _check_saving(name: str, params: Mapping[str, Any], dataset: ResponseDataset) -> None:
    predictor = Predictor.of(name, params).fit(dataset)
    before = predictor.predict(dataset)["prediction"].to_numpy()
    with tempfile.TemporaryDirectory(prefix="halfmax-contract-") as place:
        after = Predictor.load(predictor.save(Path(place) / "saved")).predict(dataset)["prediction"].to_numpy()
    _keep(np.array_equal(before, after), f"{name} predicts other bits after it was saved and loaded")


def _check_beats(name: str, params: Mapping[str, Any], other: str) -> None:
    dataset = make_dataset(120, 6, 20)
    split = make_splits(dataset, "LCO", n_folds=4)[0]
    train, test = dataset.take(split.fit_rows), dataset.take(split.test)
    y = test.response["value"].to_numpy(dtype=np.float64)
    error = {}
    for label, given in ((name, params), (other, {})):
        predictor = Predictor.of(label, given).fit(train)
        p = predictor.predict_pairs(predictor.features_.transform(test)).mean
        error[label] = float(np.sqrt(np.mean((p - y) ** 2)))
    _keep(
        error[name] < error[other],
        f"{name} does not beat {other} on unseen samples whose response follows a gene: RMSE {error[name]:.3f} against "
        f"{error[other]:.3f}",
    )


def _through_json(state: State) -> State:
    try:
        return State(dict(state.arrays), json.loads(json.dumps(dict(state.meta))), dict(state.files))
    except TypeError as error:
        raise ContractError(f"learned values are neither arrays nor plain JSON: {error}.") from None


def _orderly(reader: Callable[[Path], ResponseDataset], path: Path, what: str, *, must_fail: bool) -> None:
    try:
        reader(path)
    except HalfmaxError:
        return
    except Exception as error:
        raise ContractError(
            f"{what} ends in {type(error).__name__}, which is none of halfmax.errors: {error}"
        ) from error
    _keep(not must_fail, f"{what} returns a dataset as if nothing were wrong")


def _refuses(act: Callable[[], object], kind: type[HalfmaxError], what: str) -> None:
    try:
        act()
    except kind:
        return
    except Exception as error:
        raise ContractError(f"{what}: {kind.__name__} is due, {type(error).__name__} comes: {error}") from error
    raise ContractError(f"{what}; {kind.__name__} is due.")


def _keep(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ContractError(f"{otherwise}.")
