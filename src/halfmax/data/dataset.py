"""ResponseDataset: responses of samples to drugs, with everything known about both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.storage import atomic_folder, read_verified, write_json
from halfmax.errors import DataError, ModelFileError, UnknownNameError, did_you_mean, examples

FORMAT_VERSION = 1
PAIR_COLUMNS = ("sample_id", "drug_id")
MODALITIES = ("expression", "mutation", "copy_number", "methylation", "proteomics", "metabolomics", "events")


@dataclass(frozen=True)
class Measure:
    """A quantity of response: its name, unit and direction.

    Parameters
    ----------
    name
        ``ln_ic50``, ``auc``, ``aac``, ``pic50`` or a name of your own.
    unit
        Shown beside every figure; empty for a fraction.
    higher_is_sensitive
        True where a larger value means a stronger response (``aac``, ``pic50``).
    """

    name: str
    unit: str
    higher_is_sensitive: bool

    @property
    def label(self) -> str:
        """The name with its unit, as printed on axes."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


MEASURES: Mapping[str, Measure] = {
    m.name: m
    for m in (
        Measure("ln_ic50", "ln µM", higher_is_sensitive=False),
        Measure("auc", "", higher_is_sensitive=False),
        Measure("aac", "", higher_is_sensitive=True),
        Measure("pic50", "-log10 M", higher_is_sensitive=True),
    )
}


@dataclass(frozen=True)
class Dropped:
    """What `align` removed, by cause.

    Parameters
    ----------
    causes
        Cause to (number of response rows, ids concerned).
    n_before, n_after
        Response rows before and after.
    """

    n_before: int
    n_after: int
    causes: Mapping[str, tuple[int, tuple[str, ...]]]

    def to_frame(self) -> pd.DataFrame:
        """Return one row a cause: cause, n_rows, n_ids, examples."""
        rows = [(cause, n, len(ids), ", ".join(ids[:3])) for cause, (n, ids) in self.causes.items()]
        return pd.DataFrame(rows, columns=["cause", "n_rows", "n_ids", "examples"])


