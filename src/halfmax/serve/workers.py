"""Workers: the processes that work off jobs, started beside the service and again when one dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from halfmax.serve.settings import DATABASE_URL, ServeSettings

log = logging.getLogger(__name__)
_LOOK_EVERY, _END_SECONDS = 1.0, 10.0


class Workers:
    """Keeps so many worker processes alive.

    Parameters
    ----------
    settings
        How many, and where their store is.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start them."""
        self._processes = [self._one() for _ in range(self.settings.job_workers)]
        if self._processes:
            self._thread.start()

    def stop(self) -> None:
        """Let each finish its piece and end; what does not end is killed, and its job done by another later."""
        self._ended.set()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _one(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "halfmax.serve.worker", "--home", str(self.settings.home)]
        # not among the arguments, which every user of the machine can read
        env = os.environ | ({DATABASE_URL: url} if (url := self.settings.database_url) else {})
        return subprocess.Popen([*command, "--parent", str(os.getpid())], stdin=subprocess.DEVNULL, env=env)

    def _keep(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            for place, process in enumerate(self._processes):
                if process.poll() is not None and not self._ended.is_set():
                    log.warning("a worker ended with %d; another takes its place", process.returncode)
                    self._processes[place] = self._one()
