"""Load the service: answering times and rates of the kinds of requests that it promises, and overload.

    python benchmarks/serve_load.py runs/default/predictor --seconds 10

Starts ``halfmax serve`` on this machine, asks it from one process over plain sockets, and prints and appends one row a
kind to ``results/serve_load.csv``. ``repeated`` asks about training samples, whose answers are remembered after the
first; ``profile`` sends a whole profile with each request, no two alike. ``naive`` is the same predictor asked pair by
pair in one process, without the service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, now, source

_SERVE = "import typer; from halfmax.cli_serve import serve; typer.run(serve)"
_PORT = 8765


class Asker:
    """Clients that ask one after the other, each on its own connection."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.statuses: list[int] = []

    async def ask(self, requests: list[bytes], n_clients: int, seconds: float) -> float:
        until, started = time.perf_counter() + seconds, time.perf_counter()
        await asyncio.gather(*(self._client(requests, k, until) for k in range(n_clients)))
        return time.perf_counter() - started

    async def _client(self, requests: list[bytes], k: int, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(requests[k % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.took.append(time.perf_counter() - began)
            self.statuses.append(int(head.split(b" ", 2)[1]))
            k += 17
        writer.close()


def request(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def row(kind: str, asker: Asker, seconds: float, clients: int) -> dict[str, object]:
    good = [t for t, s in zip(asker.took, asker.statuses, strict=True) if s == 200]
    quantiles = np.quantile(good, [0.5, 0.99]) * 1e3 if good else [np.nan, np.nan]
    return {
        "kind": kind,
        "clients": clients,
        "requests": len(asker.took),
        "per_s": round(len(good) / seconds, 1),
        "p50_ms": round(float(quantiles[0]), 1),
        "p99_ms": round(float(quantiles[1]), 1),
        "busy_503": asker.statuses.count(503),
        "other": sum(s not in (200, 503) for s in asker.statuses),
    }


def measure(pid: int, kind: str, requests: list[bytes], clients: int, seconds: float) -> dict[str, object]:
    asker, before = Asker(), cpu_of(pid)
    spent = asyncio.run(asker.ask(requests, clients, seconds))
    each = (cpu_of(pid) - before) / max(len(asker.took), 1) * 1e3
    return {**row(kind, asker, spent, clients), "server_cpu_ms_each": round(each, 2)}


def cpu_of(pid: int) -> float:
    """Return the processor time that a process has used [s]; unlike waiting, it does not grow on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def overloaded(requests: list[bytes], seconds: float) -> list[dict[str, object]]:
    many, probe = Asker(), Asker()
    live = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    spent, _ = await asyncio.gather(many.ask(requests, 200, seconds), probe.ask([live], 1, seconds))
    return [row("overload: 1 × all, profile", many, spent, 200), row("overload: livez", probe, spent, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictor", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--upload", type=int, default=2000, help="samples of the uploaded table; 0 = none")
    parser.add_argument("--out", type=Path, default=RESULTS / "serve_load.csv")
    args = parser.parse_args()
    from halfmax.predictor import Predictor

    predictor = Predictor.load(args.predictor)
    drugs = [str(i) for i in predictor.drugs_.index]
    genes = predictor.features_.input_names("expression")
    rng = np.random.default_rng(0)
    profiles = rng.normal(6, 2, (200, len(genes))).round(3)
    whole = [{"samples": [{"expression": dict(zip(genes, map(float, p), strict=True))}]} for p in profiles]
    rows = [naive(predictor, profiles[:1], drugs)]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", _SERVE, str(args.predictor), "--port", str(_PORT), "--home", home]
        began = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen([*command, "--workers", "0"], env=environment, stderr=subprocess.DEVNULL) as server:
            try:
                ids = wait_until_ready()
                rows.append({"kind": "ready", "p50_ms": round((time.perf_counter() - began) * 1e3)})
                rows += loads(server.pid, args, ids, drugs, whole)
                if args.upload:
                    rows.append(upload(args.upload, genes, rng))
            finally:
                began = time.perf_counter()
                server.terminate()
                server.wait(30)
                rows.append({"kind": "SIGTERM to exit", "p50_ms": round((time.perf_counter() - began) * 1e3)})
    table = pd.DataFrame(rows).assign(model=predictor.model_name, n_drugs=len(drugs), run=now(), **source())
    table = table.assign(load_1min=os.getloadavg()[0], cores=os.cpu_count())
    print(table.to_string())
    table.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)


def loads(
    pid: int, args: argparse.Namespace, ids: list[str], drugs: list[str], whole: list[dict]
) -> list[dict[str, object]]:
    few = ids[:100]
    known = [request("/predict", {"known": [i], "drugs": [drugs[k % len(drugs)]]}) for k, i in enumerate(few)]
    one = [request("/predict", {**w, "drugs": [drugs[k % len(drugs)]]}) for k, w in enumerate(whole)]
    every = [request("/predict", w) for w in whole]
    rows = []
    if known:
        measure(pid, "warm up", known, 4, 1 + args.seconds / 4)
        rows.append(measure(pid, "1 × 1, repeated", known, 16, args.seconds))
    rows.append(measure(pid, "1 × 1, profile", one, 16, args.seconds))
    rows.append(measure(pid, "1 × all, profile", every, 8, args.seconds))
    rows += asyncio.run(overloaded(every, args.seconds))
    if known:
        rows.append(measure(pid, "1 × 1, repeated, after overload", known, 16, args.seconds / 2))
    return rows


def naive(predictor, profile: np.ndarray, drugs: list[str]) -> dict[str, object]:  # type: ignore[no-untyped-def]
    frame = pd.DataFrame(profile, index=["x"], columns=list(predictor.features_.input_names("expression")))
    began, n = time.process_time(), 5
    for drug in drugs[:n]:
        predictor.predict_samples({"expression": frame}, drugs=[drug])
    each = (time.process_time() - began) / n * 1e3
    return {"kind": "1 × all, naive, processor time", "p50_ms": round(each * len(drugs), 1), "requests": len(drugs)}


def upload(n: int, genes: tuple[str, ...], rng: np.random.Generator) -> dict[str, object]:
    import requests

    table = pd.DataFrame(
        rng.normal(6, 2, (n, len(genes))).round(2), index=[f"S{i}" for i in range(n)], columns=list(genes)
    )
    content = table.to_csv(index_label="sample")
    began = time.perf_counter()
    url = f"http://127.0.0.1:{_PORT}/api/v1/rank/upload?top=10&unit=rma&format=csv"
    answer = requests.post(url, data=content.encode(), headers={"Content-Type": "text/csv"}, timeout=300)
    took = (time.perf_counter() - began) * 1e3
    return {"kind": f"upload of {n} samples, ranked", "p50_ms": round(took), "other": int(answer.status_code != 200)}


def wait_until_ready() -> list[str]:
    import requests

    for _ in range(1200):
        try:
            if requests.get(f"http://127.0.0.1:{_PORT}/readyz", timeout=5).status_code == 200:
                break
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    answer = requests.get(f"http://127.0.0.1:{_PORT}/api/v1/samples?limit=1000", timeout=60)
    return [r["sample_id"] for r in answer.json().get("rows", [])]


if __name__ == "__main__":
    main()
