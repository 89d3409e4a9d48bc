"""EncodedDrugs: a drug tower that costs much, run only on the drugs that are treated as unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.models.networks.towers import TwoTower

if TYPE_CHECKING:
    import torch


class EncodedDrugs(TwoTower):
    """A `TwoTower` whose drugs are encoded by `_encode`.

    Seen drugs have a vector of their own, so that their encoding is needed in a step only where identity dropout holds
    them unseen: a tenth of the cost.
    """

    def _encode(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Encode rows of the drug input to (members, n, width + 1), the last entry being the bias."""
        raise NotImplementedError

    def _drugs(
        self,
        weights: dict[str, torch.Tensor],
        x: torch.Tensor,
        rows: npt.NDArray[np.int64],
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        known = self._known(weights, rows, generator)
        unseen = (known < 1).any(dim=0)
        out = known.new_zeros(*known.shape, self.width + 1)
        if bool(unseen.any()):
            out[:, unseen] = self._encode(weights, x[unseen], generator).to(out.dtype)
        return self._own(weights, out[..., :-1] * self.drug_gain, out[..., -1], rows, known)
