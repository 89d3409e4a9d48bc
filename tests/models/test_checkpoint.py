"""Checkpoints: a killed training goes on to the same bits; a foreign or damaged state is refused."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from halfmax.models.checkpoint import CheckpointError, checkpoints, digest
from halfmax.models.loop import LoopSettings, Resumable, train
from halfmax.models.networks.mlp import TwoTowerMLP
from tests.models.test_networks import SMALL, X, Y, parts

TRAIN, VALID = parts(X, Y)


def fitted(folder: Path | None, kill_at: int | None = None, **params: object) -> TwoTowerMLP:
    """Fit a small network, keep its state after every epoch, and kill this process at the n-th epoch told."""
    import os

    told = 0

    def on_epoch(epoch: int, log: object) -> bool:
        nonlocal told
        told += 1
        if told == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    model = TwoTowerMLP(**(SMALL | {"epochs": 12} | params))
    if folder is None:
        return model.fit(*TRAIN, valid=VALID, on_epoch=on_epoch)
    with checkpoints(folder, epochs=1):
        return model.fit(*TRAIN, valid=VALID, on_epoch=on_epoch)


def content(model: TwoTowerMLP) -> str:
    """Return a hash of everything learned: weights, and the learning curve."""
    found = hashlib.sha256(json.dumps(model.history_).encode())
    arrays = model.get_state().arrays
    for name in sorted(arrays):
        found.update(name.encode() + arrays[name].tobytes())
    return found.hexdigest()


def die_while_writing(nth: int) -> None:
    """Kill this process when the n-th state is half written: its arrays are on disk, what describes them is not."""
    import os

    from halfmax.models import checkpoint

    written, write = 0, checkpoint.write_json

    def dying(*given: object, **options: object) -> None:
        nonlocal written
        written += 1
        if written == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*given, **options)

    checkpoint.write_json = dying


def killed(folder: Path, kill_at: int, *, writing: bool = False) -> bool:
    """Return whether a process that trains was killed at the n-th epoch that it trained, or at the n-th state."""
    code = (
        f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
        "from pathlib import Path; from tests.models.test_checkpoint import die_while_writing, fitted\n"
        f"if {writing}: die_while_writing({kill_at})\n"
        f"fitted(Path({str(folder)!r}), {None if writing else kill_at})"
    )
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted() -> str:
    """Return the content of a training that nothing interrupted and that kept no state."""
    return content(fitted(None))


def test_a_training_killed_in_both_phases_ends_with_the_same_bits(tmp_path: Path, uninterrupted: str) -> None:
    # The first kill meets the search for the best epoch; after it six epochs are left of that, so that the second
    # kill meets the training on all rows.
    for kill_at in (7, 12):
        assert killed(tmp_path, kill_at)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01", "02"]
    assert content(fitted(tmp_path)) == uninterrupted


@pytest.mark.slow
def test_ten_kills_between_epochs_and_while_writing_leave_a_state(tmp_path: Path, uninterrupted: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        assert killed(tmp_path, int(rng.integers(2, 4)), writing=i % 2 == 1)
    assert content(fitted(tmp_path)) == uninterrupted


def test_a_finished_training_is_not_run_again(tmp_path: Path, uninterrupted: str) -> None:
    assert content(fitted(tmp_path)) == uninterrupted
    told = []
    with checkpoints(tmp_path):
        model = TwoTowerMLP(**SMALL | {"epochs": 12})
        model.fit(*TRAIN, valid=VALID, on_epoch=lambda epoch, _: bool(told.append(epoch)))
    assert content(model) == uninterrupted
    assert not told


def test_patience_and_the_best_epoch_are_kept(tmp_path: Path) -> None:
    stops = {"refit": False, "patience": 2, "learning_rate": 0.03, "epochs": 40, "dropout": 0.0}
    whole = fitted(None, **stops)
    assert 4 < len(whole.history_) < 40

    class Stop(Exception):
        pass

    def fail(epoch: int, _: object) -> bool:
        if epoch == len(whole.history_) - 1:  # the best epoch is behind, and one epoch has waited
            raise Stop
        return False

    model = TwoTowerMLP(**SMALL | stops)
    with checkpoints(tmp_path, epochs=1), pytest.raises(Stop):
        model.fit(*TRAIN, valid=VALID, on_epoch=fail)
    assert content(fitted(tmp_path, **stops)) == content(whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"learning_rate": 0.5}, "params.learning_rate was '0.001' and is '0.5'"), ({"seed": 1}, "params.seed")],
)
def test_other_parameters_are_refused(tmp_path: Path, change: dict[str, object], named: str) -> None:
    fitted(tmp_path)
    with pytest.raises(CheckpointError, match=named):
        fitted(tmp_path, **change)


def test_other_data_and_threads_are_refused(tmp_path: Path) -> None:
    with checkpoints(tmp_path):
        TwoTowerMLP(**SMALL).fit(*TRAIN)
    other = TRAIN[1].copy()
    other[3] += 1e-9
    with checkpoints(tmp_path), pytest.raises(CheckpointError, match="data was"):
        TwoTowerMLP(**SMALL).fit(TRAIN[0], other)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with checkpoints(tmp_path), pytest.raises(CheckpointError, match=r"loop\.threads was"):
            TwoTowerMLP(**SMALL).fit(*TRAIN)
    finally:
        torch.set_num_threads(threads)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path)
    path = tmp_path / "02" / "arrays.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(CheckpointError, match=r"damaged.*--fresh"):
        fitted(tmp_path)


def test_states_are_written_by_time_and_only_inside_the_block(tmp_path: Path) -> None:
    def run(seconds: float) -> list[bool]:
        weights = {"w": torch.ones(1)}
        folder = tmp_path / str(seconds)
        there = []
        resumable = Resumable(torch.Generator(), dict)
        with checkpoints(folder, seconds=seconds):
            train(
                weights,
                lambda: [torch.zeros(1)],
                lambda _: weights["w"].sum(),
                None,
                LoopSettings(3, 0.1, 0.0),
                lambda *_: bool(there.append((folder / "01").is_dir())),
                resumable,
            )
        assert (folder / "01").is_dir()  # that it is finished is always written
        train(weights, lambda: [torch.zeros(1)], lambda _: weights["w"].sum(), None, LoopSettings(1, 0.1, 0.0), None)
        assert [p.name for p in folder.iterdir()] == ["01"]
        return there

    assert run(0.0) == [False, True, True]
    assert run(3600.0) == [False, False, False]


def test_the_digest_tells_contents_apart() -> None:
    a = np.arange(6, dtype=np.float32)
    same = [digest(a), digest(a.copy()), digest(torch.as_tensor(a)), digest(a[::-1][::-1])]
    assert len(set(same)) == 1
    others = [a.reshape(2, 3), a.astype(np.float64), a + 1, {"a": a}, [a, a], a[:0]]
    assert len({digest(o) for o in others} | {same[0]}) == len(others) + 1
