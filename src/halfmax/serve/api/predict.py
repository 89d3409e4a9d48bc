"""Routes that answer questions about samples: predict, rank, explain, similar; as JSON or from an uploaded table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pandas as pd
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from halfmax.data.findings import Finding
from halfmax.serve.answers import json_response, rows_of_table, table_response
from halfmax.serve.api.route import PROBLEMS, StrictRoute
from halfmax.serve.api.state import State, Who
from halfmax.serve.inputs import Samples, read_upload, received, samples_of
from halfmax.serve.schemas import ExplainRequest, Name, PredictRequest, RankRequest, SimilarRequest, TableAnswer
from halfmax.serve.service import Answer, Service

router = APIRouter(route_class=StrictRoute, tags=["samples"], responses=PROBLEMS)
Format = Annotated[Literal["json", "csv"], Query(description="json, or csv with a line on what it is.")]
_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "gene,S1,S2\nTP53,5.1,4.9\nEGFR,8.7,2.2\n"},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}


def about(service: Service) -> dict[str, Any]:
    """Return which predictor answered."""
    return {"name": service.name, "model": service.predictor.model_name, "digest": service.digest}


@router.post("/predict", response_model=TableAnswer)
async def predict(asked: PredictRequest, state: State, who: Who, format: Format = "json") -> Response:
    """Predict samples × drugs, with each prediction beside the drug's own distribution in training."""

    def work() -> Response:
        service = state.live.get(asked.predictor)
        samples = samples_of(asked, service, state.settings)
        options = {"allow_low_coverage": asked.allow_low_coverage, "harmonise": asked.harmonise}
        if asked.new_drugs:
            known = {drug.name: state.smiles.check(drug.smiles) for drug in asked.new_drugs}
            answer = service.predict_new_drugs(samples.omics, known, samples=samples.about, **options)
        else:
            key = samples.key
            answer = service.predict(samples.omics, drugs=asked.drugs, samples=samples.about, key=key, **options)
        return _table(answer, samples, service, format)

    return await state.compute(work)


@router.post("/rank", response_model=TableAnswer)
async def rank(asked: RankRequest, state: State, who: Who, format: Format = "json") -> Response:
    """Rank all drugs for each sample, most sensitive first against each drug's own mean."""

    def work() -> Response:
        service = state.live.get(asked.predictor)
        samples = samples_of(asked, service, state.settings)
        answer = service.rank(
            samples.omics,
            top=asked.top,
            samples=samples.about,
            allow_low_coverage=asked.allow_low_coverage,
            harmonise=asked.harmonise,
            key=samples.key,
        )
        return _table(answer, samples, service, format)

    return await state.compute(work)


@router.post("/rank/upload", response_model=TableAnswer, openapi_extra=_FILE)
async def rank_upload(
    request: Request,
    state: State,
    who: Who,
    predictor: Name = "latest",
    unit: Name | None = None,
    top: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    drugs: Annotated[str | None, Query(max_length=20_000, description="Comma-separated names.")] = None,
    allow_low_coverage: bool = False,
    harmonise: Name = "none",
    format: Format = "json",
) -> Response:
    """Rank drugs for every sample of an expression table: CSV, TSV, gzip, Parquet or .xlsx, whichever way it lies."""
    wanted = None if drugs is None else [d.strip() for d in drugs.split(",") if d.strip()]
    async with received(request, state.settings) as (path, name):

        def work() -> Response:
            service = state.live.get(predictor)
            samples = read_upload(path, name, state.settings, modality="expression", unit=unit)
            answer = service.rank(
                samples.omics, top=top, drugs=wanted, allow_low_coverage=allow_low_coverage, harmonise=harmonise
            )
            return _table(answer, samples, service, format)

        return await state.compute(work)


@router.post("/explain")
async def explain(asked: ExplainRequest, state: State, who: Who) -> Response:
    """Say which genes the predictions of one sample stand on; attributions sum to the predicted difference."""

    def work() -> Response:
        service = state.live.get(asked.predictor)
        samples = samples_of(asked, service, state.settings)
        found = service.explain(
            samples.omics,
            asked.drugs,
            samples=samples.about,
            tissue=asked.tissue,
            allow_low_coverage=asked.allow_low_coverage,
        )
        pairs = [
            {
                "sample_id": str(sample),
                "drug_id": str(drug),
                "prediction": float(found.prediction[i, j]),
                "base": float(found.base[j]),
                "difference": float(found.difference[i, j]),
                "additivity_gap": float(found.gap[i, j]),
                "rows": rows_of_table(found.genes(str(sample), str(drug), asked.top)),
            }
            for i, sample in enumerate(found.sample_ids)
            for j, drug in enumerate(found.drug_ids)
        ]
        told = [*samples.findings, *found.findings]
        return json_response(
            {
                "predictor": about(service),
                "measure": service.measure,
                "method": found.method,
                "background": dict(found.background),
                "findings": [finding.to_dict() for finding in told],
                "pairs": pairs,
            }
        )

    return await state.compute(work)


@router.post("/similar", response_model=TableAnswer)
async def similar(asked: SimilarRequest, state: State, who: Who, format: Format = "json") -> Response:
    """Return the training samples whose profiles are most like each sample's."""

    def work() -> Response:
        service = state.live.get(asked.predictor)
        samples = samples_of(asked, service, state.settings)
        return _table(service.similar(samples.omics, n=asked.n), samples, service, format)

    return await state.compute(work)


def _table(answer: Answer, samples: Samples, service: Service, format: str) -> Response:
    findings: tuple[Finding, ...] = (*samples.findings, *answer.findings)
    table: pd.DataFrame = answer.table
    described: Mapping[str, Any] = about(service)
    return table_response(table, findings, described, service.measure, csv=format == "csv")
