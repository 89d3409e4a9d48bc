"""Structures of a library, read in a process of their own that a bad SMILES may hang or crash without harm."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from halfmax.cluster.base import raise_error
from halfmax.cluster.cores import ProcessWorker, WorkerLost
from halfmax.cluster.frames import decode, encode
from halfmax.errors import DataError
from halfmax.state import State

if TYPE_CHECKING:
    import pandas as pd

#: Blocks that are made from structures.
STRUCTURE_BLOCKS = ("fingerprint", "atom_pair", "descriptors")
#: Processor time that one compound may take [s].
SECONDS = 2.0
#: Compounds that are sent to the process at a time, and the processor time that one of them usually takes at most [s].
_BATCH, _USUAL = 256, 0.05


@dataclass(frozen=True)
class Structures:
    """What was read of some SMILES.

    Parameters
    ----------
    reasons
        Why a SMILES cannot be used, one a SMILES; empty where it can.
    good
        Rows of those that can, shape ``(n_good,)``.
    values
        Block name to values, shape ``(n_good, d)``, as `halfmax.features.drugs.drug_table_block` gives them.
    keys
        InChIKey of each good one's largest fragment; the skeleton, under which facts are known, is empty for mixtures.
    skeletons
        See `keys`.
    """

    reasons: list[str]
    good: npt.NDArray[np.int64]
    values: dict[str, npt.NDArray[np.float32]]
    keys: list[str]
    skeletons: list[str]


class StructureReader:
    """A process that reads structures; it is killed when a SMILES takes too long, and the others are read again.

    Parameters
    ----------
    blocks
        Those of `STRUCTURE_BLOCKS` that are wanted.
    seconds
        Processor time that one compound may take [s]; whole seconds, and not limited on Windows.
    """

    def __init__(self, blocks: Sequence[str], *, seconds: float = SECONDS) -> None:
        self.blocks = [name for name in blocks if name in STRUCTURE_BLOCKS]
        self.seconds = seconds
        self._worker = ProcessWorker()

    def read(self, smiles: Sequence[str]) -> Structures:
        """Return what is read of these SMILES; a bad one never stops the rest."""
        parts = [self._read(smiles[i : i + _BATCH]) for i in range(0, len(smiles), _BATCH)]
        while len(parts) > 1:
            parts = [_joined(*parts[i : i + 2]) for i in range(0, len(parts), 2)]
        return parts[0]

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _read(self, smiles: Sequence[str]) -> Structures:
        about: dict[str, Any] = {"smiles": list(smiles), "blocks": self.blocks, "seconds": self.seconds}
        try:
            answer = self._worker.ask(encode(State(meta={"job": "structures", "key": "", "path": "", "task": about})))
        except WorkerLost as lost:
            if len(smiles) > 1:
                half = len(smiles) // 2
                return _joined(self._read(smiles[:half]), self._read(smiles[half:]))
            reason = f"reading it took more than {self.seconds:g} s, or more memory than there is ({lost})."
            nothing = {name: np.zeros((0, 0), dtype=np.float32) for name in self.blocks}
            return Structures([reason], np.zeros(0, dtype=np.int64), nothing, [], [])
        found = decode(answer)
        raise_error(found, 0)
        meta = cast("dict[str, Any]", found.meta)
        values = {name: np.asarray(found.arrays[name], dtype=np.float32) for name in self.blocks}
        good = np.asarray(found.arrays["good"], dtype=np.int64)
        return Structures(meta["reasons"], good, values, meta["keys"], meta["skeletons"])


class StructureJob:
    """What the process does: check each SMILES, and encode those that are good."""

    def __init__(self, shared: State) -> None:
        pass

    def run(self, task: State) -> State:
        """Return reasons, good rows, blocks, InChIKeys and skeletons; see `Structures`."""
        from halfmax.data.drug_facts import skeleton
        from halfmax.data.structures import inchi_key, parse_smiles

        about = cast("dict[str, Any]", task.meta)
        smiles: list[str] = about["smiles"]
        _limit(about["seconds"] + _USUAL * (len(smiles) - 1))
        reasons, arrays = [""] * len(smiles), {}
        for i, text in enumerate(smiles):
            try:
                parse_smiles(text)
            except DataError as error:
                reasons[i] = str(error)
        good = [i for i, reason in enumerate(reasons) if not reason]
        try:
            arrays = _blocks(about["blocks"], [smiles[i] for i in good])
        except Exception:  # one of them cannot be encoded: find out which
            for i in good:
                try:
                    _blocks(about["blocks"], [smiles[i]])
                except Exception as error:
                    reasons[i] = f"{smiles[i]!r} cannot be encoded ({type(error).__name__}: {error})."
            good = [i for i in good if not reasons[i]]
            arrays = _blocks(about["blocks"], [smiles[i] for i in good])
        keys = [inchi_key(smiles[i]) for i in good]
        skeletons = [skeleton(smiles[i]) for i in good]
        parse_smiles.cache_clear()  # molecules of a library are not met again
        inchi_key.cache_clear()
        told: dict[str, Any] = {"reasons": reasons, "keys": keys, "skeletons": skeletons}
        return State({"good": np.array(good, dtype=np.int64), **arrays}, told)


def _blocks(names: Sequence[str], smiles: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    from halfmax.features.drugs import drug_table_block

    drugs = _table(smiles)
    return {name: drug_table_block(name, drugs).values for name in names}


def _table(smiles: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"smiles": pd.Series(list(smiles), dtype=object)}, index=pd.RangeIndex(len(smiles)))


def _joined(one: Structures, other: Structures | None = None) -> Structures:
    if other is None:
        return one
    if not len(one.good) or not len(other.good):
        full = one if len(one.good) else other
        values = full.values
    else:
        values = {name: np.vstack([one.values[name], other.values[name]]) for name in one.values}
    good = np.concatenate([one.good, other.good + len(one.reasons)])
    return Structures(one.reasons + other.reasons, good, values, one.keys + other.keys, one.skeletons + other.skeletons)


def _limit(seconds: float) -> None:
    """Have the system end this process when it has used so much more processor time."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
