"""Client: the service's API from Python, with its problems as halfmax's errors and its tables as frames."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import requests

from halfmax.errors import DataError, HalfmaxError, UnknownNameError

#: How often a request is tried when the service has enough to do.
_TRIES = 5
_ENDED = ("done", "failed", "cancelled")


class ServiceError(HalfmaxError, RuntimeError):
    """An answer of the service that is neither a result nor about the input.

    Parameters
    ----------
    problem
        The RFC 9457 document: status, code, detail, row, column, hint.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail", problem)))
        self.problem = dict(problem)


class Client:
    """Asks a service.

    Parameters
    ----------
    url
        Where it is, such as ``http://127.0.0.1:8000``.
    token
        Bearer token, where one is needed.
    timeout
        How long to wait for an answer [s].
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, timeout: float = 120.0) -> None:
        self.url = url.rstrip("/") + "/api/v1"
        self.timeout = timeout
        self._session = requests.Session()
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def predict(
        self,
        samples: pd.DataFrame | Sequence[str],
        drugs: Sequence[str] | None = None,
        *,
        predictor: str = "latest",
        **options: Any,
    ) -> pd.DataFrame:
        """Predict samples × drugs; findings are in ``attrs``.

        Parameters
        ----------
        samples
            Expression, samples × genes; or ids of training samples that the service knows.
        drugs
            Ids or names; all by default.
        options
            ``unit``, ``harmonise``, ``allow_low_coverage``; see `Predictor.predict_samples`.

        Raises
        ------
        DataError, UnknownNameError
            If the service cannot use the input; the message is the service's.
        ServiceError
            If it fails or refuses.
        """
        return self._table("/predict", {**_samples(samples), "drugs": drugs, "predictor": predictor, **options})

    def rank(
        self,
        samples: pd.DataFrame | Sequence[str],
        top: int | None = None,
        *,
        predictor: str = "latest",
        **options: Any,
    ) -> pd.DataFrame:
        """Rank drugs for each sample, most sensitive first against each drug's own mean; see `predict`."""
        return self._table("/rank", {**_samples(samples), "top": top, "predictor": predictor, **options})

    def similar(
        self, samples: pd.DataFrame | Sequence[str], n: int = 10, *, predictor: str = "latest", **options: Any
    ) -> pd.DataFrame:
        """Return the training samples most like each sample; see `predict`."""
        return self._table("/similar", {**_samples(samples), "n": n, "predictor": predictor, **options})

    def explain(
        self, samples: pd.DataFrame | Sequence[str], drugs: Sequence[str], top: int = 20, **options: Any
    ) -> pd.DataFrame:
        """Return what each pair's prediction stands on: sample_id, drug_id, feature, attribution, …; see `predict`."""
        answer = self.ask("POST", "/explain", {**_samples(samples), "drugs": list(drugs), "top": top, **options})
        keys = ("sample_id", "drug_id", "difference", "additivity_gap")
        rows = [{**{k: pair[k] for k in keys}, **row} for pair in answer["pairs"] for row in pair["rows"]]
        return _frame(rows, answer)

    def rank_file(self, path: Path | str, **query: Any) -> pd.DataFrame:
        """Rank drugs for every sample of an expression table on disk; ``unit``, ``top``, ``drugs`` as in the API."""
        with Path(path).open("rb") as file:
            answer = self.ask("POST", "/rank/upload", files={"file": (Path(path).name, file)}, query=query)
        return _frame(answer["rows"], answer)

    def submit(self, samples: pd.DataFrame | Sequence[str], drugs: Sequence[str] | None = None, **options: Any) -> str:
        """Submit a prediction as a job, and return its id; the job is on the service's disk by then."""
        body = {**_samples(samples), "drugs": drugs, **options}
        return str(self.ask("POST", "/jobs/predict", body)["job_id"])

    def submit_file(self, path: Path | str, **query: Any) -> str:
        """Submit an expression table on disk as a job, and return its id."""
        with Path(path).open("rb") as file:
            return str(self.ask("POST", "/jobs/upload", files={"file": (Path(path).name, file)}, query=query)["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return where a job is: state, done, total, error."""
        return self.ask("GET", f"/jobs/{job_id}")

    def wait(self, job_id: str, *, seconds: float = 3600.0, every: float = 0.5) -> pd.DataFrame:
        """Wait for a job, and return its table.

        Raises
        ------
        ServiceError
            If it failed, was cancelled, or is not done in time.
        """
        until = time.monotonic() + seconds
        while (told := self.job(job_id))["state"] not in _ENDED:
            if time.monotonic() > until:
                raise ServiceError({"detail": f"job {job_id} is still {told['state']} after {seconds:g} s.", **told})
            time.sleep(every)
        if told["state"] != "done":
            raise ServiceError({"detail": told["error"] or f"job {job_id} was {told['state']}.", **told})
        answer = self.ask("GET", f"/jobs/{job_id}/result")
        return _frame(answer["rows"], answer)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job."""
        return self.ask("POST", f"/jobs/{job_id}/cancel")

    def delete(self, job_id: str) -> None:
        """Delete a job, what was sent with it, and its result."""
        self.ask("DELETE", f"/jobs/{job_id}")

    def drugs(self, predictor: str = "latest") -> pd.DataFrame:
        """Return the drugs that a predictor knows."""
        answer = self.ask("GET", "/drugs", query={"predictor": predictor, "limit": 10_000})
        return _frame(answer["rows"], answer)

    def card(self, predictor: str = "latest") -> dict[str, Any]:
        """Return a predictor's card."""
        return self.ask("GET", f"/predictors/{predictor}")

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the answer to any request of the API as JSON; one that says 503 is tried again when it says."""
        sent = None if body is None else {k: v for k, v in body.items() if v is not None}
        for left in reversed(range(_TRIES)):
            answer = self._session.request(
                method, self.url + path, json=sent, params=query, files=files, timeout=self.timeout
            )
            if answer.status_code != 503 or not left or files is not None:
                break
            time.sleep(min(float(answer.headers.get("Retry-After", 1)), 30.0))
        try:
            content: dict[str, Any] = answer.json()
        except ValueError:
            raise ServiceError({"detail": f"{self.url} answered {answer.status_code} and no JSON."}) from None
        if answer.ok:
            return content
        detail = str(content.get("detail", content))
        if content.get("code") == "unknown-name":
            raise UnknownNameError(detail)
        if answer.status_code in (400, 422):
            raise DataError(detail)
        raise ServiceError(content)

    def _table(self, path: str, body: Mapping[str, Any]) -> pd.DataFrame:
        answer = self.ask("POST", path, body)
        return _frame(answer["rows"], answer)


def _samples(samples: pd.DataFrame | Sequence[str]) -> dict[str, Any]:
    """Return samples as the API takes them; missing values are left out."""
    if not isinstance(samples, pd.DataFrame):
        return {"known": [samples] if isinstance(samples, str) else list(samples)}
    values, genes = samples.to_numpy(dtype=np.float64), [str(c) for c in samples.columns]
    if np.isinf(values).any():
        raise DataError(f"{int(np.isinf(values).sum())} values of the samples are infinite; correct or leave them out.")
    profiles = []
    for name, row, known in zip(samples.index, values.tolist(), np.isfinite(values).tolist(), strict=True):
        given = {gene: value for gene, value, there in zip(genes, row, known, strict=True) if there}
        profiles.append({"sample_id": str(name), "expression": given})
    return {"samples": profiles}


def _frame(rows: list[dict[str, Any]], answer: Mapping[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.attrs = {k: v for k, v in answer.items() if k not in ("rows", "pairs")}
    return frame