@dataclass(frozen=True)
class ResponseDataset:
    """Responses in long form over a table of samples and a table of drugs.

    Parameters
    ----------
    name
        Short name, used for files and reports.
    measure
        What ``response.value`` is.
    response
        Columns ``sample_id``, ``drug_id`` (text) and ``value`` [measure.unit]; NaN = to predict. One row a pair.
    samples, drugs
        Index = id. Samples: tissue, cancer_type, …; drugs: name, smiles, targets, …
    omics
        Modality to a samples × features frame. Sample sets may differ between modalities.
    drug_features
        Optional ready-made drug matrices.
    notes
        Where the data come from and what was done to them: source, licence, citation, counts. Plain JSON.

    Raises
    ------
    DataError
        If a column is missing, an id is empty or duplicated, a value is infinite, or a pair occurs twice.
    """

    name: str
    measure: Measure
    response: pd.DataFrame
    samples: pd.DataFrame
    drugs: pd.DataFrame
    omics: Mapping[str, pd.DataFrame]
    drug_features: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_response(self.response)
        for what, frame in (("samples", self.samples), ("drugs", self.drugs)):
            _check_index(frame.index, what)
        for modality, frame in self.omics.items():
            _check_index(frame.index, f"omics[{modality!r}]")
            _check_unique(frame.columns, f"features of omics[{modality!r}]")
        for column, frame in (("sample_id", self.samples), ("drug_id", self.drugs)):
            unknown = pd.Index(self.response[column].unique()).difference(frame.index)
            if len(unknown):
                raise DataError(
                    f"{len(unknown)} {column} values of the responses are not in the {column[:-3]} table, "
                    f"e.g. {examples(unknown)}; add them to the table or drop those rows."
                )

    @property
    def n_pairs(self) -> int:
        """Number of response rows."""
        return len(self.response)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> ResponseDataset:
        """Return the dataset of these response rows, with only the samples and drugs that they name."""
        response = self.response.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows].reset_index(drop=True)
        samples = self.samples.loc[self.samples.index.isin(response["sample_id"].unique())]
        drugs = self.drugs.loc[self.drugs.index.isin(response["drug_id"].unique())]
        return replace(
            self,
            response=response,
            samples=samples,
            drugs=drugs,
            omics={k: v.loc[v.index.isin(samples.index)] for k, v in self.omics.items()},
            drug_features={k: v.loc[v.index.isin(drugs.index)] for k, v in self.drug_features.items()},
        )

    def align(
        self, modalities: Sequence[str] = ("expression",), *, smiles: bool = False
    ) -> tuple[ResponseDataset, Dropped]:
        """Return the complete cases and what was lost, by cause.

        Parameters
        ----------
        modalities
            Modalities that a sample must have.
        smiles
            Whether a drug must have a structure.
        """
        keep = self.response["value"].notna().to_numpy(dtype=bool, copy=True)
        causes: dict[str, tuple[int, tuple[str, ...]]] = {}
        if not keep.all():
            causes["no measured value"] = (int((~keep).sum()), ())
        checks: list[tuple[str, str, pd.Index]] = []
        for modality in modalities:
            self.modality(modality)
            checks.append((f"sample without {modality}", "sample_id", self.omics[modality].index))
        if smiles:
            structures = self.drugs["smiles"] if "smiles" in self.drugs else pd.Series(dtype=object)
            checks.append(("drug without structure", "drug_id", structures[structures.notna()].index))
        for cause, column, have in checks:
            lacking = ~self.response[column].isin(have).to_numpy() & keep
            if lacking.any():
                ids = sorted(self.response.loc[lacking, column].unique())
                causes[cause] = (int(lacking.sum()), tuple(ids))
                keep &= ~lacking
        if not keep.any():
            raise DataError(
                f"no response row is left of {self.n_pairs}: "
                + "; ".join(f"{cause}: {n} rows, e.g. {examples(ids)}" for cause, (n, ids) in causes.items())
            )
        return self.take(keep), Dropped(self.n_pairs, int(keep.sum()), causes)

    def modality(self, name: str) -> pd.DataFrame:
        """Return one omics frame; raise UnknownNameError with the modalities there are."""
        if name not in self.omics:
            raise UnknownNameError(
                f"{self.name} has no modality {name!r}.{did_you_mean(name, self.omics)} "
                f"It has: {', '.join(self.omics) or 'none'}."
            )
        return self.omics[name]

    def fingerprint(self) -> str:
        """Return a sha256 over every value and name; the same data give the same fingerprint on any machine."""
        digest = hashlib.sha256(json.dumps([self.measure.name, self.measure.unit]).encode())
        frames = {"response": self.response, "samples": self.samples, "drugs": self.drugs}
        frames |= {f"omics/{k}": v for k, v in sorted(self.omics.items())}
        frames |= {f"drug_features/{k}": v for k, v in sorted(self.drug_features.items())}
        for key, frame in frames.items():
            digest.update(f"{key}\0{chr(1).join(map(str, frame.columns))}".encode())
            digest.update(_content(frame))
        return digest.hexdigest()

    def save(self, folder: Path | str) -> Path:
        """Write Parquet tables and a JSON manifest with their sha256; whole or not at all."""
        folder = Path(folder)
        with atomic_folder(folder) as work:
            for key, frame in self._tables().items():
                stored = frame.T if key.startswith("omics_") else frame  # Parquet is slow with many columns
                stored.to_parquet(work / f"{key}.parquet", compression="zstd", use_dictionary=_repeats(frame))
            write_json(
                work / "manifest.json",
                {
                    "format": "halfmax-dataset",
                    "format_version": FORMAT_VERSION,
                    "name": self.name,
                    "measure": [self.measure.name, self.measure.unit, self.measure.higher_is_sensitive],
                    "omics": list(self.omics),
                    "drug_features": list(self.drug_features),
                    "notes": dict(self.notes),
                    "counts": {
                        "pairs": self.n_pairs,
                        "samples": len(self.samples),
                        "drugs": len(self.drugs),
                        **{f"{k}_features": v.shape[1] for k, v in self.omics.items()},
                    },
                    "fingerprint": self.fingerprint(),
                },
                hash_siblings=True,
            )
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> ResponseDataset:
        """Read a saved dataset; raise ModelFileError if a file is missing, foreign or changed."""
        folder = Path(folder)
        manifest = read_verified(folder, "halfmax-dataset", FORMAT_VERSION)

        def read(key: str) -> pd.DataFrame:
            return pd.read_parquet(folder / f"{key}.parquet")

        try:
            return cls(
                name=str(manifest["name"]),
                measure=Measure(*manifest["measure"]),
                response=read("response"),
                samples=read("samples"),
                drugs=read("drugs"),
                omics={k: read(f"omics_{k}").T for k in manifest["omics"]},
                drug_features={k: read(f"drug_features_{k}") for k in manifest["drug_features"]},
                notes=dict(manifest["notes"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise ModelFileError(f"{folder} is not a whole dataset: {type(error).__name__}: {error}") from error

    def _tables(self) -> dict[str, pd.DataFrame]:
        tables = {"response": self.response, "samples": self.samples, "drugs": self.drugs}
        tables |= {f"omics_{k}": v for k, v in self.omics.items()}
        return tables | {f"drug_features_{k}": v for k, v in self.drug_features.items()}


def _content(frame: pd.DataFrame) -> bytes:
    """Return a frame's index and values as bytes: numbers of one type as they are, anything else as text."""
    index = "\x01".join(map(str, frame.index)).encode()
    dtypes = set(frame.dtypes)
    if len(dtypes) == 1 and next(iter(dtypes)).kind in "fiu":
        values = np.ascontiguousarray(frame.to_numpy())
        return index + values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    if not dtypes:
        return index
    return index + pd.util.hash_pandas_object(frame, index=False).to_numpy().astype("<u8").tobytes()


def _repeats(frame: pd.DataFrame) -> bool:
    """Whether values repeat, so that a dictionary saves space; measured expression hardly does, and is slower by it."""
    numbers = frame.shape[1] > 0 and len(frame) > 0 and all(dtype.kind == "f" for dtype in set(frame.dtypes))
    return not numbers or len(np.unique(frame.iloc[0])) < frame.shape[1] / 2


def _check_response(response: pd.DataFrame) -> None:
    missing = [c for c in (*PAIR_COLUMNS, "value") if c not in response.columns]
    if missing:
        raise DataError(
            f"the response table lacks {examples(missing)}; it has {examples(response.columns, 6)}. "
            "Rename its columns to sample_id, drug_id, value."
        )
    if response.empty:
        raise DataError("the response table has no rows.")
    infinite = np.isinf(response["value"].to_numpy(dtype=float))
    if infinite.any():
        raise DataError(
            f"{int(infinite.sum())} response values are infinite, e.g. rows {examples(np.flatnonzero(infinite))}; "
            "remove them, or make them empty to have them predicted."
        )
    for column in PAIR_COLUMNS:
        _check_text(response[column], f"response.{column}")
    twice = response.duplicated(list(PAIR_COLUMNS)).to_numpy()
    if twice.any():
        pairs = response.loc[twice, list(PAIR_COLUMNS)].head(4).agg(" × ".join, axis=1)
        raise DataError(
            f"{int(twice.sum())} (sample, drug) pairs occur more than once, e.g. {examples(pairs)}; "
            "average them first (readers do, and count them)."
        )


def _check_index(index: pd.Index, what: str) -> None:
    _check_text(pd.Series(index), f"{what} ids")
    _check_unique(index, f"{what} ids")


def _check_text(values: pd.Series, what: str) -> None:
    distinct = pd.Series(values.unique())
    bad = [v for v in distinct if not isinstance(v, str) or not v.strip()]
    if bad:
        raise DataError(f"{len(bad)} {what} are empty or not text, e.g. {examples(bad)}; ids are text.")


def _check_unique(index: pd.Index, what: str) -> None:
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise DataError(f"{len(twice)} {what} occur more than once, e.g. {examples(twice)}; make them unique.")
