"""The one training loop: batches in, best weights out, with schedule, guards, early stopping and resuming."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from halfmax.errors import HalfmaxError
from halfmax.models.base import JSON, OnEpoch
from halfmax.models.checkpoint import Snapshot, Training, digest, start_training, versions

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
#: Steps in a row without a finite loss and gradient after which training is given up.
_MOST_SKIPPED = 10


class TrainingError(HalfmaxError, RuntimeError):
    """Training that ran into NaN or infinity."""


@dataclass(frozen=True)
class Resumable:
    """What lets the loop keep a training and go on with it (see `halfmax.models.checkpoint.checkpoints`).

    Parameters
    ----------
    generator
        The only source of random numbers in batches and loss.
    about
        Returns a description of data and parameters; only asked for where states are kept.
    """

    generator: torch.Generator
    about: Callable[[], Mapping[str, JSON]]


@dataclass(frozen=True)
class LoopSettings:
    """How to train.

    Parameters
    ----------
    epochs
        Passes over the training samples; the learning rate warms up over a tenth of them and falls as a cosine.
    learning_rate, weight_decay
        Of AdamW (Loshchilov and Hutter 2019); decay is not applied to biases.
    clip
        Largest norm of the gradient, per member of an ensemble on average.
    patience
        Epochs without a better validation loss before stopping; None = train to the end and keep the best epoch.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    clip: float = 5.0
    patience: int | None = None


def pick_device(name: str) -> torch.device:
    """Return the device: ``auto`` takes a GPU where there is one."""
    import torch

    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def deterministic(threads: int | None = None) -> Iterator[None]:
    """Use only algorithms that give the same bits each time, and a fixed number of threads, while the block runs.

    Parameters
    ----------
    threads
        Threads of torch and of the libraries for linear algebra; None = as many as now. Results are the same bits for
        the same number of threads: another number adds in another order.

    Raises
    ------
    TrainingError
        If there is a GPU and the environment lacks what it needs for the same bits each time.
    """
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if torch.cuda.is_available() and os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
        raise TrainingError(
            "a GPU gives the same bits each time only if CUBLAS_WORKSPACE_CONFIG=:4096:8 is set before the program "
            "starts; set it, or use device=cpu."
        )
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
    )
    try:
        torch.use_deterministic_algorithms(True)
        if threads is not None:
            torch.set_num_threads(threads)
        with threadpool_limits(threads):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_num_threads(before[2])


def train(
    parameters: dict[str, torch.Tensor],
    batches: Callable[[], Sequence[torch.Tensor]],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    valid_loss: Callable[[], float] | None,
    settings: LoopSettings,
    on_epoch: OnEpoch | None = None,
    resumable: Resumable | None = None,
) -> list[dict[str, float]]:
    """Train `parameters` in place and leave them as they were after their best epoch.

    Parameters
    ----------
    batches
        Called once an epoch; returns the batches' row numbers.
    loss_of
        Loss of a batch, a scalar tensor.
    valid_loss
        Loss on held-out rows, or None: then the last epoch is the best.
    on_epoch
        Called with the epoch's record and ``epochs``, their number at most.
    resumable
        With it, and inside `halfmax.models.checkpoint.checkpoints`, the state is kept, and a training that was killed
        goes on. Epochs that were trained before are not told to `on_epoch` again.

    Returns
    -------
    One dictionary an epoch: epoch, train_loss; where there are such, valid_loss and the number of steps skipped.

    Raises
    ------
    TrainingError
        If loss or gradient are NaN or infinite in every step of an epoch, or in ten steps in a row (a single such step
        is skipped and counted), or the validation loss is.
    CheckpointError
        If the state that was kept is damaged or another training's.
    """
    run = _Run(parameters, settings, resumable)
    while not run.finished:
        run.epoch += 1
        record = run.one_epoch(batches(), loss_of)
        if valid_loss is not None:
            record["valid_loss"] = run.validate(valid_loss)
        run.history.append(record)
        stop = on_epoch is not None and on_epoch(run.epoch, record | {"epochs": float(settings.epochs)})
        if stop or (settings.patience is not None and run.waited >= settings.patience):
            log.info("stopped after epoch %d", run.epoch)
            break
        run.keep()
    run.finish()
    return run.history


