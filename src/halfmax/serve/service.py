"""Service: one object around a loaded predictor that answers what the API, the pages and a notebook ask."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax import RESEARCH_USE
from halfmax.data.dataset import ResponseDataset
from halfmax.data.findings import Finding
from halfmax.data.storage import MANIFEST
from halfmax.errors import DataError, UnknownNameError, did_you_mean
from halfmax.features.blocks import Block
from halfmax.new_samples import match_samples
from halfmax.predictor import REFUSE_COVERAGE, Predictor
from halfmax.serve.encode import ServedPipeline
from halfmax.serve.training import TrainingSamples

if TYPE_CHECKING:
    from halfmax.explain.explainer import Explainer
    from halfmax.explain.explanation import Explanation
    from halfmax.features.blocks import FloatArray

#: Answers kept, and the most samples of one that is.
_KEPT_ANSWERS, _KEPT_SAMPLES = 256, 16


@dataclass(frozen=True)
class Answer:
    """A table and what there is to say about it.

    Parameters
    ----------
    table
        One row a pair, sample or gene.
    findings
        What was seen and done on the way.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...] = ()

    @cached_property
    def drug_ids(self) -> npt.NDArray[np.str_]:
        """Drug of each row, shape ``(n_rows,)``."""
        return self.table["drug_id"].to_numpy(dtype=str)


