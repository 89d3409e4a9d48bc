"""Distinct variants: counted exactly, whatever stands in memory or waits in the file, and without holding the rows."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from halfmax.data.readers import burden
from halfmax.data.readers.burden import DistinctVariants
from halfmax.errors import DataError

Batch = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int8]]


def batches(n_batches: int, n_rows: int, n_places: int, seed: int = 0) -> Iterator[Batch]:
    """Yield random rows of variants that occur again and again; a place belongs to one sample of five."""
    rng = np.random.default_rng(seed)
    for _ in range(n_batches):
        number = rng.integers(n_places, size=n_rows)
        place = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # spreads over all 64 bits
        yield place, (number % 5).astype(np.int32), rng.integers(4, size=n_rows).astype(np.int8)


@pytest.mark.parametrize("most", [1, 500, 10**6])
def test_counts_are_those_of_the_rows_without_duplicates(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "_MOST_ROWS", most)
    with DistinctVariants() as variants:
        for batch in batches(20, 100, 700):
            variants.add(*batch)
        n_variants, n_counted = variants.count(6, [0, 1])
        again = variants.count(6, [0, 1])
    table = pd.concat(
        pd.DataFrame(dict(zip(("place", "sample", "effect"), b, strict=True))) for b in batches(20, 100, 700)
    )
    table = table.sort_values("effect").drop_duplicates("place")
    assert n_variants.tolist() == [*table["sample"].value_counts().sort_index(), 0]
    assert n_counted.tolist() == [*table[table["effect"] < 2]["sample"].value_counts().sort_index(), 0]
    assert variants.n_rows == 2000
    np.testing.assert_array_equal(again, (n_variants, n_counted))


def test_nothing_added_is_nothing_counted() -> None:
    with DistinctVariants() as variants:
        assert [counts.tolist() for counts in variants.count(2, [0])] == [[0, 0], [0, 0]]


def test_rows_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "_MOST_ROWS", 20_000)
    tracemalloc.start()
    try:
        with DistinctVariants() as variants:
            for batch in batches(40, 10_000, 10**9):  # 400,000 distinct ones, 5.2 MB
                variants.add(*batch)
            n_variants, _ = variants.count(5, [0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 399_000 < n_variants.sum() <= 400_000
    assert peak < 3e6, peak


def test_no_room_for_the_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(burden, "_MOST_ROWS", 1)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with DistinctVariants() as variants, pytest.raises(DataError, match="No space left on device"):
        variants.add(*next(batches(1, 10, 10)))
