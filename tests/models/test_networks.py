"""The two-tower network: learns, is a function of its seed alone, and survives saving."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, NotFittedError
from halfmax.features.blocks import PairFeatures
from halfmax.features.pipeline import FeaturePipeline
from halfmax.models.loop import LoopSettings, TrainingError, deterministic, train
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.multitask import MultiTask
from halfmax.models.networks.parts import normalised, rotation
from halfmax.models.networks.single import SingleTower

SMALL = {"width": 32, "drug_width": 16, "members": 2, "epochs": 30, "batch_size": 16}
FREE = {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0}


def encoded(
    n_samples: int = 60, n_drugs: int = 6, seed: int = 0, noise: float = 0.3
) -> tuple[PairFeatures, np.ndarray]:
    dataset = make_dataset(n_samples, n_drugs, 20, seed=seed, noise=noise)
    y = dataset.response["value"].to_numpy()
    return FeaturePipeline().fit(dataset).transform(dataset), (y - y.mean()) / y.std()


X, Y = encoded()


def parts(x: PairFeatures, y: np.ndarray, n_train: int = 45):
    """Cut pairs by sample; the tables stay whole."""
    is_train = x.sample_index < n_train
    return (x.take_pairs(is_train), y[is_train]), (x.take_pairs(~is_train), y[~is_train])


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "gelu"])
def test_thirty_two_pairs_are_learned_by_heart(activation):
    rows = np.arange(32)
    model = TwoTowerMLP(
        **(SMALL | FREE | {"epochs": 300, "learning_rate": 0.01, "activation": activation}), refit=False
    )
    x, y = X.take_pairs(rows), Y[rows]
    assert np.abs(model.fit(x, y).predict(x).mean - y).max() < 0.05


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_thirty_two_pairs_are_learned_by_heart_under_a_norm(norm):
    x, y = X.take_pairs(np.arange(32)), Y[:32]
    params = SMALL | FREE | {"epochs": 200, "learning_rate": 0.01, "layers": 2, "norm": norm}
    assert np.abs(TwoTowerMLP(**params, refit=False).fit(x, y).predict(x).mean - y).max() < 0.05


def test_a_drug_without_responses_is_given_the_mean_of_all_heads():
    model = MultiTask(width=32, epochs=10, batch_size=16).fit(X, Y)
    grid = X.grid()
    new = replace(grid, drug_ids=np.array([f"new{i}" for i in range(6)]))
    expected = model.predict(grid).mean.reshape(-1, 6).mean(axis=1)
    assert model.predict(new).mean.reshape(-1, 6) == pytest.approx(np.tile(expected[:, None], 6), abs=1e-5)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_a_norm_scales_rows_and_knows_no_other_sample(norm):
    import torch

    values = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    found = normalised(values, norm)
    assert found.square().mean(dim=-1) == pytest.approx(1, abs=1e-4)
    assert torch.equal(normalised(values[:, :2], norm), found[:, :2])
    assert (found.mean(dim=-1).abs().max() < 1e-5) == (norm == "layer")


def test_state_gives_the_same_bits_back():
    model = TwoTowerMLP(**SMALL, layers=2).fit(X, Y)
    again = TwoTowerMLP(**model.get_params()).set_state(model.get_state())
    assert np.array_equal(model.predict(X).mean, again.predict(X).mean)


def digest(seed: int) -> str:
    model = TwoTowerMLP(**SMALL, seed=seed).fit(X, Y)
    return hashlib.sha256(model.predict(X).mean.tobytes()).hexdigest()


def test_another_process_gives_the_same_bits_and_another_seed_others():
    import torch

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    mine = digest(3)
    assert torch.equal(before, torch.random.get_rng_state())
    code = (
        f"import torch; torch.set_num_threads({torch.get_num_threads()}); torch.manual_seed(99);"
        "from tests.models.test_networks import digest; print(digest(3))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split()[-1] == mine
    assert digest(4) != mine


def test_validation_chooses_the_epoch_and_refit_uses_its_rows():
    train_part, valid_part = parts(X, Y)
    opposite = (valid_part[0], -valid_part[1])
    stopped = TwoTowerMLP(**(SMALL | FREE), learning_rate=0.01, refit=False, patience=2).fit(
        *train_part, valid=opposite
    )
    assert len(stopped.history_) < SMALL["epochs"]
    assert all(np.isfinite(record["valid_loss"]) for record in stopped.history_)
    refitted = TwoTowerMLP(**SMALL).fit(*train_part, valid=valid_part)
    plain = TwoTowerMLP(**SMALL).fit(*train_part)
    error = [((m.predict(valid_part[0]).mean - valid_part[1]) ** 2).mean() for m in (refitted, plain)]
    assert error[0] < error[1]
    assert {record["member"] for record in refitted.history_} == {"all", "ensemble"}


def test_unseen_drugs_and_samples_are_predicted():
    seen = X.drug_index < 5
    model = TwoTowerMLP(**SMALL).fit(X.take_pairs(seen), Y[seen])
    new = replace(X, drug_ids=np.array([f"new{i}" for i in range(6)]), sample_ids=np.char.add("new", X.sample_ids))
    assert np.isfinite(model.predict(new).mean).all()
    assert (model.predict(X).variance >= 0).all()


def test_one_sample_one_drug_and_constant_targets_work():
    one = X.take_pairs(X.sample_index == 0)
    assert np.isfinite(TwoTowerMLP(**SMALL).fit(one, Y[: one.n_pairs]).predict(X).mean).all()
    constant = TwoTowerMLP(**SMALL).fit(X, np.zeros(X.n_pairs)).predict(X).mean
    assert np.abs(constant).max() < 0.2


def test_misuse_is_told():
    with pytest.raises(NotFittedError):
        TwoTowerMLP().predict(X)
    with pytest.raises(DataError, match="activation"):
        TwoTowerMLP(activation="sine").fit(X, Y)
    with pytest.raises(DataError, match="norm is 'batch'"):
        TwoTowerMLP(norm="batch").fit(X, Y)
    with pytest.raises(DataError, match="precision is 'half'"):
        TwoTowerMLP(precision="half").fit(X, Y)
    with pytest.raises(DataError, match="drugs is 0"):
        SingleTower(drugs=0).fit(X, Y)
    with pytest.raises(DataError, match="dropout"):
        TwoTowerMLP(dropout=1.0).fit(X, Y)
    with pytest.raises(DataError, match="NaN"):
        TwoTowerMLP(**SMALL).fit(X, np.where(np.arange(len(Y)) == 2, np.nan, Y))


def test_the_rotation_keeps_distances():
    values = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
    mean, basis = rotation(values, np.random.default_rng(1))
    turned = (values - mean) @ basis
    gram, again = (values - mean) @ (values - mean).T, turned @ turned.T
    assert again / again.trace() == pytest.approx(gram / gram.trace(), abs=1e-5)
    assert (turned**2).mean() == pytest.approx(1, abs=1e-4)


def test_a_loss_that_explodes_stops_with_a_reason():
    import torch

    weights = {"w": torch.zeros(1)}
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(
            weights,
            lambda: [torch.zeros(1)],
            lambda _: weights["w"].sum() * float("nan"),
            None,
            LoopSettings(2, 0.1, 0),
        )


def guarded(broken: set[int], **settings: object) -> tuple[list[dict[str, float]], float]:
    """Train one weight for two epochs of twelve steps, in which the gradients of some steps are infinite."""
    import torch

    weights = {"w": torch.ones(1)}
    step = 0

    def loss_of(_: object) -> torch.Tensor:
        nonlocal step
        step += 1
        loss = weights["w"].sum()
        # the square root at zero: a finite loss, an infinite gradient
        return loss + (weights["w"] * 0).sqrt().sum() if step in broken else loss

    def batches() -> list[torch.Tensor]:
        return [torch.zeros(1)] * 12

    history = train(weights, batches, loss_of, None, LoopSettings(2, 0.01, 0.0))
    return history, float(weights["w"])


def test_a_step_whose_gradient_is_not_finite_is_skipped_and_counted():
    history, weight = guarded({3, 5, 16, 17})
    assert [record.get("skipped") for record in history] == [2.0, 2.0]
    untouched, lower = guarded(set())
    assert "skipped" not in untouched[0]
    assert lower < weight < 1


def test_ten_such_steps_in_a_row_stop_training_with_a_reason():
    with pytest.raises(TrainingError, match=r"gradient became NaN or infinite in epoch 2 \(10 steps in a row"):
        guarded(set(range(10, 20)))
    assert len(guarded(set(range(10, 19)))[0]) == 2


def test_the_deterministic_context_leaves_torch_as_it_was():
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    def fail() -> None:
        with deterministic(threads=before[0] + 1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == before[0] + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with deterministic(threads=1):
        first = digest(3)
        assert digest(3) == first


def test_half_precision_stays_near_single_precision_on_the_processor():
    wide = TwoTowerMLP(**SMALL).fit(X, Y).predict(X).mean
    half = TwoTowerMLP(**SMALL, precision="bfloat16").fit(X, Y).predict(X).mean
    assert not np.array_equal(wide, half)
    assert np.corrcoef(wide, half)[0, 1] > 0.98


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_gives_what_the_processor_gives(precision):
    found = [TwoTowerMLP(**SMALL, device=d, precision=precision).fit(X, Y).predict(X).mean for d in ("cuda", "cpu")]
    assert np.corrcoef(*found)[0, 1] > 0.99


def test_the_best_epoch_is_kept_and_a_callback_can_stop():
    import torch

    weights = {"w": torch.zeros(1)}
    losses = iter([3.0, 1.0, 2.0, 2.5])
    seen = []

    def valid_loss() -> float:
        seen.append(float(weights["w"]))
        return next(losses)

    history = train(
        weights,
        lambda: [torch.zeros(1)],
        lambda _: (weights["w"] - 5).pow(2).sum(),
        valid_loss,
        LoopSettings(10, 0.1, 0.0),
        lambda epoch, _: epoch == 4,
    )
    assert [record["valid_loss"] for record in history] == [3.0, 1.0, 2.0, 2.5]
    assert float(weights["w"]) == seen[1] != seen[3]
