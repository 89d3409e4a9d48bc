"""Parts that networks share: activations, norms, dropout, the masked loss on a block, and lossless rotated inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import Block, FloatArray, PairFeatures, rows_of

if TYPE_CHECKING:
    import torch

#: Name to tensor; the first axis counts members.
Weights = dict[str, "torch.Tensor"]
ACTIVATIONS = ("relu", "tanh", "silu", "gelu")
NORMS = ("none", "layer", "rms")
PRECISIONS = ("float32", "bfloat16")


class Cells:
    """The measured cells of a samples × drugs matrix, and the loss on a batch of its rows."""

    def __init__(self, grid: npt.NDArray[np.float64], task: str, device: torch.device) -> None:
        import torch

        known = np.isfinite(grid)
        weight = known.astype(np.float32)
        if task == "classification":
            share = float(np.clip(np.nanmean(grid), 1e-6, 1 - 1e-6))
            weight = np.where(grid > 0.5, 0.5 / share, 0.5 / (1 - share)).astype(np.float32) * known
        self.target = torch.as_tensor(np.where(known, grid, 0), dtype=torch.float32, device=device)
        self.weight = torch.as_tensor(weight, device=device)
        self.binary = task == "classification"

    def loss(
        self,
        score: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor | None = None,
        counted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean loss a measured cell of these samples and drugs (None = all), summed over members.

        With `counted`, of the shape of `score`, only cells where it is true.
        """
        import torch

        target, weight = self.target[rows], self.weight[rows]
        if columns is not None:
            columns = columns.to(target.device)
            target, weight = target[..., columns], weight[..., columns]
        if counted is not None:
            weight = weight * counted
        if self.binary:
            error = torch.nn.functional.binary_cross_entropy_with_logits(score, target, reduction="none")
        else:
            error = (score - target) ** 2
        return ((error * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-6)).sum()


def rotation(values: FloatArray, rng: np.random.Generator, most: int | None = None) -> tuple[FloatArray, FloatArray]:
    """Return mean and basis: the first principal components of the rows, randomly rotated, entries of mean square 1.

    Without `most` all components are kept, and nothing of the rows is lost.
    """
    mean = values.mean(axis=0)
    centred = (values - mean).astype(np.float64)
    size, left = np.linalg.eigh(centred @ centred.T)
    keep = size > max(float(size.max(initial=0)) * 1e-6, 1e-12)
    if most is not None:
        keep[: max(len(keep) - most, 0)] = False
    if not keep.any():
        return mean, np.zeros((values.shape[1], 1), dtype=np.float32)
    axes = centred.T @ (left[:, keep] / np.sqrt(size[keep]))
    turn, _ = np.linalg.qr(rng.standard_normal((keep.sum(), keep.sum())))
    scale = np.sqrt(keep.sum() * len(values) / size[keep].sum())
    return mean, np.ascontiguousarray(axes @ turn * scale, dtype=np.float32)


def unit_power(values: FloatArray) -> float:
    """Return the factor that gives a block's centred rows a mean squared length of 1; 0 for constant columns."""
    power = float(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean()) if values.size else 0.0
    return 1 / math.sqrt(power) if power > 1e-12 else 0.0


def as_tensor(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor; one that may not be written to is copied, which torch cannot promise by itself."""
    import torch

    return torch.as_tensor(np.require(values, requirements="W"), device=device)


def rotated(values: FloatArray, mean: FloatArray, basis: FloatArray, device: torch.device) -> torch.Tensor:
    """Return rows in the coordinates of a `rotation`, shape (n, k)."""
    rows, centre, axes = (as_tensor(a, device) for a in (values, mean, basis))
    return (rows - centre) @ axes


def activation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the activation of this name."""
    import torch

    return {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
    }[name]


def normalised(x: torch.Tensor, norm: str) -> torch.Tensor:
    """Scale each row to mean square 1, for ``layer`` about its mean; no gain is learned, the next layer has one.

    References
    ----------
    Ba et al. 2016 (layer norm); Zhang and Sennrich 2019 (root mean square). Neither looks at other samples: a sample's
    prediction does not depend on its batch.
    """
    import torch

    if norm == "none":
        return x
    if norm == "layer":
        return torch.nn.functional.layer_norm(x, x.shape[-1:])
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=1e-5)


def drop(x: torch.Tensor, share: float, generator: torch.Generator | None) -> torch.Tensor:
    """Drop a share of entries in training (a generator is given); nothing otherwise."""
    if generator is None or share <= 0:
        return x
    import torch

    kept = (torch.rand(x.shape, generator=generator) >= share).to(x.device)
    return x * kept / (1 - share)


def joined(
    x: PairFeatures, y: npt.NDArray[np.float64], other: PairFeatures, other_y: npt.NDArray[np.floating]
) -> tuple[PairFeatures, npt.NDArray[np.float64]]:
    """Return both sets of pairs over one table of samples and one of drugs."""
    sample_ids, sample_x, s = _union(x.sample_ids, x.sample_x, other.sample_ids, other.sample_x)
    drug_ids, drug_x, d = _union(x.drug_ids, x.drug_x, other.drug_ids, other.drug_x)
    both = replace(
        x,
        sample_ids=sample_ids,
        drug_ids=drug_ids,
        sample_x=sample_x,
        drug_x=drug_x,
        drug_text={
            name: np.concatenate([text, other.drug_text[name][rows_of(other.drug_ids, x.drug_ids) < 0]])
            for name, text in x.drug_text.items()
        },
        sample_index=np.concatenate([x.sample_index, s[other.sample_index]]),
        drug_index=np.concatenate([x.drug_index, d[other.drug_index]]),
    )
    return both, np.concatenate([y, np.asarray(other_y, dtype=np.float64)])


def _union(
    ids: npt.NDArray[np.str_],
    blocks: Mapping[str, Block],
    other_ids: npt.NDArray[np.str_],
    other_blocks: Mapping[str, Block],
) -> tuple[npt.NDArray[np.str_], dict[str, Block], npt.NDArray[np.int64]]:
    """Return the ids and blocks of both tables, and the other table's rows among them."""
    place = rows_of(other_ids, ids)
    new = np.flatnonzero(place < 0)
    place[new] = len(ids) + np.arange(len(new))
    joined = {
        name: Block(
            np.vstack([block.values, other_blocks[name].values[new]]),
            block.names,
            _joined_masks(block, other_blocks[name].take(new)),
        )
        for name, block in blocks.items()
    }
    return np.concatenate([ids, other_ids[new]]), joined, place


def _joined_masks(block: Block, other: Block) -> npt.NDArray[np.bool_] | None:
    if block.mask is None and other.mask is None:
        return None
    masks = (np.zeros(b.values.shape, dtype=bool) if b.mask is None else b.mask for b in (block, other))
    return np.vstack(list(masks))