class Service:
    """Answers questions about samples with one predictor; safe to call from several threads.

    Parameters
    ----------
    predictor
        A fitted predictor; the service works on a copy of it that encodes its drugs once.
    name, digest
        What it is called, and the sha256 of its manifest: the same digest gives the same answers.
    dataset
        Samples to compare with and to pick examples from; found among the converted datasets if None.
    """

    def __init__(
        self, predictor: Predictor, *, name: str = "predictor", digest: str = "", dataset: ResponseDataset | None = None
    ) -> None:
        served = Predictor(predictor.model, predictor.model_name)
        vars(served).update(vars(predictor))
        served.features_ = ServedPipeline.of(predictor.features_, predictor.drugs_)
        self.predictor = served
        self.name, self.digest = name, digest
        self.training = TrainingSamples(served, dataset)
        self._encoded: tuple[npt.NDArray[np.str_], FloatArray] | None = None
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._explainers: dict[str | None, Explainer] = {}
        self._lock = threading.Lock()
        self._slow = threading.RLock()

    @classmethod
    def open(cls, folder: Path, *, name: str | None = None, dataset: ResponseDataset | None = None) -> Service:
        """Load a saved predictor; raise ModelFileError if anything in the folder is missing, foreign or changed."""
        predictor = Predictor.load(folder)
        return cls(predictor, name=name or predictor.model_name, digest=digest_of(folder), dataset=dataset)

    @property
    def measure(self) -> str:
        """What is predicted, with its unit."""
        return self.predictor.measure_.label

    @property
    def dataset(self) -> ResponseDataset | None:
        """The dataset of the training samples, or None where it is not on this machine."""
        return self.training.dataset

    def predict(
        self,
        omics: Mapping[str, pd.DataFrame],
        *,
        drugs: Sequence[str] | None = None,
        samples: pd.DataFrame | None = None,
        allow_low_coverage: bool = False,
        harmonise: str = "none",
        key: str | None = None,
    ) -> Answer:
        """Predict samples × drugs.

        Parameters
        ----------
        omics, samples, allow_low_coverage, harmonise
            See `Predictor.predict_samples`.
        drugs
            Ids or names; all by default. Ranks are among all drugs of the predictor, whichever are asked for.
        key
            What is unlike for unlike `omics` and `samples`, under which the answer is remembered; a hash of them if
            None.

        Returns
        -------
        The table of `Predictor.predict_samples`, with drug_name.
        """
        wanted = None if drugs is None else self.predictor.find_drugs(drugs).index
        options = {"allow_low_coverage": allow_low_coverage, "harmonise": harmonise}
        key = f"{sorted(options.items())} {key}" if key is not None else _key(omics, samples, options)
        with self._lock:
            if (answer := self._answers.get(key)) is not None:
                self._answers.move_to_end(key)
        if answer is None:
            answer = self._predict(omics, samples, allow_low_coverage=allow_low_coverage, harmonise=harmonise)
            if sum(len(frame) for frame in omics.values()) <= _KEPT_SAMPLES:
                with self._lock:
                    self._answers[key] = answer
                    while len(self._answers) > _KEPT_ANSWERS:
                        self._answers.popitem(last=False)
        if wanted is None:
            return answer
        rows = np.flatnonzero(np.isin(answer.drug_ids, wanted.to_numpy(dtype=str)))
        return Answer(answer.table.take(rows).reset_index(drop=True), answer.findings)

    def rank(self, omics: Mapping[str, pd.DataFrame], *, top: int | None = None, **options: Any) -> Answer:
        """Predict, and keep the `top` drugs of each sample, most sensitive first against each drug's own mean."""
        answer = self.predict(omics, **options)
        if top is None:
            return answer
        return Answer(answer.table[answer.table["rank"] <= top].reset_index(drop=True), answer.findings)

    def predict_new_drugs(
        self,
        omics: Mapping[str, pd.DataFrame],
        drugs: Mapping[str, Mapping[str, object]],
        *,
        samples: pd.DataFrame | None = None,
        allow_low_coverage: bool = False,
        harmonise: str = "none",
    ) -> Answer:
        """Predict drugs that were not in training, from what `SmilesChecker` found of their structures by name.

        Raises
        ------
        DataError
            If a name is that of a known drug.
        """
        by_name = {str(i).lower() for i in self.predictor.drugs_.index}
        if taken := [name for name in drugs if name.lower() in by_name]:
            raise DataError(f"{taken[0]!r} is a drug of training; ask for it by name, or give the structure another.")
        other = Predictor(self.predictor.model, self.predictor.model_name)
        vars(other).update(vars(self.predictor))
        smiles = [str(found["smiles"]) for found in drugs.values()]
        other.drugs_ = pd.DataFrame({"smiles": smiles}, index=pd.Index(list(drugs), name="drug_id"), dtype=object)
        table, matches = other.predict_samples(
            omics, samples=samples, allow_low_coverage=allow_low_coverage, harmonise=harmonise
        )
        removed = [name for name, found in drugs.items() if found["fragments_removed"]]
        findings = [finding for match in matches.values() for finding in match.findings]
        if removed:
            message = f"{len(removed)} structures hold several parts; the largest was used."
            findings.append(Finding("largest-fragment", "warning", message, tuple(removed[:10]), len(removed)))
        return Answer(table, tuple(findings))

    def explain(
        self,
        omics: Mapping[str, pd.DataFrame],
        drugs: Sequence[str],
        *,
        samples: pd.DataFrame | None = None,
        tissue: str | None = None,
        allow_low_coverage: bool = False,
    ) -> Explanation:
        """Say which features the predictions of samples with drugs stand on; see `halfmax.explain.Explainer`.

        Parameters
        ----------
        tissue
            Compare with background samples of this tissue only.
        """
        with self._slow:
            # what it remembers of the background is made by the first question, once
            return self.explainer(tissue).explain(omics, drugs, samples=samples, allow_low_coverage=allow_low_coverage)

    def explainer(self, tissue: str | None = None) -> Explainer:
        """Return what explains the predictor, against the background samples of a tissue or all."""
        from halfmax.explain.explainer import Explainer

        with self._slow:
            if tissue not in self._explainers:
                self._explainers[tissue] = Explainer(self.predictor, tissue=tissue)
            return self._explainers[tissue]

    def similar(self, omics: Mapping[str, pd.DataFrame], *, n: int = 10) -> Answer:
        """Return the training samples that are most like each sample.

        Returns
        -------
        Columns sample_id, rank, similar_id, similarity (Pearson correlation of the profiles as the model reads them)
        and what the samples table says (tissue, cancer_type).

        Raises
        ------
        DataError
            If the training samples are not on this machine.
        """
        ids, known = self.training_profiles()
        matched, findings = self.match(omics)
        profile = _unit(self._profiles(matched))
        likeness = profile @ known.T
        n = min(n, len(ids))
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :n]
        names = matched["expression"].index.to_numpy(dtype=object)
        table = pd.DataFrame(
            {
                "sample_id": np.repeat(names, n),
                "rank": np.tile(np.arange(1, n + 1), len(names)),
                "similar_id": ids[order].ravel(),
                "similarity": np.take_along_axis(likeness, order, axis=1).ravel().astype(np.float64),
            }
        )
        about = self.training.need().samples
        columns = [c for c in ("tissue", "cancer_type") if c in about]
        return Answer(table.join(about[columns], on="similar_id"), findings)

    def match(self, omics: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], tuple[Finding, ...]]:
        """Return each modality with the predictor's own features in its order, NaN where missing, and what was found.

        Raises
        ------
        DataError
            If expression is needed and absent, or too few of the predictor's genes are there.
        """
        matched, matches = match_samples(self.predictor.features_, omics, REFUSE_COVERAGE)
        return matched, tuple(finding for match in matches.values() for finding in match.findings)

    def drugs(self) -> pd.DataFrame:
        """Return the drugs it knows: index drug_id; what is known of them, n_samples and mean in training."""
        table, reference = self.predictor.drugs_, self.predictor.reference_
        index = pd.Index(reference["drug_id"].astype(object))
        return table.assign(
            n_samples=pd.Series(reference["n"], index=index).reindex(table.index),
            mean=pd.Series(reference["mean"], index=index).reindex(table.index),
        )

    def drug_quantiles(self, drug: str) -> npt.NDArray[np.float64]:
        """Return the 101 quantiles of a drug's measured values in training, shape ``(101,)`` [measure.unit]."""
        drug_id = str(self.predictor.find_drugs([drug]).index[0])
        row = np.flatnonzero(self.predictor.reference_["drug_id"] == drug_id)
        if not len(row):
            raise UnknownNameError(f"{drug_id} was not measured in training.")
        return np.asarray(self.predictor.reference_["quantiles"][row[0]], dtype=np.float64)

    def genes(self, modality: str = "expression") -> tuple[str, ...]:
        """Return the features that the predictor reads of a modality."""
        if modality not in self.predictor.features_.modalities:
            known = self.predictor.features_.modalities
            raise UnknownNameError(
                f"this predictor reads no {modality!r}.{did_you_mean(modality, known)} It reads: {', '.join(known)}."
            )
        return self.predictor.features_.input_names(modality)

    def card(self) -> dict[str, Any]:
        """Return what a reader must know of the predictor, as plain JSON."""
        p = self.predictor
        return {
            "research_use": RESEARCH_USE,
            "name": self.name,
            "digest": self.digest,
            "model": p.model_name,
            "parameters": p.model.get_params(),
            "measure": p.measure_.name,
            "unit": p.measure_.unit,
            "higher_is_sensitive": p.measure_.higher_is_sensitive,
            "modalities": {m: len(p.features_.input_names(m)) for m in p.features_.modalities},
            "n_drugs": len(p.drugs_),
            "training": json.loads(json.dumps(p.about_, default=str)),
            "intended_use": "Ranking drugs by predicted in-vitro response, as hypotheses for experiments.",
            "limits": "Learned from cell lines; not validated in patients. A difference is not a recommendation.",
        }

    def statistics(self) -> dict[str, Any]:
        """Return counts and the spread of the dataset of the training samples, as plain JSON."""
        return self.training.statistics()

    def sample_ids(self) -> tuple[str, ...]:
        """Return the training samples whose profiles are on this machine."""
        return self.training.ids

    def known_samples(self, ids: Sequence[str]) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """Return profiles and table of training samples, for examples and comparison.

        Raises
        ------
        UnknownNameError
            If one of them is not among the training samples.
        """
        return self.training.take(ids)

    def _predict(
        self,
        omics: Mapping[str, pd.DataFrame],
        samples: pd.DataFrame | None,
        *,
        allow_low_coverage: bool,
        harmonise: str,
    ) -> Answer:
        table, matches = self.predictor.predict_samples(
            omics, samples=samples, allow_low_coverage=allow_low_coverage, harmonise=harmonise
        )
        findings = tuple(finding for match in matches.values() for finding in match.findings)
        if "name" in self.predictor.drugs_:
            names = self.predictor.drugs_["name"].reindex(table["drug_id"]).to_numpy()
            table.insert(2, "drug_name", names)
        return Answer(table, findings)

    def _profiles(self, matched: Mapping[str, pd.DataFrame]) -> FloatArray:
        """Return expression as the model reads it, shape ``(n_samples, n_features)``."""
        frame = matched["expression"]
        values = frame.to_numpy(dtype=np.float32)
        return self.predictor.features_.blocks_["expression"].transform(Block(values, tuple(frame.columns))).values

    def profiles_of(self, omics: Mapping[str, pd.DataFrame]) -> FloatArray:
        """Return samples' expression as the model reads it, each of unit length, shape ``(n_samples, n_genes)``."""
        matched, _ = self.match(omics)
        return _unit(self._profiles(matched))

    def training_profiles(self) -> tuple[npt.NDArray[np.str_], FloatArray]:
        """Return the ids of the training samples, and their profiles as `profiles_of` gives them.

        Raises
        ------
        DataError
            If the training samples are not on this machine.
        """
        with self._slow:
            if self._encoded is None:
                omics, _ = self.known_samples(self.sample_ids())
                expression, _ = self.match({"expression": omics["expression"]})
                self._encoded = np.array(self.sample_ids(), dtype=object), _unit(self._profiles(expression))
            return self._encoded


def digest_of(folder: Path) -> str:
    """Return the sha256 of a predictor folder's manifest, which holds those of all its files."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _unit(profiles: FloatArray) -> FloatArray:
    """Return the profiles centred and with length one, so that a product is a correlation."""
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _key(omics: Mapping[str, pd.DataFrame], samples: pd.DataFrame | None, options: Mapping[str, object]) -> str:
    """Return a hash of everything that the answer depends on."""
    hashed = hashlib.sha256(repr(sorted(options.items())).encode())
    for modality in sorted(omics):
        frame = omics[modality]
        names = [modality, *map(str, frame.index), "", *map(str, frame.columns)]
        hashed.update("\x1f".join(names).encode("utf-8", "surrogatepass"))
        hashed.update(np.ascontiguousarray(frame.to_numpy(dtype=np.float32)).tobytes())
    if samples is not None:
        hashed.update(samples.to_csv().encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
