"""Read many mutated files with every reader, and keep the log: no traceback, no hang.

The files are the small ones of the test suite with bytes cut out, put in, repeated or changed. A case is recognised and
read; it ends in an answer or in one of halfmax's own errors. The suite runs a few of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import HERE, RESULTS, machine, merge_csv, now, set_threads

sys.path.insert(0, str(HERE.parent))
SECONDS = 2.0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2500, help="of each file (default: %(default)s)")
    parser.add_argument("--only", nargs="+", help="names of files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd

    from halfmax.data.storage import write_json

    run = now()
    for name, (content, suffix, read) in seeds().items():
        if args.only and name not in args.only:
            continue
        row = {"file": name, "run": run} | fuzz(name, content, suffix, read, args.cases)
        print(row, flush=True)
        table = merge_csv(args.out / "fuzz_readers.csv", pd.DataFrame([row]), ("file",))
    write_json(args.out / "fuzz_readers.json", {"run": run, "machine": machine(), "cases": int(table["cases"].sum())})
    print(f"{table['cases'].sum():,} cases, {table['failures'].sum()} failures")


def seeds() -> dict[str, tuple[bytes, str, Callable[[Path], object]]]:
    """Return name → (content of a good file, name of the file, reader)."""
    from halfmax.data.readers.kinds import KINDS
    from tests.data import depmap_files, gdsc_files, small_tables, test_fuzz, test_tcga_fuzz

    found: dict[str, tuple[bytes, str, Callable[[Path], object]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, make) in depmap_files.FILES.items():
            found[kind] = depmap_files.put(Path(folder), name, make()).read_bytes(), name, KINDS.get(kind).read
        for name, (kind, *_) in gdsc_files.FILES.items():
            found[name] = gdsc_files.put(Path(folder), name).read_bytes(), name, KINDS.get(kind).read
    for name, (read, content) in test_tcga_fuzz.SEEDS.items():
        found[f"tcga {name}"] = content, "x.tsv", read
    matrix = small_tables.matrix(6).to_csv().encode()
    found["table-matrix"] = matrix, "x.csv", KINDS.get("table-matrix").read
    found["table-response"] = test_fuzz.RESPONSES, "x.csv", KINDS.get("table-response").read
    return found


def fuzz(name: str, content: bytes, filename: str, read: Callable[[Path], object], cases: int) -> dict[str, Any]:
    """Return what `cases` mutated files came to."""
    import numpy as np

    from halfmax.data.readers.kinds import recognise
    from halfmax.errors import HalfmaxError
    from tests.data.test_fuzz_depmap import mutated

    answered = refused = failures = slow = 0
    slowest, first = 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / filename
        for seed in range(cases):
            rng = np.random.default_rng([seed, len(content)])
            path.write_bytes(mutated(content, rng) if seed % 2 else touched(content, rng))
            started = time.process_time()
            try:
                with suppress(HalfmaxError):
                    recognise(path)
                read(path)
                answered += 1
            except HalfmaxError:
                refused += 1
            except Exception:  # what must not happen, and is counted
                failures += 1
                first = first or f"seed {seed}: {traceback.format_exc().splitlines()[-1]}"
            seconds = time.process_time() - started
            slowest, slow = max(slowest, seconds), slow + (seconds > SECONDS)
    counts = {"cases": cases, "answered": answered, "refused": refused, "failures": failures, "slow": slow}
    return counts | {"slowest_s": round(slowest, 3), "first_failure": first}


def touched(content: bytes, rng: Any) -> bytes:
    """Return the file with one to three letters or digits changed: most such files still are tables."""
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        if chr(changed[place]).isalnum():
            changed[place] = ord("0123456789-.,;e AZ"[rng.integers(18)])
    return bytes(changed)


if __name__ == "__main__":
    main()
