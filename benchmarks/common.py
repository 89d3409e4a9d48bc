"""What the benchmarks share: the fixed folds, the configuration of a run, the machine's description, result files."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from halfmax.config import RunConfig

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PROTOCOLS = ("LCO", "LPO", "LDO", "LTO")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PACKAGES = ("halfmax", "numpy", "scipy", "pandas", "scikit-learn", "torch", "lightgbm", "xgboost-cpu", "rdkit")


def folds_of(protocol: str) -> Path:
    """Return the file with the fixed folds of a protocol."""
    return HERE / "folds" / f"GDSC2_{protocol}.parquet"


def configuration(
    protocol: str, models: Sequence[str], *, only: Sequence[str] = (), data: Path | None = None, seed: int = 0
) -> RunConfig:
    """Return the run on the fixed folds: the embedded GDSC2 data, or a dataset folder with the same names."""
    from halfmax.config import RunConfig

    split = {"protocol": protocol, "folds": folds_of(protocol), "only": tuple(only)}
    return RunConfig.model_validate(
        {
            "name": f"anchors-{protocol}",
            "seed": seed,
            "models": tuple(models),
            "split": split,
            "data": {} if data is None else {"folder": data},
        }
    )


def set_threads(n: int) -> None:
    """Hold the numerical libraries that this process will import, and its children, to `n` threads."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(n)


def now() -> str:
    """Return the time, which also names a run."""
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def machine() -> dict[str, Any]:
    """Return what a figure depends on: the code that ran, processor, cores, load, versions, threads."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "source": source(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions,
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def source() -> dict[str, Any]:
    """Return which code is measured: a digest of the package's files, and the commit where there is one."""
    import hashlib
    import subprocess

    import halfmax

    package = Path(halfmax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    found: dict[str, Any] = {"sha256": digest.hexdigest()}
    try:
        git = ["git", "-C", str(package)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return found
    return found | {"commit": commit.stdout.strip(), "uncommitted_changes": bool(changed.stdout.strip())}


def peak_memory_mb() -> float:
    """Return the most memory that this process has held [MB].

    ``/proc`` comes first: what getrusage says of a child starts from the memory of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text(encoding="ascii").splitlines() if row.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if platform.system() == "Linux" else 2**20))


def merge_csv(path: Path, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Write `rows` into a result file; a row with the same `keys` takes the old one's place. Return the whole."""
    import pandas as pd

    from halfmax.data.storage import atomic_file

    if path.exists():
        old = pd.read_csv(path, dtype={"fold": str}, keep_default_na=False, na_values=["nan", ""])
        known = pd.MultiIndex.from_frame(rows[list(keys)].astype(str))
        old = old[~pd.MultiIndex.from_frame(old[list(keys)].astype(str)).isin(known)]
        rows = pd.concat([old, rows], ignore_index=True) if len(old) else rows
    with atomic_file(path) as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g")
    return rows


def add_run(path: Path, run: str, content: dict[str, Any]) -> None:
    """Record a run's circumstances beside its results, under the name that its rows carry."""
    import json

    from halfmax.data.storage import write_json

    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, runs | {run: content})


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
