"""SMILES as sequences of tokens, numbered by a vocabulary that training drugs make."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from halfmax.data.structures import check_smiles
from halfmax.errors import examples

log = logging.getLogger(__name__)
#: An atom in brackets, an element, a ring number or a sign (after Schwaller et al. 2019, ACS Central Science 5).
_TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|[A-Za-z]|[^A-Za-z]")
PADDING, UNKNOWN, FIRST = 0, 1, 2


def smiles_tokens(texts: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each canonical SMILES without salts; none for an empty text.

    Raises
    ------
    DataError
        If a SMILES is invalid.
    """
    return [_TOKEN.findall(check_smiles(text)) if text else [] for text in texts]


def vocabulary(sequences: Sequence[Sequence[str]], least: int = 2) -> npt.NDArray[np.str_]:
    """Return the tokens of at least `least` sequences, sorted; rarer ones train what stands for unknown ones."""
    count = Counter(token for sequence in sequences for token in set(sequence))
    return np.array(sorted(token for token, n in count.items() if n >= least), dtype=str)


def numbered(sequences: Sequence[Sequence[str]], known: npt.NDArray[np.str_], most: int) -> npt.NDArray[np.int64]:
    """Return token numbers, shape ``(n, most)``: 0 where there is none, 1 for a token outside the vocabulary."""
    place = {token: FIRST + i for i, token in enumerate(known.tolist())}
    out = np.full((len(sequences), most), PADDING, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        kept = sequence[:most]
        out[row, : len(kept)] = [place.get(token, UNKNOWN) for token in kept]
    long = ["".join(sequence) for sequence in sequences if len(sequence) > most]
    if long:
        log.info("%d of %d SMILES have more than %d tokens and are cut: %s", len(long), len(out), most, examples(long))
    return out
