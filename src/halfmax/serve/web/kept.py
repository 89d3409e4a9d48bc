"""Kept samples: what a visitor uploaded, under a name that nobody can guess, until it is deleted or too old."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from halfmax.data.findings import Finding
from halfmax.data.storage import atomic_folder
from halfmax.errors import UnknownNameError
from halfmax.serve.inputs import Samples
from halfmax.serve.settings import ServeSettings

_NAME = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class Kept:
    """Samples as they were read, and where they came from."""

    key: str
    title: str
    samples: Samples
    example: bool = False


class KeptSamples:
    """A folder of uploaded samples.

    Parameters
    ----------
    folder
        Where they lie; readable by the service alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, settings: ServeSettings) -> Self:
        """Return those of a service."""
        return cls(settings.home / "kept")

    def put(self, samples: Samples, title: str, *, example: bool = False) -> str:
        """Keep samples and return their name; whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = secrets.token_urlsafe(16)
        with atomic_folder(self.folder / key) as work:
            for modality, frame in samples.omics.items():
                frame.to_parquet(work / f"{modality}.parquet")
            if samples.about is not None:
                samples.about.to_parquet(work / "about.parquet")
            content = {
                "title": title,
                "example": example,
                "modalities": list(samples.omics),
                "findings": [finding.to_dict() for finding in samples.findings],
            }
            (work / "kept.json").write_text(json.dumps(content), encoding="utf-8")
        return key

    def get(self, key: str) -> Kept:
        """Return what was kept; raise UnknownNameError if there is none such, or it was deleted."""
        place = self._place(key)
        content = json.loads((place / "kept.json").read_text(encoding="utf-8"))
        omics = {m: pd.read_parquet(place / f"{m}.parquet") for m in content["modalities"]}
        about = pd.read_parquet(place / "about.parquet") if (place / "about.parquet").is_file() else None
        findings = tuple(_finding(found) for found in content["findings"])
        return Kept(key, content["title"], Samples(omics, about, findings), content["example"])

    def delete(self, key: str) -> None:
        """Delete what was kept, now."""
        shutil.rmtree(self._place(key))

    def tidy(self, days: float) -> int:
        """Delete what is older than so many days; return how many."""
        before = time.time() - days * 86_400
        old = [p for p in self.folder.glob("*") if _NAME.fullmatch(p.name) and p.stat().st_mtime < before]
        for place in old:
            shutil.rmtree(place, ignore_errors=True)
        return len(old)

    def _place(self, key: str) -> Path:
        if not _NAME.fullmatch(key) or not (self.folder / key / "kept.json").is_file():
            raise UnknownNameError("these samples are not here: the address is wrong, or they were deleted.")
        return self.folder / key


def _finding(found: dict[str, object]) -> Finding:
    shown = found.get("examples") or ()
    return Finding(
        str(found["code"]),
        found["level"],  # type: ignore[arg-type]
        str(found["message"]),
        tuple(map(str, shown)) if isinstance(shown, list | tuple) else (),
        int(str(found.get("count") or 0)),
    )
