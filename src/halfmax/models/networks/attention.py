"""Self-attention over sequences of tokens, for an ensemble of members side by side (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from halfmax.models.networks.parts import activation, drop, normalised

if TYPE_CHECKING:
    import torch

#: Units of a layer's inner part, in units of its width.
_WIDER = 2
_NAMES = ("attend", "join", "widen", "narrow")


def layer_names(prefix: str, layers: int) -> list[str]:
    """Return the names of the weights of `layers` layers."""
    each = [*_NAMES, "widen_bias"]
    return [_name(prefix, i, part) for i in range(layers) for part in each]


def layer_weights(
    prefix: str, layers: int, members: int, width: int, normal: Callable[..., torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return weights before training: what a layer adds is small at first, so that tokens start as they are given."""
    import torch

    wide = _WIDER * width
    found: dict[str, torch.Tensor] = {}
    for i in range(layers):
        found |= {
            _name(prefix, i, "attend"): normal(members, width, 3 * width, scale=1 / math.sqrt(width)),
            _name(prefix, i, "join"): normal(members, width, width, scale=0.1 / math.sqrt(width)),
            _name(prefix, i, "widen"): normal(members, width, wide, scale=1 / math.sqrt(width)),
            _name(prefix, i, "narrow"): normal(members, wide, width, scale=0.1 / math.sqrt(wide)),
            _name(prefix, i, "widen_bias"): torch.zeros(members, 1, wide),
        }
    return found


def encode(
    weights: dict[str, torch.Tensor],
    prefix: str,
    tokens: torch.Tensor,
    *,
    layers: int,
    heads: int,
    dropout: float,
    act: str,
    generator: torch.Generator | None,
    present: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pass tokens through layers of self-attention and of a network a token, each normalised first and added.

    Parameters
    ----------
    tokens
        Shape (members, n, n_tokens, width).
    present
        Shape (n, n_tokens), True where there is a token; None = everywhere. Every row has one.
    """
    import torch

    members, n, count, width = tokens.shape
    allowed = None if present is None else present[None, :, None, None, :]
    flat = tokens.reshape(members, n * count, width)
    for i in range(layers):
        w = {part: weights[_name(prefix, i, part)] for part in (*_NAMES, "widen_bias")}
        mixed = torch.bmm(normalised(flat, "layer"), w["attend"]).reshape(members, n, count, 3, heads, width // heads)
        query, key, value = mixed.permute(3, 0, 1, 4, 2, 5)
        seen = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        seen = seen.transpose(2, 3).reshape(members, n * count, width)
        flat = flat + drop(torch.bmm(seen, w["join"]), dropout, generator)
        inner = activation(act)(torch.baddbmm(w["widen_bias"], normalised(flat, "layer"), w["widen"]))
        flat = flat + torch.bmm(drop(inner, dropout, generator), w["narrow"])
    return flat.reshape(members, n, count, width)


def _name(prefix: str, layer: int, part: str) -> str:
    # the loop does not decay what begins with bias
    return f"bias_{prefix}{layer}_widen" if part == "widen_bias" else f"{prefix}{layer}_{part}"
