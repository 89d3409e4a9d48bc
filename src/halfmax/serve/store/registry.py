"""PredictorStore: several predictors side by side, by content, with versions, aliases and a golden batch."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import func, insert, select, update

from halfmax.data.storage import atomic_folder
from halfmax.errors import DataError, ModelFileError, UnknownNameError, did_you_mean
from halfmax.predictor import Predictor
from halfmax.serve.service import digest_of
from halfmax.serve.store.database import Database
from halfmax.serve.store.tables import aliases, predictors

LATEST = "latest"
#: Largest difference to the golden batch [measure's unit].
_TOLERANCE = 1e-3
_GOLDEN_SAMPLES, _GOLDEN_DRUGS = 4, 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Registered:
    """A predictor in the store."""

    name: str
    version: int
    digest: str
    added: float


class PredictorStore:
    """Predictors, each kept once by its content.

    Parameters
    ----------
    database, folder
        Where their names and their files are.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder

    def add(self, source: Path, name: str) -> Registered:
        """Copy a predictor in under a name; the same content again is the same version.

        Raises
        ------
        ModelFileError
            If it cannot be loaded, or its predictions are not finite.
        DataError
            If the name is none.
        """
        if not _NAME.fullmatch(name):
            raise DataError(f"{name!r} is no name of a predictor: letters, digits, '.', '_' and '-', at most 100.")
        digest = digest_of(source)
        golden = golden_batch(Predictor.load(source))
        place = self.folder / digest
        if not place.is_dir():
            with atomic_folder(place) as work:
                shutil.copytree(source, work, dirs_exist_ok=True)
        with self.database.write() as connection:
            same = select(predictors).where(predictors.c.name == name, predictors.c.digest == digest)
            if (row := connection.execute(same).one_or_none()) is None:
                newest = select(func.max(predictors.c.version)).where(predictors.c.name == name)
                version = (connection.execute(newest).scalar_one() or 0) + 1
                values = {"name": name, "version": version, "digest": digest, "golden": json.dumps(golden)}
                connection.execute(insert(predictors).values(**values, added=time.time()))
                row = connection.execute(same).one()
        return Registered(row.name, row.version, row.digest, row.added)

    def list(self) -> list[Registered]:
        """Return all predictors, newest last."""
        asked = select(predictors).order_by(predictors.c.added, predictors.c.version)
        with self.database.read() as connection:
            return [Registered(r.name, r.version, r.digest, r.added) for r in connection.execute(asked)]

    def aliases(self) -> dict[str, tuple[str, int]]:
        """Return every alias with the name and version that it stands for."""
        with self.database.read() as connection:
            return {row.alias: (row.name, row.version) for row in connection.execute(select(aliases))}

    def point(self, alias: str, name: str, version: int | None = None) -> Registered:
        """Let an alias stand for a version, the newest by default, after its golden batch has come out right."""
        found = self.find(f"{name}@{version}" if version is not None else name)
        self.open(found)
        row = {"name": found.name, "version": found.version, "changed": time.time()}
        with self.database.write() as connection:
            if not connection.execute(update(aliases).where(aliases.c.alias == alias).values(**row)).rowcount:
                connection.execute(insert(aliases).values(alias=alias, **row))
        return found

    def find(self, name: str) -> Registered:
        """Return what an alias, a name (its newest version) or ``name@version`` stands for.

        Raises
        ------
        UnknownNameError
            If there is none.
        """
        plain, at, number = name.rpartition("@")
        if not at:
            plain, number = name, ""
            if name in (known := self.aliases()):
                plain, number = known[name][0], str(known[name][1])
        found = [r for r in self.list() if r.name == plain and number in ("", str(r.version))]
        if not found:
            names = [r.name for r in self.list()]
            raise UnknownNameError(f"there is no predictor {name[:100]!r}.{did_you_mean(name[:100], names)}")
        return max(found, key=lambda r: r.version)

    def open(self, found: Registered) -> Predictor:
        """Load a predictor, and return it when its golden batch comes out as on the day it was added.

        Raises
        ------
        ModelFileError
            If a file is missing, foreign or changed, or a golden prediction is another.
        """
        folder = self.folder / found.digest
        predictor = Predictor.load(folder)
        if digest_of(folder) != found.digest:
            raise ModelFileError(f"{found.name}@{found.version} is not the predictor that was added.")
        with self.database.read() as connection:
            key = (predictors.c.name == found.name, predictors.c.version == found.version)
            golden = json.loads(connection.execute(select(predictors.c.golden).where(*key)).scalar_one())
        now = golden_batch(predictor)
        apart = float(np.abs(np.array(now) - np.array(golden)).max(initial=0)) if len(now) == len(golden) else np.inf
        if not apart <= _TOLERANCE:
            raise ModelFileError(
                f"{found.name}@{found.version} predicts otherwise than when it was added, by up to {apart:.3g}."
            )
        return predictor


def golden_batch(predictor: Predictor) -> list[float]:
    """Return predictions of a few made-up profiles around the training mean; raise ModelFileError if not finite."""
    rng = np.random.default_rng(0)
    omics = {}
    for modality in predictor.features_.modalities:
        names = predictor.features_.input_names(modality)
        if modality == "expression":
            values = rng.normal(6, 2, (_GOLDEN_SAMPLES, len(names)))
        else:
            values = rng.integers(0, 2, (_GOLDEN_SAMPLES, len(names))).astype(float)
        index = [f"golden {i}" for i in range(_GOLDEN_SAMPLES)]
        omics[modality] = pd.DataFrame(values.astype(np.float32), index=index, columns=list(names))
    drugs = [str(i) for i in predictor.drugs_.index[:_GOLDEN_DRUGS]]
    try:
        table, _ = predictor.predict_samples(omics, drugs=drugs)
    except DataError as error:
        raise ModelFileError(f"the predictor cannot predict: {error}") from error
    ordered = table.sort_values(["sample_id", "drug_id"])["prediction"]
    return [round(float(value), 6) for value in ordered]
