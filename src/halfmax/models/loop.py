"""The one training loop: batches in, best weights out, with schedule, clipping, early stopping and a NaN guard."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfmax.errors import HalfmaxError
from halfmax.models.base import OnEpoch

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class TrainingError(HalfmaxError, RuntimeError):
    """Training that ran into NaN or infinity."""


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


def train(
    parameters: dict[str, torch.Tensor],
    batches: Callable[[], Sequence[torch.Tensor]],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    valid_loss: Callable[[], float] | None,
    settings: LoopSettings,
    on_epoch: OnEpoch | None = None,
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

    Returns
    -------
    One dictionary an epoch: epoch, train_loss and, where there is one, valid_loss.

    Raises
    ------
    TrainingError
        If the loss becomes NaN or infinite.
    """
    import torch

    decayed = [p for n, p in parameters.items() if not n.startswith("bias")]
    plain = [p for n, p in parameters.items() if n.startswith("bias")]
    for tensor in parameters.values():
        tensor.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        fused=next(iter(parameters.values())).device.type in ("cpu", "cuda"),
    )
    history: list[dict[str, float]] = []
    best, best_loss, waited = _copy(parameters), math.inf, 0
    step = 0
    for epoch in range(1, settings.epochs + 1):
        total, parts = 0.0, batches()
        for rows in parts:
            step += 1
            rate = settings.learning_rate * _schedule(step / (settings.epochs * len(parts)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters.values(), settings.clip)
            optimiser.step()
            total += float(loss.detach())
        record = {"epoch": float(epoch), "train_loss": total / max(len(parts), 1)}
        if not math.isfinite(record["train_loss"]):
            raise TrainingError(f"the loss became {record['train_loss']} in epoch {epoch}; lower the learning rate.")
        if valid_loss is not None:
            with torch.no_grad():
                record["valid_loss"] = valid_loss()
            if record["valid_loss"] < best_loss:
                best, best_loss, waited = _copy(parameters), record["valid_loss"], 0
            else:
                waited += 1
        history.append(record)
        stop = on_epoch is not None and on_epoch(epoch, record)
        if stop or (settings.patience is not None and waited >= settings.patience):
            log.info("stopped after epoch %d", epoch)
            break
    if valid_loss is not None:
        with torch.no_grad():
            for name, tensor in parameters.items():
                tensor.copy_(best[name])
    for tensor in parameters.values():
        tensor.requires_grad_(False)
    return history


def _copy(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


def _schedule(progress: float) -> float:
    """Linear warm-up over the first tenth, then half a cosine."""
    return min(1.0, 10 * progress) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
