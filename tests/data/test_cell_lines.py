"""Names: matched where they must be one, kept apart where they may be two, and always with the way told."""

from __future__ import annotations

import pytest

from halfmax.data.cell_lines import CELL_LINE_ALIASES, Known, Owner, match_names, normalise_name


@pytest.mark.parametrize(
    ("name", "key"),
    [("NCI-H23", "NCIH23"), ("Hs 940.T", "HS940T"), ("PC-3_[JPC-3]", "PC3JPC3"), ("hela", "HELA"), (" A549 ", "A549")],
)
def test_a_key_is_letters_and_digits_in_upper_case(name: str, key: str) -> None:
    assert normalise_name(name) == normalise_name(key) == key


def test_a_key_keeps_other_alphabets_and_is_never_empty() -> None:
    assert normalise_name("\N{GREEK SMALL LETTER BETA}-1") != normalise_name("1")
    assert normalise_name(" (-) ") == "(-)"
    assert normalise_name("\uff21549") == "A549"  # full-width A


def row(frame: object, name: str) -> tuple[object, str, str]:
    indexed = frame.set_index("name").loc[name]  # type: ignore[attr-defined]
    return indexed["entry"], indexed["how"], indexed["why"]


def test_the_same_spelling_comes_before_the_same_key() -> None:
    found = match_names(["TT", "T-T", "A-549"], ["T-T", "TT", "A549", "x-1"])
    assert row(found, "TT")[:2] == ("TT", "exact")
    assert row(found, "T-T")[:2] == ("T-T", "exact")
    assert row(found, "A-549")[:2] == ("A549", "key")


def test_two_names_never_share_an_entry_in_silence() -> None:
    found = match_names(["TT", "T-T"], ["TT"])
    assert found["entry"].isna().all()
    assert set(found["how"]) == {"ambiguous"}
    assert "'T-T'" in row(found, "TT")[2]


def test_one_name_never_takes_one_of_two_entries() -> None:
    entry, how, why = row(match_names(["K.M.H.2"], ["KM-H2", "KMH-2"]), "K.M.H.2")
    assert (entry, how) == (None, "ambiguous")
    assert "'KM-H2', 'KMH-2'" in why


def test_a_shared_entry_goes_to_its_proven_owner() -> None:
    owners = {"TT": Owner("TT", "thyroid genes"), "KMH2": Owner(None, "nobody knows")}
    found = match_names(["TT", "T-T", "KM-H2", "KMH-2"], ["TT", "KMH2"], owners=owners)
    assert row(found, "TT") == ("TT", "owner", "thyroid genes")
    assert row(found, "T-T") == (None, "none", "thyroid genes")
    assert row(found, "KM-H2") == row(found, "KMH-2") == (None, "ambiguous", "nobody knows")


def test_an_alias_is_used_when_nothing_else_fits_and_tells_why() -> None:
    aliases = {"NCI-H513": Known("H513", "same line")}
    assert row(match_names(["NCI-H513"], ["H513"], aliases=aliases), "NCI-H513") == ("H513", "alias", "H513: same line")
    assert row(match_names(["NCI-H513"], ["H513", "NCIH513"], aliases=aliases), "NCI-H513")[0] == "NCIH513"
    assert row(match_names(["NCI-H513"], ["H-513", "H513"], aliases=aliases), "NCI-H513")[1] == "none"


def test_what_is_not_there_is_told() -> None:
    assert row(match_names(["HT"], ["A549"]), "HT") == (None, "none", "the table has no such name")
    assert match_names([], ["A549"]).empty
    assert row(match_names(["HT"], []), "HT")[1] == "none"


def test_the_known_aliases_are_other_names_and_say_why() -> None:
    for name, (other, why) in CELL_LINE_ALIASES.items():
        assert normalise_name(name) != normalise_name(other)
        assert why
