"""Fetch a file through random sequences of network faults; count right files, clear errors, and anything else.

A server on this machine cuts connections, falls silent, drips, answers busy or with pages and messages, ignores ranges
or the version they belong to, sends another range, redirects, and changes the file between two requests. In some
sequences the process that fetches is killed (SIGKILL) again and again. Allowed ends are: the bytes of one version of
the file, whole (with a digest, of that version alone); or a DownloadError and no file. After an error the faults stop,
and the next call must bring the file, unless the file that is served has another digest than the known one.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, machine, now

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the faulty server is the tests' own

if TYPE_CHECKING:
    import numpy as np

    from halfmax.data.verify import Expected
    from tests.data.faulty_server import Faults

FAULTS = (
    "cut",
    "cut at once",
    "busy",
    "error",
    "silent",
    "drip",
    "page",
    "message",
    "wrong range",
    "no ranges",
    "change",
)
PARALLEL_FROM = 1_000_000
SETTINGS = {"BACKOFF": 0.01, "PARALLEL_FROM": PARALLEL_FROM, "STALL_SECONDS": 0.3}
TIMEOUT = 0.4
KILLS = 4
#: Bytes a piece where a process is to be killed while they come.
SLOW = 30_000
CHILD = f"""
import sys
from pathlib import Path
from halfmax.data import download as engine, partial
from halfmax.data.verify import Expected
from halfmax.data.web import Link, Web, WebSettings
for name, value in {SETTINGS!r}.items():
    setattr(engine, name, value)
partial.JOURNAL_SECONDS = 0.02
url, target, sha256 = sys.argv[1], Path(sys.argv[2]), sys.argv[3] or None
web, known = Web(WebSettings(timeout={TIMEOUT})), Expected(target.name, sha256)
try:
    engine.download(web, Link(url), known, target, target.parent / "quarantine", lambda done, of: None)
except engine.DownloadError as error:
    sys.exit(f"DownloadError: {{error}}")
