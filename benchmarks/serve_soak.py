"""Kill the service and its workers, again and again, and count the acknowledged jobs that are lost: none may be.

    python benchmarks/serve_soak.py --rounds 100 --acks 5000

Each round starts the API's store and workers as processes of their own, submits jobs until a random moment, and ends
all of them with SIGKILL. At last a whole set of workers finishes what is there. Every acknowledged job must have ended,
every finished one must have exactly one result, and the database must be whole. The jobs are small on purpose: what is
measured is the queue. Results are appended to ``results/serve_soak.csv``.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from common import RESULTS, now, source

from halfmax.serve.settings import DATABASE_URL, ServeSettings

if TYPE_CHECKING:
    from halfmax.serve.store.store import Store

# Only what the queue needs is imported, so that a round is short.
_BOTH = """
import os, sys, time
from pathlib import Path
from halfmax.serve.store.database import Database
from halfmax.serve.store.files import Files
from halfmax.serve.store.queue import Queue
home, url, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
queue, files = Queue(Database(url), lease=1.0), Files(home / "files")
"""
# An id is written out after the commit: that is the acknowledgement.
_SUBMIT = (
    _BOTH
    + """
for _ in range(n):
    digest = files.put(b"a profile")
    print(queue.submit("soak", "{}", input=digest), flush=True)
"""
)
_WORK = (
    _BOTH
    + """
name = f"w{os.getpid()}"
while True:
    job = queue.claim(name)
    if job is None:
        time.sleep(0.02)
        continue
    digest = files.put(b"result of " + job.job_id.encode())
    queue.finish(job, name, digest)
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--acks", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "serve_soak.csv")
    args = parser.parse_args()
    found = soak(args.rounds, args.acks, args.seed, os.environ.get(DATABASE_URL, ""))
    table = pd.DataFrame([found]).assign(run=now(), **source())
    print(table.T.to_string())
    table.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)


def soak(rounds: int, acks: int, seed: int = 0, url: str = "") -> dict[str, object]:
    """Return what was acknowledged, lost and doubled."""
    from halfmax.serve.store.store import Store

    chance, acknowledged = random.Random(seed), []
    done_rounds = 0
    with tempfile.TemporaryDirectory(prefix="halfmax-soak-") as home:
        settings = ServeSettings(home=Path(home), database_url=url or None)
        store, url = Store(settings), settings.url
        while done_rounds < rounds or len(acknowledged) < acks:
            each = max(20, (acks - len(acknowledged)) // max(rounds - done_rounds, 1) + 20)
            acknowledged += _round(home, url, each, chance)
            done_rounds += 1
        left = _finish(store, home, url)
        states = {job_id: state for job_id, state in _rows(store, "SELECT job_id, state FROM jobs")}
        results = [job_id for (job_id,) in _rows(store, "SELECT job_id FROM results")]
        sound = not store.database.is_sqlite or _rows(store, "PRAGMA integrity_check")[0][0] == "ok"
        store.close()
    ended = {j for j, s in states.items() if s in ("done", "failed")}
    return {
        "database": url.partition(":")[0],
        "rounds": done_rounds,
        "acknowledged": len(acknowledged),
        "lost": len(set(acknowledged) - ended),
        "done": sum(s == "done" for s in states.values()),
        "poison": sum(s == "failed" for s in states.values()),
        "results_twice": len(results) - len(set(results)),
        "done_without_result": len({j for j, s in states.items() if s == "done"} - set(results)),
        "left_at_the_end": left,
        "database_sound": sound,
    }


def _round(home: str, url: str, each: int, chance: random.Random) -> list[str]:
    workers = [subprocess.Popen([sys.executable, "-c", _WORK, home, url, "0"])]
    submit = [sys.executable, "-c", _SUBMIT, home, url, str(each)]
    heard: list[str] = []
    with subprocess.Popen(submit, stdout=subprocess.PIPE, text=True) as submitter:
        if submitter.stdout is None:
            raise RuntimeError("no pipe")
        stop_at = chance.randint(max(each - 30, 1), each)
        for line in submitter.stdout:
            if line.endswith("\n"):
                heard.append(line.strip())
            if len(heard) >= stop_at:
                time.sleep(chance.random() * 0.05)
                break
        submitter.send_signal(signal.SIGKILL)
        heard += [line.strip() for line in submitter.stdout if line.endswith("\n")]
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    return heard


def _finish(store: Store, home: str, url: str) -> int:
    worker = subprocess.Popen([sys.executable, "-c", _WORK, home, url, "0"])
    until = time.monotonic() + 600
    while (left := sum(store.queue.counts().get(s, 0) for s in ("queued", "running"))) and time.monotonic() < until:
        time.sleep(0.2)
    worker.kill()
    worker.wait()
    return left


def _rows(store: Store, query: str) -> list[tuple]:
    from sqlalchemy import text

    with store.database.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


if __name__ == "__main__":
    main()