@dataclass
class _Run:
    """Where a training stands."""

    parameters: dict[str, torch.Tensor]
    settings: LoopSettings
    resumable: Resumable | None
    epoch: int = 0
    step: int = 0
    waited: int = 0
    skipped_in_row: int = 0
    best_loss: float = math.inf
    done: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None

    def __post_init__(self) -> None:
        import torch

        self.device = next(iter(self.parameters.values())).device
        resumable = self.resumable
        place = None if resumable is None else start_training(lambda: self._about(resumable))
        self.place: Training | None = place
        for tensor in self.parameters.values():
            tensor.requires_grad_(True)
        decayed = [p for n, p in self.parameters.items() if not n.startswith("bias")]
        plain = [p for n, p in self.parameters.items() if n.startswith("bias")]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.settings.learning_rate,
            betas=(0.9, 0.99),
            fused=self.device.type in ("cpu", "cuda"),
        )
        if place is not None and (kept := place.load(self.device)) is not None:
            self._restore(kept)

    @property
    def finished(self) -> bool:
        return self.done or self.epoch >= self.settings.epochs

    def one_epoch(
        self, parts: Sequence[torch.Tensor], loss_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, float]:
        import torch

        total, skipped, found = 0.0, 0, math.nan
        for rows in parts:
            self.step += 1
            rate = self.settings.learning_rate * _schedule(self.step / (self.settings.epochs * len(parts)))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
            found = float(loss.detach())
            if not (math.isfinite(found) and math.isfinite(float(norm))):
                skipped, self.skipped_in_row = skipped + 1, self.skipped_in_row + 1
                if self.skipped_in_row >= _MOST_SKIPPED or skipped == len(parts):
                    self._give_up(found, skipped)
                continue
            self.skipped_in_row = 0
            self.optimiser.step()
            total += found
        record = {"epoch": float(self.epoch), "train_loss": total / max(len(parts) - skipped, 1)}
        if skipped:
            words = "epoch %d: %d of %d steps skipped, their loss or gradient was not finite"
            log.warning(words, self.epoch, skipped, len(parts))
            record["skipped"] = float(skipped)
        return record

    def validate(self, valid_loss: Callable[[], float]) -> float:
        import torch

        with torch.no_grad():
            loss = valid_loss()
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss became {loss} in epoch {self.epoch}; lower the learning rate.")
        if loss < self.best_loss:
            self.best, self.best_loss, self.waited = _copy(self.parameters), loss, 0
        else:
            self.waited += 1
        return loss

    def keep(self) -> None:
        """Write the state, where states are kept and it is time."""
        if self.place is not None and not self.finished and self.place.due(self.epoch):
            self.place.save(self._snapshot())

    def finish(self) -> None:
        """Take the best epoch's weights; where states are kept, write that this training need not be run again."""
        import torch

        if self.best is not None and not self.done:
            with torch.no_grad():
                for name, tensor in self.parameters.items():
                    tensor.copy_(self.best[name])
        for tensor in self.parameters.values():
            tensor.requires_grad_(False)
        if self.place is not None and not self.done:
            self.done = True
            self.place.save(self._snapshot())

    def _give_up(self, loss: float, skipped: int) -> None:
        what = "gradient became NaN or infinite" if math.isfinite(loss) else f"loss became {loss}"
        raise TrainingError(
            f"the {what} in epoch {self.epoch} ({self.skipped_in_row} steps in a row, {skipped} in this epoch); "
            "lower the learning rate, or use precision=float32 where it is bfloat16."
        )

    def _about(self, resumable: Resumable) -> dict[str, JSON]:
        """Describe this training: a state that was kept is used only if all of it is the same."""
        import torch

        device, threads = self.device.type, torch.get_num_threads()
        loop: dict[str, JSON] = asdict(self.settings) | {"device": device, "threads": threads}
        return {**resumable.about(), "loop": loop, "start": digest(self.parameters), "versions": versions()}

    def _snapshot(self) -> Snapshot:
        arrays = {f"weight/{n}": p for n, p in self.parameters.items()}
        if self.resumable is not None:
            arrays["generator"] = self.resumable.generator.get_state()
        if not self.done:
            arrays |= {f"best/{n}": p for n, p in (self.best or {}).items()}
            for name, parameter in self.parameters.items():
                arrays |= {f"moment/{k}/{name}": v for k, v in self.optimiser.state[parameter].items()}
        meta: dict[str, JSON] = {k: getattr(self, k) for k in ("epoch", "step", "waited", "skipped_in_row", "done")}
        best = self.best_loss if math.isfinite(self.best_loss) else None
        return Snapshot(arrays, meta | {"best_loss": best, "history": [dict(r) for r in self.history]})

    def _restore(self, kept: Snapshot) -> None:
        import torch

        meta: Any = kept.meta
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(kept.arrays[f"weight/{name}"])
        if self.resumable is not None:
            self.resumable.generator.set_state(kept.arrays["generator"])
        for key in ("epoch", "step", "waited", "skipped_in_row", "done", "history"):
            setattr(self, key, meta[key])
        self.best_loss = math.inf if meta["best_loss"] is None else meta["best_loss"]
        best = {n: kept.arrays.get(f"best/{n}") for n in self.parameters}
        self.best = {n: v for n, v in best.items() if v is not None} or None
        for name, parameter in self.parameters.items():
            moments = {k: kept.arrays.get(f"moment/{k}/{name}") for k in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = {k: v for k, v in moments.items() if v is not None}
        log.info("went on after epoch %d of %d", self.epoch, self.settings.epochs)


def until(last: int, on_epoch: OnEpoch | None) -> OnEpoch:
    """Return a callback that stops after epoch `last`, or when `on_epoch` asks for it."""

    def stop(epoch: int, log: Mapping[str, float]) -> bool:
        asked = on_epoch is not None and on_epoch(epoch, log)
        return asked or epoch >= last

    return stop


def _copy(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


def _schedule(progress: float) -> float:
    """Linear warm-up over the first tenth, then half a cosine."""
    return min(1.0, 10 * progress) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