"""


@dataclass
class Play:
    """One sequence: the versions of the file, the server's habits, and the fault of each request."""

    rng: np.random.Generator
    known: str
    kill: bool
    versions: list[bytes] = field(default_factory=list)
    habits: dict[str, Any] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @classmethod
    def draw(cls, seed: int) -> Play:
        import numpy as np

        rng = np.random.default_rng(seed)
        play = cls(rng, str(rng.choice(["sha256", "md5", "nothing"])), kill=bool(rng.random() < 0.2))
        play.versions.append(play.content())
        validator = rng.choice(["etag", "date", "both", "none"], p=[0.4, 0.2, 0.2, 0.2])
        play.habits = {
            "etag": '"v0"' if validator in ("etag", "both") else "",
            "last_modified": date(0) if validator in ("date", "both") else "",
            "ranges": bool(rng.random() < 0.85),
            "heed_if_range": bool(rng.random() < 0.7),
            "chunked": bool(rng.random() < 0.15),
        }
        play.habits["length"] = bool(rng.random() < 0.9)
        n_faults = int(rng.integers(1, 17))
        play.plan = [str(f) for f in rng.choice(["none", *FAULTS], size=n_faults)]
        return play

    def content(self) -> bytes:
        size = int(self.rng.integers(1, 3_000_000))
        return b"PK" + self.rng.bytes(size)

    def before(self, tricks: Faults) -> None:
        """Set up the fault of this request."""
        with tricks.lock:
            fault = self.plan[len(self.done)] if len(self.done) < len(self.plan) else "none"
            self.done.append(fault)
            tricks.html, tricks.wrong_range, tricks.ranges = None, 0, self.habits["ranges"]
            size = len(tricks.content)
            if fault == "cut":
                tricks.cut_after.append(int(self.rng.integers(0, size)))
            elif fault == "cut at once":
                tricks.cut_after.append(0)
            elif fault in ("busy", "error"):
                tricks.status.append(int(self.rng.choice([429, 503] if fault == "busy" else [500, 404, 403, 416])))
            elif fault == "silent":
                tricks.slow.append((max(1, size // 3), 2 * TIMEOUT))
            elif fault == "drip":
                tricks.slow.append((200, 0.05))
            elif fault in ("page", "message"):
                tricks.html = b"<html>Please log in</html>" if fault == "page" else b'{"message": "quota"}'
                tricks.html_type = "text/html" if self.rng.random() < 0.5 and fault == "page" else "text/plain"
            elif fault == "wrong range":
                tricks.wrong_range = 1
            elif fault == "no ranges":
                tricks.ranges = False
            elif fault == "change":
                self.versions.append(self.content())
                n = len(self.versions) - 1
                tricks.content = self.versions[-1]
                tricks.etag = f'"v{n}"' if tricks.etag else ""
                tricks.last_modified = date(n) if tricks.last_modified else ""
            if self.kill and fault in ("none", "cut", "wrong range", "no ranges", "change"):
                tricks.slow.append((SLOW, 0.02))  # so that there is something to kill


def date(n: int) -> str:
    return f"Mon, 01 Jan 2024 00:{n:02}:00 GMT"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first sequence (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)

    import pandas as pd

    from halfmax.data import download as engine
    from halfmax.data.storage import atomic_file, write_json

    for name, value in SETTINGS.items():
        setattr(engine, name, value)
    logging.disable(logging.WARNING)
    began, rows = time.process_time(), []
    for seed in range(args.seed, args.seed + args.sequences):
        rows.append(run(seed))
        if rows[-1]["verdict"] != "ok":
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    summary = {
        "run": now(),
        "machine": machine(),
        "sequences": len(table),
        "first": table["first"].value_counts().to_dict(),
        "later": table["later"].value_counts().to_dict(),
        "wrong": int((table["verdict"] != "ok").sum()),
        "requests": int(table["requests"].sum()),
        "kills": int(table["kills"].sum()),
        "in_parts": int(table["in_parts"].sum()),
        "faults": pd.Series(" ".join(table["faults"]).split()).value_counts().to_dict(),
        "slowest_s": round(float(table["wall_s"].max()), 1),
        "cpu_s": round(time.process_time() - began, 1),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(args.out / "download_faults.csv") as path:
        table.to_csv(path, index=False)
    write_json(args.out / "download_faults.json", summary)
    print({key: value for key, value in summary.items() if key != "machine"})
    if summary["wrong"]:
        sys.exit(f"{summary['wrong']} sequences did not end as they must")


def run(seed: int) -> dict[str, Any]:
    """Play one sequence and judge its end."""
    from halfmax.data.verify import Expected
    from tests.data.faulty_server import Faults, serving

    play, began = Play.draw(seed), time.monotonic()
    tricks = Faults(content=play.versions[0], before=play.before, **play.habits)
    digest = hashlib.md5 if play.known == "md5" else hashlib.sha256
    known = None if play.known == "nothing" else digest(play.versions[0]).hexdigest()
    expected = Expected("file.bin", **({} if known is None else {play.known: known}))
    kills, later = 0, ""
    with tempfile.TemporaryDirectory() as folder, serving(tricks) as server:
        target, url = Path(folder) / "file.bin", f"{server.origin}/file.bin"
        if play.kill and play.known != "md5":
            kills = killed(url, target, known or "", play)
        first, error = attempt(url, target, expected)
        good = judge(target, first, error, play, known)
        if first == "error":
            tricks.before, tricks.html, tricks.wrong_range = None, None, 0
            tricks.cut_after, tricks.status, tricks.slow = [], [], []
            tricks.ranges, tricks.length = play.habits["ranges"], True
            later, error = attempt(url, target, expected)
            replaced = known is not None and tricks.content != play.versions[0]
            good = good and judge(target, later, error, play, known) and (later == ("error" if replaced else "file"))
    return {
        "seed": seed,
        "known": play.known,
        "in_parts": any("-" in a.get("Range", "") and not a["Range"].endswith("-") for a in tricks.asked),
        "faults": " ".join(f.replace(" ", "_") for f in play.done if f != "none"),
        "habits": " ".join(k for k, v in play.habits.items() if v),
        "requests": len(tricks.asked),
        "kills": kills,
        "first": first,
        "later": later,
        "verdict": "ok" if good else "WRONG",
        "wall_s": round(time.monotonic() - began, 2),
        "error": error[:160].replace(url, "URL").replace("\n", " ").replace(folder, "FOLDER"),
    }


def attempt(url: str, target: Path, expected: Expected) -> tuple[str, str]:
    """Fetch; return `file`, `error` or the name of an exception that may not come out, and the message."""
    from halfmax.data.download import download
    from halfmax.data.web import Link, Web, WebSettings
    from halfmax.errors import DownloadError

    web = Web(WebSettings(timeout=TIMEOUT))
    try:
        download(web, Link(url), expected, target, target.parent / "quarantine", lambda done, of: None)
    except DownloadError as error:
        return "error", str(error)
    except Exception as error:
        return type(error).__name__, str(error)
    return "file", ""


def judge(target: Path, end: str, error: str, play: Play, known: str | None) -> bool:
    """Return whether an attempt ended as it may."""
    if end == "file":
        allowed = play.versions if known is None else play.versions[:1]
        return target.is_file() and target.read_bytes() in allowed and not list(target.parent.glob("*.part*"))
    return end == "error" and bool(error) and not target.exists()


def killed(url: str, target: Path, known: str, play: Play) -> int:
    """Start the fetching process, and kill it after a short while, several times; return how often it was killed."""
    kills = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", CHILD, url, str(target), known]
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
        try:
            child.wait(timeout=float(play.rng.uniform(0.3, 1.5)))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
        if target.exists():
            target.unlink()  # it was faster: once more, so that there is something to kill
    return kills


if __name__ == "__main__":
    main()
