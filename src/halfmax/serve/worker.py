"""The worker: a process that takes jobs from the queue, answers them piece by piece, and may be killed at any time."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from halfmax.errors import DataError, HalfmaxError
from halfmax.serve.inputs import Samples, read_upload, samples_of
from halfmax.serve.live import Live
from halfmax.serve.schemas import PredictRequest, RankRequest
from halfmax.serve.service import Service
from halfmax.serve.settings import DATABASE_URL, ServeSettings
from halfmax.serve.store.queue import Job
from halfmax.serve.store.store import Store

log = logging.getLogger(__name__)
#: Samples answered between two looks at whether the job is still wanted.
_PIECE = 64


class Worker:
    """Works off jobs, one at a time.

    Parameters
    ----------
    store, live
        The jobs, and the predictors that answer.
    idle
        How long to wait when there is nothing to do [s].
    """

    def __init__(self, store: Store, live: Live, *, idle: float = 0.5) -> None:
        self.store, self.live, self.idle = store, live, idle
        self.name = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until `stopping` is set."""
        while not self.stopping.is_set():
            try:
                if not self.step():
                    self.stopping.wait(self.idle)
            except Exception as error:  # the database may be locked or away; a worker tries again
                log.error("the queue does not answer: %s", type(error).__name__)
                self.stopping.wait(2.0)

    def step(self) -> bool:
        """Do one job; return whether there was one."""
        job = self.store.queue.claim(self.name)
        if job is None:
            return False
        try:
            self._do(job)
        except HalfmaxError as error:
            self.store.queue.fail(job, self.name, str(error))
        except Exception as error:
            log.error("job %s failed with %s", job.job_id, type(error).__name__)
            self.store.queue.fail(job, self.name, f"the service failed on it ({type(error).__name__}).")
        return True

    def _do(self, job: Job) -> None:
        asked = json.loads(job.request)
        with _Heartbeat(self, job) as beat:
            service, samples, options = self._prepare(job, asked)
            pieces = list(_pieces(samples))
            beat.total = sum(len(next(iter(piece.omics.values()))) for piece in pieces)
            with tempfile.TemporaryDirectory(prefix="halfmax-job-") as folder:
                path = Path(folder) / "result.parquet"
                if not self._answer(beat, service, pieces, options, path):
                    return
                digest = self.store.files.put(path)
            beat.stop()
        self.store.queue.finish(job, self.name, digest)

    def _prepare(self, job: Job, asked: dict[str, Any]) -> tuple[Service, Samples, dict[str, Any]]:
        kind, content = asked["kind"], asked["content"]
        settings = replace(self.store.settings, max_samples=1_000_000)
        if kind == "file":
            service = self.live.get(content["predictor"])
            path = self.store.files.path(job.input or "")
            samples = read_upload(path, content["name"], settings, modality="expression", unit=content["unit"])
            drugs = content["drugs"]
        else:
            model = RankRequest if kind == "rank" else PredictRequest
            request = model.model_validate(content)
            service = self.live.get(request.predictor)
            samples = samples_of(request, service, settings)
            drugs = getattr(request, "drugs", None)
        if not samples.omics:
            raise DataError("the job holds no sample.")
        options = {"drugs": drugs, "top": content.get("top"), "harmonise": content.get("harmonise", "none")}
        options["allow_low_coverage"] = content.get("allow_low_coverage", False)
        return service, samples, options

    def _answer(
        self, beat: _Heartbeat, service: Service, pieces: list[Samples], options: dict[str, Any], path: Path
    ) -> bool:
        """Write the answers of all pieces to a file; False if the job is not wanted or this worker is to stop."""
        tables = []
        for piece in pieces:
            if self.stopping.is_set():
                self.store.queue.give_back(beat.job, self.name)
                return False
            if beat.lost or not self.store.queue.renew(beat.job, self.name, done=beat.done, total=beat.total):
                return False
            tables.append(service.rank(piece.omics, samples=piece.about, **options).table)
            beat.done += len(next(iter(piece.omics.values())))
        pd.concat(tables, ignore_index=True).to_parquet(path, index=False)
        return True


class _Heartbeat:
    """Says every few seconds that the worker lives, while a job is done."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self.worker, self.job = worker, job
        self.done, self.total, self.lost = 0, 0, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        queue = self.worker.store.queue
        while not self._ended.wait(queue.lease / 4):
            try:
                self.lost = not queue.renew(self.job, self.worker.name, done=self.done, total=self.total)
            except Exception as error:  # a database that is locked now may answer at the next beat
                log.warning("a beat was missed: %s", type(error).__name__)


def _pieces(samples: Samples) -> Iterator[Samples]:
    """Yield the samples a few at a time."""
    ids = list(dict.fromkeys(i for frame in samples.omics.values() for i in frame.index))
    for start in range(0, len(ids), _PIECE):
        some = ids[start : start + _PIECE]
        omics = {m: frame.loc[[i for i in some if i in frame.index]] for m, frame in samples.omics.items()}
        about = None if samples.about is None else samples.about.loc[[i for i in some if i in samples.about.index]]
        yield Samples({m: frame for m, frame in omics.items() if len(frame)}, about)


def main(argv: list[str] | None = None) -> None:
    """Run one worker until it is told to end, or its parent is gone."""
    import argparse

    from halfmax.serve.threads import limit_threads

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--lease", type=float)
    args = parser.parse_args(argv)
    limit_threads(1)
    store = Store(ServeSettings(home=args.home, database_url=os.environ.get(DATABASE_URL)))
    if args.lease:
        store.queue.lease = args.lease
    worker = Worker(store, Live(store.predictors))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    if args.parent:
        threading.Thread(target=_watch, args=(args.parent, worker), daemon=True).start()
    worker.run()
    store.close()


def _watch(parent: int, worker: Worker) -> None:
    while os.getppid() == parent and not worker.stopping.is_set():
        time.sleep(1.0)
    worker.stopping.set()


if __name__ == "__main__":
    main()
