"""Structures from outside, parsed in a child process that may be killed: some SMILES keep RDKit busy for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from halfmax.data.structures import MAX_CHARACTERS
from halfmax.errors import DataError

#: How long one structure may take [s].
SECONDS = 2.0
_START_SECONDS = 60.0
_CHILD = """
import json, sys
from halfmax.data.structures import check_smiles, inchi_key, parse_smiles
from halfmax.errors import DataError
parse_smiles("C")  # loads RDKit
print("ready", flush=True)
for line in sys.stdin:
    try:
        smiles = json.loads(line)
        whole = parse_smiles(smiles)
        kept = check_smiles(smiles)
        told = {"smiles": kept, "inchi_key": inchi_key(smiles), "heavy_atoms": whole.GetNumHeavyAtoms()}
        told["fragments_removed"] = parse_smiles(kept).GetNumHeavyAtoms() < whole.GetNumHeavyAtoms()
    except DataError as error:
        told = {"error": str(error)}
    print(json.dumps(told), flush=True)
"""


class SmilesChecker:
    """Checks structures one at a time in a child process.

    Parameters
    ----------
    seconds
        How long one may take [s]; then the child is killed, and the next structure gets a new one.
    """

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def check(self, smiles: str) -> dict[str, object]:
        """Return smiles (canonical, of the largest fragment), inchi_key, heavy_atoms and fragments_removed.

        Raises
        ------
        DataError
            If it is no usable structure, or parsing it takes too long.
        """
        if len(smiles) > MAX_CHARACTERS:  # no process needed to refuse it
            raise DataError(f"the SMILES has {len(smiles):,} characters; the limit is {MAX_CHARACTERS:,}.")
        with self._lock:
            child = self._child
            if child is None or child.poll() is not None:
                child = self._start()
            answer = self._ask(child, json.dumps(smiles), self.seconds)
            if answer is None:
                self._end()
                raise DataError(f"parsing the SMILES took more than {self.seconds:g} s; is it one drug's structure?")
        told: dict[str, object] = json.loads(answer)
        if "error" in told:
            raise DataError(str(told["error"]))
        return told

    def close(self) -> None:
        """End the child process."""
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._child = child
        if self._ask(child, None, _START_SECONDS) != "ready\n":
            self._end()
            raise DataError("structures cannot be checked at the moment; try again.")
        return child

    def _ask(self, child: subprocess.Popen[str], line: str | None, seconds: float) -> str | None:
        """Return the child's next line, or None if it does not come in time or the child is gone."""
        if child.stdin is None or child.stdout is None:
            return None
        killer = threading.Timer(seconds, child.kill)
        killer.start()
        try:
            if line is not None:
                child.stdin.write(line + "\n")
                child.stdin.flush()
            return child.stdout.readline() or None
        except (OSError, ValueError):
            return None
        finally:
            killer.cancel()

    def _end(self) -> None:
        if (child := self._child) is None:
            return
        self._child = None
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what it was still to be sent
                    continue
        child.wait()
