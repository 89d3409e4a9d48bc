"""Bulk scoring: samples × a library of compounds, or samples × all known drugs, in shards on disk."""

from halfmax.screening.shards import Screened, screen

__all__ = ["Screened", "screen"]
