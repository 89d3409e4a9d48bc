"""One job in a process of its own: what it found, what it cost, and its last words where it failed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from halfmax.errors import DataError


def peak_memory_mb() -> float:
    """Return the most memory that this process has held [MB].

    ``/proc`` comes first: what getrusage says of a child starts from the memory of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text(encoding="ascii").splitlines() if row.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    import platform
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if platform.system() == "Linux" else 2**20))


def run_job(
    command: Sequence[Any], out: Path, what: str, *, cwd: Path | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run a command that writes predictions.parquet and cost.json to `out`; return both.

    Raises
    ------
    DataError
        If it fails, with the last lines that it wrote.
    """
    words = [str(part) for part in (*command, "--out", out)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=False)
    except OSError as error:
        raise DataError(f"{what} cannot be started: {words[0]}: {error.strerror}.") from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise DataError(f"{what} failed with exit status {done.returncode}:\n{last}")
    cost: dict[str, Any] = json.loads((out / "cost.json").read_text(encoding="utf-8"))
    return pd.read_parquet(out / "predictions.parquet"), cost
