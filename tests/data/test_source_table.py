"""The table of official downloads is complete, honest about its addresses, documented, and read strictly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from halfmax.data.source_table import read_table_of_sources, shipped_table
from halfmax.data.sources import address_note
from halfmax.errors import DataError


def test_the_shipped_table_is_complete_and_honest() -> None:
    table = shipped_table()
    needed = {"gdsc1-fitted", "gdsc2-fitted", "gdsc2-raw", "gdsc-cell-lines", "gdsc-rma", "gdsc2-genetic-features"}
    needed |= {"cmp-mutations", "prism-secondary", "ctrp2", "tcga-star-counts-BRCA", "xena-expression-BRCA"}
    assert needed | {"depmap-24q4-expression", "depmap-26q1-model", "ccle-drug"} <= set(table)
    for source in table.values():
        assert "{each" not in f"{source.name}{source.urls}{source.query}{source.title}{source.page}"
        assert source.citations
        assert source.terms.text
        assert source.verified or "has not been fetched" in address_note(source)
        assert not source.verified or source.sha256
    assert len({(s.urls, s.listing, tuple(s.query.items()), s.filename) for s in table.values()}) == len(table)


def test_every_source_is_in_the_documentation(root: Path) -> None:
    text = (root / "docs" / "downloads.md").read_text(encoding="utf-8")
    for source in shipped_table().values():
        row = next(
            (line for line in text.splitlines() if f"`{re.sub('-[A-Z]+$', '-COHORT', source.name)}`" in line), ""
        )
        assert row.endswith(f"| `{source.kind}` |" if source.kind else "| |"), source.name


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("https://data.example", "http://data.example", "is not https"),
        ("filename", "filname", "Did you mean 'filename'"),
        ('kind = "k"\n', "", "lacks kind"),
        ('"open"', '"closed"', "the table lacks"),
        ('"f.csv"', '"../f.csv"', "not the name of a file"),
        ("[[source]]", '[[source]]\nvia = "ftp"', "via is one of"),
        ("[[source]]", '[[source]]\nsha256 = "ab"', "64 digits"),
        ("[[source]]", "[[source]", "not TOML"),
    ],
)
def test_a_wrong_table_is_refused(old: str, new: str, why: str) -> None:
    text = (
        '[terms.open]\nlicence = ""\ntext = ""\nurl = "https://a.example"\naccept = false\n[citations]\nc = "C"\n'
        '[[source]]\nname = "n"\ntitle = "t"\nprovider = "p"\nkind = "k"\nfilename = "f.csv"\n'
        'page = "https://a.example"\nterms = "open"\ncitations = ["c"]\nurls = ["https://data.example/f.csv"]\n'
    )
    assert list(read_table_of_sources(text)) == ["n"]
    with pytest.raises(DataError, match=why):
        read_table_of_sources(text.replace(old, new))


def test_every_kind_of_the_table_has_a_reader() -> None:
    from halfmax.data.readers.kinds import KINDS

    assert {source.kind for source in shipped_table().values() if source.kind} <= set(KINDS.names())
