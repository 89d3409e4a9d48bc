"""Inputs: samples of a JSON request or an uploaded file, as the tables that a predictor reads."""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.data.readers.checks import expression_unit
from halfmax.data.readers.matrix import OmicsTable, read_omics
from halfmax.errors import DataError, examples
from halfmax.serve.problems import RequestProblem
from halfmax.serve.schemas import Asked, Profile

if TYPE_CHECKING:
    from starlette.requests import Request

    from halfmax.serve.service import Service
    from halfmax.serve.settings import ServeSettings

MODALITIES = ("expression", "mutation", "copy_number")
#: Largest value of expression that can be on a log2 scale.
_LOG_LIMIT = 25.0
#: A packed file of more than so many times its size is no table of numbers; up to this size nobody is harmed.
_MOST_RATIO, _HARMLESS, _PIECE = 50, 16 << 20, 1 << 20


@dataclass(frozen=True)
class Samples:
    """Samples as a predictor reads them: omics, what else is known of each, what was found on the way, a short key."""

    omics: dict[str, pd.DataFrame]
    about: pd.DataFrame | None
    findings: tuple[Finding, ...] = ()
    key: str | None = None


def samples_of(asked: Asked, service: Service, settings: ServeSettings) -> Samples:
    """Return the samples of a JSON request.

    Raises
    ------
    DataError
        If there is none, an id stands twice, or the expression's unit is not plain.
    RequestProblem
        If there are more than one request may hold.
    """
    if bool(asked.samples) == bool(asked.known):
        raise DataError("the request names no sample, or both kinds; give either samples or known.")
    n = len(asked.samples) + len(asked.known)
    if n > settings.max_samples:
        raise RequestProblem(
            413, "too-many-samples", f"{n} samples are more than {settings.max_samples}; submit a job."
        )
    if asked.known:
        omics, about = service.known_samples(asked.known)
        return Samples(omics, about, key="\x1f".join(["known", *asked.known]))
    twice = [name for name, count in Counter(p.sample_id for p in asked.samples).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} sample ids occur more than once: {examples(twice)}; make them unique.")
    findings = Findings()
    omics = {m: frame for m in MODALITIES if (frame := _frame(asked.samples, m)) is not None}
    if "expression" in omics:
        omics["expression"] = _logged(omics["expression"], asked.unit, findings)
    tissue = [p.tissue for p in asked.samples]
    about = None
    if any(tissue):
        index = pd.Index([p.sample_id for p in asked.samples], name="sample_id", dtype=object)
        about = pd.DataFrame({"tissue": pd.Series(tissue, index=index, dtype=object)})
    return Samples(omics, about, findings.all())


def read_upload(path: Path, name: str, settings: ServeSettings, *, modality: str, unit: str | None) -> Samples:
    """Return the samples of an uploaded file; its name takes the place of the path in what is said."""
    try:
        with _unpacked(path, settings.max_unpacked) as plain:
            table = read_omics(plain, modality, unit=unit, max_bytes=settings.max_unpacked)
            if modality != "expression":
                return Samples({modality: table.frame}, None, table.findings)
            frame, done = table.logged()
    except DataError as error:
        raise DataError(_without_path(str(error), path, name)) from None
    return Samples({modality: frame}, None, (*table.findings, done))


@asynccontextmanager
async def received(
    request: Request, settings: ServeSettings, fields: dict[str, str] | None = None
) -> AsyncIterator[tuple[Path, str]]:
    """Write the uploaded file to disk as it comes, and yield its place and name; it is deleted afterwards.

    What a form holds beside its file is added to `fields`.

    The body is the file itself, or a multipart form with one file.
    """
    with tempfile.TemporaryDirectory(prefix="halfmax-upload-") as folder:
        path, name = Path(folder) / "table", "the file"
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_files=1, max_fields=8, max_part_size=65536) as form:
                files = [value for value in form.values() if not isinstance(value, str)]
                if not files:
                    raise RequestProblem(422, "no-file", "the form holds no file.")
                name = files[0].filename or name
                if fields is not None:
                    fields |= {key: value for key, value in form.items() if isinstance(value, str)}
                with path.open("wb") as out:
                    while piece := await files[0].read(_PIECE):
                        out.write(piece)
        else:
            with path.open("wb") as out:
                async for piece in request.stream():
                    out.write(piece)
        yield path, name.rpartition("/")[2][:100]


@contextmanager
def _unpacked(path: Path, limit: int) -> Iterator[Path]:
    """Yield a file as it is, or what a gzip file holds, unpacked piece by piece within bounds."""
    with path.open("rb") as packed:
        if packed.read(2) != b"\x1f\x8b":
            yield path
            return
        packed.seek(0)
        plain = path.with_name("plain")
        size, unpacker, total = path.stat().st_size, zlib.decompressobj(31), 0
        try:
            with plain.open("wb") as out:
                while piece := packed.read(_PIECE):
                    while piece:
                        if unpacker.eof:  # gzip files may stand one after the other
                            unpacker = zlib.decompressobj(31)
                        text = unpacker.decompress(piece, _PIECE)
                        total += len(text)
                        if total > limit or total > max(_HARMLESS, _MOST_RATIO * size):
                            raise RequestProblem(413, "too-large", "the file unpacks to more than is read.")
                        out.write(text)
                        piece = unpacker.unconsumed_tail or (unpacker.unused_data if unpacker.eof else b"")
        except zlib.error as error:
            raise DataError(f"{path}: it is a damaged gzip file ({error}); copy or download it again.") from None
        if not unpacker.eof:
            raise DataError(f"{path}: it is a gzip file that is cut off; copy or download it again.")
        yield plain


def _without_path(message: str, path: Path, name: str) -> str:
    return message.replace(str(path.with_name("plain")), name).replace(str(path), name)


def _frame(profiles: Sequence[Profile], modality: str) -> pd.DataFrame | None:
    """Return a modality of the profiles, samples × features; NaN where a profile lacks a feature."""
    given = [(p.sample_id, v) for p in profiles if (v := getattr(p, modality)) is not None]
    if not given:
        return None
    first = list(given[0][1])
    if all(list(values) == first for _, values in given[1:]):
        content = np.array([list(values.values()) for _, values in given], dtype=np.float32)
        names: Sequence[str] = first
    else:
        place: dict[str, int] = {}
        for _, values in given:
            for name in values:
                place.setdefault(name, len(place))
        content = np.full((len(given), len(place)), np.nan, dtype=np.float32)
        for row, (_, values) in enumerate(given):
            content[row, [place[name] for name in values]] = np.array(list(values.values()), dtype=np.float32)
        names = list(place)
    if np.isinf(content).any():
        raise DataError(
            f"{int(np.isinf(content).sum())} values of {modality} are too large; correct or leave them out."
        )
    frame = pd.DataFrame(content, index=pd.Index([i for i, _ in given], dtype=object, name="sample_id"), columns=names)
    if not frame.columns.is_unique or not frame.shape[1]:
        raise DataError(f"{modality} holds no feature, or one twice; send each once.")
    return frame


def _logged(frame: pd.DataFrame, unit: str | None, findings: Findings) -> pd.DataFrame:
    """Return expression on a log2 scale; the unit is detected where values cannot be logarithms already."""
    values = frame.to_numpy()
    largest = np.nanmax(values) if np.isfinite(values).any() else 0.0
    if unit is None and largest <= _LOG_LIMIT:
        return frame
    guess = expression_unit(frame, unit, findings)
    logged, done = OmicsTable(frame, "expression", (), guess, "samples_by_features", None).logged()
    findings.extend([done])
    return logged
