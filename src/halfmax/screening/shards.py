"""screen: score samples × compounds in shards on disk, of which a run that was cut off does only what is missing."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from halfmax.cluster import Cluster
from halfmax.cluster.folders import pack_folder
from halfmax.cluster.frames import decode, encode
from halfmax.data.storage import atomic_file, sha256_of, write_json
from halfmax.errors import DataError
from halfmax.predictor import Predictor
from halfmax.screening.job import best_of
from halfmax.screening.library import read_library
from halfmax.screening.samples import Samples
from halfmax.state import State

if TYPE_CHECKING:
    from halfmax.data.findings import Finding

FORMAT, FORMAT_VERSION = "halfmax-screen", 1
#: Samples that a worker holds while it screens a library, and samples of a shard where it scores known drugs.
BLOCK, CHUNK = 2048, 512
#: Pairs of a shard, and the least and most compounds of one.
_PAIRS, _LEAST, _MOST = 4_000_000, 64, 4096


@dataclass(frozen=True)
class Screened:
    """What a screen did.

    Parameters
    ----------
    folder
        Where the results lie.
    n_pairs, n_samples
        Scored, those of an earlier run that was cut off included.
    rejected
        line, compound_id, reason of compounds that could not be read; empty where known drugs were scored.
    findings
        What was seen in the samples.
    """

    folder: Path
    n_pairs: int
    n_samples: int
    rejected: pd.DataFrame
    findings: tuple[Finding, ...] = field(default=())


def screen(
    predictor: Path,
    files: Mapping[str, Path],
    out: Path,
    *,
    cluster: Cluster,
    library: Path | None = None,
    drugs: Sequence[str] | None = None,
    top: int | None = None,
    pairs: bool = True,
    about: pd.DataFrame | None = None,
    unit: str | None = None,
    allow_low_coverage: bool = False,
    fresh: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Screened:
    """Score every sample with every compound of a library, or with known drugs.

    Parameters
    ----------
    predictor
        A predictor's folder.
    files
        Modality to the file of the samples' profiles, see `Samples`.
    out
        Folder to write: ``pairs/*.parquet``, ``compounds/*.parquet``, ``top.parquet``, ``rejected.csv``,
        ``screen.json``.
    library
        See `read_library`; without it known drugs are scored.
    drugs
        Ids or names of known drugs; all by default.
    top
        Also write the best of each sample: of a library by prediction, of known drugs by difference to their means.
    pairs
        Whether to write all pairs.
    fresh
        Forget what an earlier run left in `out`.
    on_progress
        Called with pairs and shards done.

    Raises
    ------
    DataError
        If nothing is asked for, the inputs cannot be used, or `out` holds another screen.
    """
    if not pairs and top is None:
        raise DataError("nothing would be written: ask for the best of each sample (top), or for all pairs.")
    if library is not None and drugs is not None:
        raise DataError("a library is screened, or known drugs are scored: leave out one of library and drugs.")
    loaded = Predictor.load(predictor)
    names = None if library is not None else [str(i) for i in loaded.find_drugs(drugs).index]
    samples = Samples(loaded.features_, files, about, unit, allow_low_coverage)
    asked = {
        "predictor": sha256_of(predictor / "manifest.json"),
        "samples": {name: sha256_of(path) for name, path in files.items()},
        "about": None if about is None else int(pd.util.hash_pandas_object(about).sum()),
        "library": None if library is None else sha256_of(library),
        "drugs": names,
        "unit": unit,
        "top": top,
        "pairs": pairs,
    }
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            _open(out, asked, fresh=fresh)
            work = _Screen(out, cluster, top, pairs, 1.0 if not loaded.measure_.higher_is_sensitive else -1.0)
            work.on_progress = on_progress
            shared = State(
                pack_folder(predictor, "predictor"), cast("Any", {"top": top, "pairs": pairs, "drugs": names})
            )
            if library is None:
                work.known_drugs(samples, shared)
            else:
                work.compounds(samples, library, shared)
            return work.finish(asked, loaded, tuple(samples.findings))
    except Timeout:
        raise DataError(f"another process screens into {out}; wait for it, or choose another folder.") from None


class _Screen:
    """The folder of a screen, and what is done of it."""

    def __init__(self, out: Path, cluster: Cluster, top: int | None, pairs: bool, sign: float) -> None:
        self.out, self.cluster, self.top, self.pairs, self.sign = out, cluster, top, pairs, sign
        self.n_pairs = self.n_samples = self.n_shards = 0
        self.on_progress: Callable[[int, int], None] | None = None
        self._lock = threading.Lock()

    def known_drugs(self, samples: Samples, shared: State) -> None:
        """Score chunks of samples, each a task of its own."""
        n_drugs = len(cast("list[str]", shared.meta["drugs"]))
        waiting: dict[int, tuple[int, State]] = {}

        def tasks() -> Iterator[State]:
            sent = 0
            for number, block in enumerate(samples.blocks(CHUNK)):
                n = len(cast("list[str]", block.meta["sample_ids"]))
                self.n_samples += n
                if all(self._part(kind, number).is_file() for kind in self._kinds()):
                    self._count(n * n_drugs)
                    continue
                waiting[sent] = (number, State(meta=dict(block.meta)))
                sent += 1
                yield block

        for sent, found in self.cluster.map("screen", tasks(), shared):
            number, block = waiting.pop(sent)
            ids = cast("list[str]", block.meta["sample_ids"])
            if self.top is not None:
                self._write("top", number, _top_table(ids, found).to_parquet)
            if self.pairs:
                self._write_bytes("pairs", number, found)
            self._count(len(ids) * n_drugs)

    def compounds(self, samples: Samples, library: Path, shared: State) -> None:
        """Screen the library for each block of samples."""
        for place, block in enumerate(samples.blocks(BLOCK)):
            ids = cast("list[str]", block.meta["sample_ids"])
            self.n_samples += len(ids)
            state = _Best.load(self.out / "state" / f"{place:04d}", len(ids), self.top or 0, self.sign)
            size = int(np.clip(_PAIRS // len(ids), _LEAST, _MOST))
            waiting: dict[int, int] = {}

            def tasks(
                size: int = size, state: _Best = state, waiting: dict[int, int] = waiting, n: int = len(ids)
            ) -> Iterator[State]:
                sent = 0
                for shard in read_library(library, size):
                    if shard.number in state.done:
                        self._count(state.done[shard.number] * n)
                        continue
                    waiting[sent] = shard.number
                    sent += 1
                    yield State(meta={"lines": list(shard.lines), "ids": list(shard.ids), "smiles": list(shard.smiles)})

            both = State({**shared.arrays, **block.arrays}, {**shared.meta, **block.meta})
            for sent, found in self.cluster.map("screen", tasks(), both):
                shard, good = waiting.pop(sent), int(cast("int", found.meta["n_good"]))
                if place == 0:
                    self._write_bytes("compounds", shard, found)
                if self.pairs and good:
                    self._write_bytes("pairs", shard, found, place)
                state.add(shard, good, found)
                self._count(good * len(ids))
            if self.top is not None:
                self._write("top", place, state.table(ids).to_parquet)

    def finish(self, asked: Mapping[str, Any], predictor: Predictor, findings: tuple[Finding, ...]) -> Screened:
        """Join the small tables, write what was done, and delete what only a resumed run needs."""
        if not self.n_samples:
            raise DataError("there is no sample in the table.")
        if self.top is not None:
            parts = [pd.read_parquet(path) for path in sorted((self.out / "top").glob("*.parquet"))]
            with atomic_file(self.out / "top.parquet") as path:
                pd.concat(parts, ignore_index=True).to_parquet(path, index=False)
        rejected = pd.DataFrame({"line": [], "compound_id": [], "reason": []})
        if asked["library"] is not None:
            columns = list(rejected.columns)
            bad = [("reason", "!=", "")]
            read = [
                pd.read_parquet(p, columns=columns, filters=bad)
                for p in sorted((self.out / "compounds").glob("*.parquet"))
            ]
            rejected = pd.concat(read, ignore_index=True).sort_values("line", ignore_index=True)
            with atomic_file(self.out / "rejected.csv") as path:
                rejected.to_csv(path, index=False)
        measure = predictor.measure_
        done = {"pairs": self.n_pairs, "samples": self.n_samples, "rejected": len(rejected)}
        content = {**_about(asked), "measure": [measure.name, measure.unit, measure.higher_is_sensitive], "done": done}
        write_json(self.out / "screen.json", content)
        return Screened(self.out, self.n_pairs, self.n_samples, rejected, findings)

    def _kinds(self) -> list[str]:
        return [kind for kind, wanted in (("top", self.top is not None), ("pairs", self.pairs)) if wanted]

    def _part(self, kind: str, number: int, block: int | None = None) -> Path:
        name = f"{number:06d}.parquet" if block is None else f"{block:04d}-{number:06d}.parquet"
        return self.out / kind / name

    def _write(self, kind: str, number: int, write: Callable[[Path], object]) -> None:
        with atomic_file(self._part(kind, number)) as path:
            write(path)

    def _write_bytes(self, kind: str, number: int, found: State, block: int | None = None) -> None:
        with atomic_file(self._part(kind, number, block)) as path, path.open("wb") as handle:
            handle.write(found.arrays[kind].data)

    def _count(self, n_pairs: int) -> None:
        with self._lock:  # tasks are drawn by the threads that ask workers
            self.n_pairs += n_pairs
            self.n_shards += 1
            if self.on_progress is not None:
                self.on_progress(self.n_pairs, self.n_shards)


class _Best:
    """The best compounds of each sample so far and the shards they are from, on disk after every shard."""

    def __init__(self, path: Path, n: int, k: int, sign: float) -> None:
        self.path, self.k, self.sign = path, k, sign
        self.done: dict[int, int] = {}
        self.value = np.zeros((n, 0), dtype=np.float32)
        self.line = np.zeros((n, 0), dtype=np.int64)
        self.name = np.zeros((n, 0), dtype="U1")

    @classmethod
    def load(cls, path: Path, n: int, k: int, sign: float) -> _Best:
        """Return what an earlier run left, or nothing yet."""
        best = cls(path, n, k, sign)
        if path.is_file():
            kept = decode(path.read_bytes())
            best.done = {int(shard): int(good) for shard, good in cast("Any", kept.meta["done"])}
            best.value, best.line, best.name = (cast("Any", kept.arrays[key]) for key in ("value", "line", "name"))
        return best

    def add(self, shard: int, good: int, found: State) -> None:
        """Take in a shard; the outcome does not depend on the order of shards."""
        if "top_value" in found.arrays:
            value, line, name = (
                np.hstack([own, cast("Any", found.arrays[f"top_{key}"])])
                for key, own in (("value", self.value), ("line", self.line), ("id", self.name))
            )
            order = np.argsort(line, axis=1, kind="stable")  # of equal values the earlier line comes first
            value, line, name = (np.take_along_axis(part, order, axis=1) for part in (value, line, name))
            chosen, self.value = best_of(value, self.k, self.sign)
            self.line, self.name = (np.take_along_axis(part, chosen, axis=1) for part in (line, name))
        self.done[shard] = good
        arrays: dict[str, Any] = {"value": self.value, "line": self.line, "name": self.name}
        frame = encode(State(arrays, {"done": [[s, n] for s, n in self.done.items()]}))
        with atomic_file(self.path) as path:
            path.write_bytes(frame)

    def table(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return sample_id, rank, compound_id, line, prediction."""
        n, k = self.value.shape
        return pd.DataFrame(
            {
                "sample_id": np.repeat(np.array(ids, dtype=object), k),
                "rank": np.tile(np.arange(1, k + 1), n),
                "compound_id": self.name.reshape(-1).astype(object),
                "line": self.line.reshape(-1),
                "prediction": self.value.reshape(-1),
            }
        )


def _top_table(ids: Sequence[str], found: State) -> pd.DataFrame:
    """Return sample_id, rank, drug_id, prediction and difference of the best known drugs."""
    n, k = cast("Any", found.arrays["top_value"]).shape
    return pd.DataFrame(
        {
            "sample_id": np.repeat(np.array(ids, dtype=object), k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "drug_id": cast("Any", found.arrays["top_id"]).reshape(-1).astype(object),
            "prediction": cast("Any", found.arrays["top_value"]).reshape(-1),
            "difference": cast("Any", found.arrays["top_difference"]).reshape(-1),
        }
    )


def _about(asked: Mapping[str, Any]) -> dict[str, Any]:
    from halfmax import RESEARCH_USE, __version__

    kind = {"format": FORMAT, "format_version": FORMAT_VERSION, "halfmax_version": __version__}
    return {**kind, "research_use": RESEARCH_USE, "asked": dict(asked)}


def _open(out: Path, asked: Mapping[str, Any], *, fresh: bool) -> None:
    """Write what is asked, or compare it with the screen that is in the folder."""
    path = out / "screen.json"
    for left in out.rglob(".*.part"):  # of a file that was being written when an earlier run was killed
        left.unlink(missing_ok=True)
    if fresh:
        for name in ("pairs", "compounds", "top", "state"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("screen.json", "top.parquet", "rejected.csv"):
            (out / name).unlink(missing_ok=True)
    if not path.is_file():
        if strange := [p.name for p in out.iterdir() if not p.name.startswith(".")]:
            raise DataError(f"{out} holds {len(strange)} files of something else, e.g. {strange[0]!r}; choose another.")
        write_json(path, _about(asked))
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        kept = {}
    before, now = kept.get("asked", {}), json.loads(json.dumps(dict(asked)))
    if different := [name for name in now if before.get(name) != now[name]]:
        raise DataError(
            f"{out} holds another screen: it differs in {', '.join(different)}. Choose another folder (--out), or "
            "start anew (--fresh)."
        )
