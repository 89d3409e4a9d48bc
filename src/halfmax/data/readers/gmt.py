"""Gene sets from a GMT file: a set a line, its name, a description and its genes, separated by tabs."""

from __future__ import annotations

import logging
from pathlib import Path

from halfmax.errors import DataError, examples

log = logging.getLogger(__name__)


def read_gmt(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Return set name to gene names, each gene once, in the order of the file.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, holds no set, names a set twice or has a line without genes.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the gene sets {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; a GMT file has a set a line, separated by tabs.") from None
    sets: dict[str, tuple[str, ...]] = {}
    empty, twice, repeated = [], [], 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = [gene for gene in rest[1:] if gene]
        if not name or not genes:
            empty.append(number)
        elif name in sets:
            twice.append(name)
        else:
            sets[name] = tuple(dict.fromkeys(genes))
            repeated += len(genes) - len(sets[name])
    if empty:
        raise DataError(
            f"{path}: {len(empty)} lines have no name or no genes, e.g. {examples(empty)}; a line is name, description "
            "and genes, separated by tabs."
        )
    if twice:
        raise DataError(f"{path}: {len(twice)} sets are named twice, e.g. {examples(twice)}; rename or merge them.")
    if not sets:
        raise DataError(f"{path} holds no gene set.")
    if repeated:
        log.warning("%s: %d genes stand twice in a set; each counts once", path, repeated)
    return sets
