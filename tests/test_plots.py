"""Plots keep their text and take the page's colours; numbers and facts are written for reading."""

from __future__ import annotations

import re

import numpy as np
import pytest

from halfmax.report import plots
from halfmax.report.canvas import styles_of
from halfmax.report.words import facts, interval, number

NAN = float("nan")


def test_each_model_keeps_one_look_that_is_not_colour_alone() -> None:
    models = ["mean", "drug_mean", "mean_effects", *(f"model{i}" for i in range(8))]
    looks = styles_of(models)
    assert len({(s.colour, s.marker, s.hollow) for s in looks.values()}) == len(models)
    assert [m for m in models if looks[m].hollow] == models[:3]
    assert all(f"var(--{s.colour})" in s.key for s in looks.values())


def test_plots_keep_text_and_take_their_colours_from_the_page() -> None:
    look = styles_of(["mlp"])["mlp"]
    svg = plots.ladder("x", [plots.Row('id="a" 1.23456 $y_', look, 0.5, 0.4, 0.6)], "R²", higher_is_better=True)
    assert "1.23456 $y_" in svg
    assert 'id="a"' in svg or "id=&quot;a&quot;" in svg
    assert "#0a0b" not in svg
    assert "var(--m1)" in svg
    assert "<style" not in svg
    assert not re.search(r"(?<!x-)\bid=\"(?!x-)(?!a\")", svg)


def test_ladder_keeps_the_scale_of_what_beats_the_baseline() -> None:
    looks = styles_of(["mean", "mean_effects", "mlp"])
    rows = [plots.Row(m, looks[m], v) for m, v in (("mean", -2.5), ("mean_effects", 0.0), ("mlp", 0.35))]
    svg = plots.ladder("x", rows, "R²", higher_is_better=True, anchor=0.0)
    ticks = [float(t.replace("−", "-")) for t in re.findall(r">(−?\d(?:\.\d)?)<", svg)]
    assert min(ticks) > -0.5
    assert "−2.50" in svg
    wide = plots.ladder("x", rows, "R²", higher_is_better=True)
    assert min(float(t.replace("−", "-")) for t in re.findall(r">(−?\d(?:\.\d)?)<", wide)) <= -2


def test_most_pairs_in_a_hexagon_is_counted() -> None:
    x = np.array([0.0] * 50 + [1.0])
    _, most = plots.density("x", x, x, "m1", ("a", "b"), line="diagonal")
    assert most == 50


def test_plots_leave_matplotlibs_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.density("x", np.arange(300.0), np.ones(300), "m1", ("a", "b"), line="zero")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.12345, None, "0.123"),
        (-0.5, 2, "−0.50"),
        (-0.0001, 2, "0.00"),
        (179822, None, "179,822"),
        (2016, None, "2016"),
        (NAN, 2, "–"),
        (None, None, "–"),
        (np.int64(12), None, "12"),
    ],
)
def test_numbers_are_written_for_reading(value: object, digits: int | None, text: str) -> None:
    assert number(value, digits) == text


def test_interval_is_left_out_where_there_is_none() -> None:
    assert interval(0.5, 0.4, 0.6) == "0.50 (0.40 to 0.60)"
    assert interval(0.5, NAN, NAN) == "0.50"


def test_facts_count_what_they_leave_out() -> None:
    assert facts(list(range(20))).endswith("10, 11, … and 8 more")
    assert facts([312.4, 0.125, 2.0, 10]) == "312.4, 0.125, 2, 10"
    assert facts({"a": None, "b": ""}) == '<dl class="facts"></dl>'
    assert (
        facts("https://example.org/x") == '<a href="https://example.org/x" rel="noreferrer">https://example.org/x</a>'
    )
