"""The work of a shard: encode compounds or take the known drugs, score them for every sample, write Parquet."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.cluster.folders import unpack_folder
from halfmax.data.dataset import ResponseDataset
from halfmax.data.structures import inchi_key
from halfmax.errors import DataError, examples
from halfmax.features.blocks import Block, FloatArray, PairFeatures
from halfmax.features.pipeline import drug_text
from halfmax.predictor import Predictor
from halfmax.screening.structures import StructureReader, Structures
from halfmax.state import State

#: Pairs that are scored at a time: what bounds the memory of a worker.
PAIRS = 2_000_000
_ANY = "-"
Sides = tuple[npt.NDArray[np.str_], dict[str, Block]]


class ScreenJob:
    """Scores shards with one predictor.

    Parameters
    ----------
    shared
        The predictor's folder; where a library is screened, the samples, too. meta: ``top`` (best of each sample that
        are returned, or None) and ``pairs`` (whether all pairs are).
    """

    def __init__(self, shared: State) -> None:
        about = cast("dict[str, Any]", shared.meta)
        self.top: int | None = about["top"]
        self.pairs = bool(about["pairs"])
        with tempfile.TemporaryDirectory(prefix="halfmax-") as folder:
            self.predictor = Predictor.load(unpack_folder(shared.arrays, "predictor", Path(folder) / "predictor"))
        self.pipeline = self.predictor.features_
        self.sign = -1.0 if self.predictor.measure_.higher_is_sensitive else 1.0
        self.reader: StructureReader | None = None
        if about["drugs"] is None:
            self.samples = self._encode_samples(shared)
            self.known = {inchi_key(s): str(d) for d, s in _structures(self.predictor.drugs_)}
            self.reader = StructureReader(self.pipeline.drug_blocks)
        else:
            self._use_drugs(about["drugs"])

    def run(self, task: State) -> State:
        """Score the compounds of a task for all samples, or the samples of a task for all drugs."""
        return self._compounds(task) if "smiles" in task.meta else self._samples(task)

    def close(self) -> None:
        """End the process that reads structures."""
        if self.reader is not None:
            self.reader.close()

    def _compounds(self, task: State) -> State:
        about = cast("dict[str, Any]", task.meta)
        assert self.reader is not None
        read = self.reader.read(about["smiles"])
        lines = np.array(about["lines"], dtype=np.int64)
        ids = np.array(about["ids"], dtype=object)
        known_as = [self.known.get(key) for key in read.keys]
        table = pd.DataFrame({"line": lines, "compound_id": ids, "smiles": about["smiles"], "reason": read.reasons})
        table["known_as"] = pd.Series(known_as, index=read.good, dtype=object).reindex(table.index)
        arrays: dict[str, npt.NDArray[Any]] = {"compounds": _parquet(table)}
        good = read.good
        if len(good):
            score = self._score(self.samples, self._encode_compounds(about, read, known_as))
            if self.pairs:
                names = {"compound_id": ids[good].astype(str), "line": lines[good]}
                arrays["pairs"] = pairs_parquet(self.samples[0], names, score)
            if self.top is not None:
                best, value = self._best(score)
                arrays |= {"top_line": lines[good][best], "top_value": value, "top_id": ids[good].astype(str)[best]}
        return State(arrays, {"n_good": len(good), "n_bad": len(lines) - len(good)})

    def _samples(self, task: State) -> State:
        samples = self._encode_samples(task)
        score = self._score(samples, self.drugs)
        arrays: dict[str, npt.NDArray[Any]] = {}
        ids = self.drugs[0]
        if self.pairs:
            arrays["pairs"] = pairs_parquet(samples[0], {"drug_id": ids}, score)
        if self.top is not None:
            best, difference = self._best(score - self.drug_mean)
            value = np.take_along_axis(score, best, axis=1)
            arrays |= {"top_value": value, "top_difference": difference, "top_id": ids[best]}
        return State(arrays, {"n_good": score.size, "n_bad": 0})

    def _score(self, samples: Sides, drugs: Sides) -> FloatArray:
        """Return predictions [measure.unit], shape (n_samples, n_drugs), a part of the drugs at a time."""
        out = np.empty((len(samples[0]), len(drugs[0])), dtype=np.float32)
        step = max(1, PAIRS // max(len(out), 1))
        for start in range(0, out.shape[1], step):
            part = slice(start, start + step)
            rows = np.arange(out.shape[1], dtype=np.int64)[part]
            x = PairFeatures(
                sample_ids=samples[0],
                drug_ids=drugs[0][part],
                sample_x=samples[1],
                drug_x={name: block.take(rows) for name, block in drugs[1].items()},
                sample_index=np.zeros(0, dtype=np.int64),
                drug_index=np.zeros(0, dtype=np.int64),
                modalities=tuple(self.pipeline.modalities),
                drug_text={name: values[part] for name, values in self._text.items()},
            ).grid()
            out[:, part] = self.predictor.predict_pairs(x).mean.reshape(len(out), -1)
        if not np.isfinite(out).all():
            raise DataError(f"{int((~np.isfinite(out)).sum())} predictions are not finite; the inputs are unusable.")
        return out

    def _best(self, score: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
        return best_of(score, int(self.top or 1), self.sign)

    def _encode_samples(self, sent: State) -> Sides:
        """Encode samples from matched values: arrays ``omics/MODALITY``; meta: their ids and the table about them."""
        about = cast("dict[str, Any]", sent.meta)
        table = pd.DataFrame(about["about"], index=pd.Index(about["sample_ids"], name="sample_id"))
        omics = {
            name: pd.DataFrame(
                sent.arrays[f"omics/{name}"], index=table.index, columns=list(self.pipeline.input_names(name))
            )
            for name in self.pipeline.modalities
            if f"omics/{name}" in sent.arrays
        }
        data = self._dataset(samples=table, drugs=pd.DataFrame(index=[_ANY]), omics=omics)
        return table.index.to_numpy(dtype=str), self.pipeline.transform_samples(data)

    def _encode_compounds(self, about: Mapping[str, Any], read: Structures, known_as: Sequence[str | None]) -> Sides:
        lines = [about["lines"][i] for i in read.good]
        drugs = pd.DataFrame(
            {"smiles": [about["smiles"][i] for i in read.good], "skeleton": read.skeletons},
            index=[f"line {line}" for line in lines],
            dtype=object,
        )
        features = {name: pd.DataFrame(values, index=drugs.index) for name, values in read.values.items()}
        for name, frame in features.items():
            frame.columns = list(self.pipeline.input_names(f"drug/{name}"))
        data = self._dataset(samples=pd.DataFrame(index=[_ANY]), drugs=drugs, drug_features=features)
        self._text = drug_text(drugs)
        ids = np.array([a or name for a, name in zip(known_as, drugs.index, strict=True)], dtype=str)
        return ids, self.pipeline.transform_drugs(data)

    def _use_drugs(self, names: Sequence[str]) -> None:
        """Encode known drugs once, and look up their means in training."""
        table = self.predictor.find_drugs(list(names))
        data = self._dataset(samples=pd.DataFrame(index=[_ANY]), drugs=table)
        self._text = drug_text(table)
        self.drugs = table.index.to_numpy(dtype=str), self.pipeline.transform_drugs(data)
        reference = self.predictor.reference_
        means = dict(zip(reference["drug_id"].tolist(), reference["mean"].tolist(), strict=True))
        self.drug_mean = np.array([means.get(i, np.nan) for i in self.drugs[0].tolist()], dtype=np.float32)
        if (lacking := np.isnan(self.drug_mean)).any():
            raise DataError(f"{int(lacking.sum())} drugs have no mean in training: {examples(self.drugs[0][lacking])}.")

    def _dataset(
        self,
        *,
        samples: pd.DataFrame,
        drugs: pd.DataFrame,
        omics: Mapping[str, pd.DataFrame] | None = None,
        drug_features: Mapping[str, pd.DataFrame] | None = None,
    ) -> ResponseDataset:
        pair = {"sample_id": [samples.index[0]], "drug_id": [drugs.index[0]], "value": [np.nan]}
        measure = self.predictor.measure_
        return ResponseDataset("screen", measure, pd.DataFrame(pair), samples, drugs, omics or {}, drug_features or {})


def best_of(score: FloatArray, k: int, sign: float) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return places and values of each row's `k` best, best first; `sign` 1 where low is best, -1 where high is.

    Equal values stand in the order of their columns.
    """
    k = min(k, score.shape[1])
    keyed = sign * score
    if k < score.shape[1]:
        limit = np.partition(keyed, k - 1, axis=1)[:, k - 1 : k]
        # the first k columns at or below the limit, those below it before those at it
        rank = np.where(keyed < limit, 0, np.where(keyed == limit, 1, 2))
        chosen = np.sort(np.argsort(rank, axis=1, kind="stable")[:, :k], axis=1)
    else:
        chosen = np.tile(np.arange(k), (len(score), 1))
    values = np.take_along_axis(keyed, chosen, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    best = np.take_along_axis(chosen, order, axis=1).astype(np.int64)
    return best, np.take_along_axis(score, best, axis=1)


def pairs_parquet(
    samples: npt.NDArray[np.str_], drugs: Mapping[str, npt.NDArray[Any]], score: FloatArray
) -> npt.NDArray[np.uint8]:
    """Return a Parquet file as bytes: sample_id, the columns of `drugs` and prediction, samples varying slowest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n, m = score.shape
    columns: dict[str, Any] = {"sample_id": _repeated(samples, np.repeat(np.arange(n, dtype=np.int32), m))}
    place = np.tile(np.arange(m, dtype=np.int32), n)
    for name, values in drugs.items():
        columns[name] = _repeated(values, place) if values.dtype.kind == "U" else pa.array(values[place])
    columns["prediction"] = pa.array(score.reshape(-1))
    coded = [name for name in columns if name != "prediction"]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, use_dictionary=coded, compression="snappy", write_statistics=coded)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def _repeated(values: npt.NDArray[np.str_], places: npt.NDArray[np.int32]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(values.tolist(), type=pa.string()))


def _parquet(table: pd.DataFrame) -> npt.NDArray[np.uint8]:
    sink = io.BytesIO()
    table.to_parquet(sink, index=False)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def _structures(drugs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return id and SMILES of the drugs that have one, the first of each id last, so that it wins."""
    if "smiles" not in drugs:
        return []
    return [(str(i), s) for i, s in reversed(list(drugs["smiles"].items())) if isinstance(s, str) and s]
