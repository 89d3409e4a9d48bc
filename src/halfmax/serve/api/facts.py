"""Routes on what is known: predictors and their cards, drugs, genes, samples, the dataset; and two small tools."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from fastapi import APIRouter, Query
from starlette.responses import Response

from halfmax.data.findings import Findings
from halfmax.serve.answers import json_response, rows_of_table
from halfmax.serve.api.predict import about
from halfmax.serve.api.route import PROBLEMS, StrictRoute
from halfmax.serve.api.state import Admin, State, Who
from halfmax.serve.schemas import CurvesRequest, Name, SmilesRequest
from halfmax.serve.store.registry import Registered

router = APIRouter(route_class=StrictRoute, tags=["facts"], responses=PROBLEMS)
Limit = Annotated[int, Query(ge=1, le=10_000)]
Start = Annotated[int, Query(ge=0, le=10_000_000)]
Search = Annotated[str | None, Query(max_length=200, description="Only names that hold this text.")]


@router.get("/predictors")
async def predictors(state: State, who: Who) -> Response:
    """List the predictors, and what each alias stands for."""

    def work() -> Response:
        stored = [vars_of(found) for found in state.store.predictors.list()]
        aliases = {alias: f"{name}@{version}" for alias, (name, version) in state.store.predictors.aliases().items()}
        latest = about(state.live.get()) if state.live.ready else None
        return json_response({"latest": latest, "predictors": stored, "aliases": aliases})

    return await state.look(work)


@router.get("/predictors/{name}")
async def card(name: str, state: State, who: Who) -> Response:
    """Return a predictor's card: data, measure, intended use, limits."""
    return await state.compute(lambda: json_response(state.live.get(name).card()))


@router.put("/aliases/{alias}")
async def point(alias: str, predictor: Name, state: State, who: Admin) -> Response:
    """Let an alias stand for a stored predictor, once that has proved sound; the old one answers until then."""

    def work() -> Response:
        found = state.store.predictors.find(predictor)
        state.store.predictors.point(alias[:200], found.name, found.version)
        state.store.audit.add(who.tenant, "alias", f"{alias[:80]} = {found.name}@{found.version}")
        wrong = state.live.refresh()
        return json_response({"alias": alias, **vars_of(found), "wrong": wrong})

    return await state.compute(work)


@router.get("/drugs")
async def drugs(
    state: State,
    who: Who,
    predictor: Name = "latest",
    search: Search = None,
    start: Start = 0,
    limit: Limit = 1000,
) -> Response:
    """List the drugs that a predictor knows."""

    def work() -> Response:
        service = state.live.get(predictor)
        table = _found(service.drugs().reset_index(names="drug_id"), "drug_id", search)
        rows = rows_of_table(table.iloc[start : start + limit])
        return json_response({"predictor": about(service), "measure": service.measure, "n": len(table), "rows": rows})

    return await state.compute(work)


@router.get("/drugs/{drug}")
async def drug(drug: str, state: State, who: Who, predictor: Name = "latest") -> Response:
    """Return what is known of a drug, and the quantiles of its measured values in training."""

    def work() -> Response:
        service = state.live.get(predictor)
        drug_id = service.predictor.find_drugs([drug]).index[0]
        row = rows_of_table(service.drugs().loc[[drug_id]].reset_index(names="drug_id"))[0]
        quantiles = service.drug_quantiles(drug).tolist()
        told = {"predictor": about(service), "measure": service.measure, "drug": row, "quantiles": quantiles}
        return json_response(told)

    return await state.compute(work)


@router.get("/genes")
async def genes(
    state: State,
    who: Who,
    predictor: Name = "latest",
    modality: Name = "expression",
    search: Search = None,
    start: Start = 0,
    limit: Limit = 10_000,
) -> Response:
    """List the features that a predictor reads of a modality."""

    def work() -> Response:
        service = state.live.get(predictor)
        table = _found(pd.DataFrame({"feature": service.genes(modality)}, dtype=object), "feature", search)
        names = table["feature"].iloc[start : start + limit].tolist()
        told = {"predictor": about(service), "modality": modality, "n": len(table), "features": names}
        return json_response(told)

    return await state.compute(work)


@router.get("/samples")
async def samples(
    state: State,
    who: Who,
    predictor: Name = "latest",
    search: Search = None,
    start: Start = 0,
    limit: Limit = 1000,
) -> Response:
    """List the training samples whose profiles are here: what `known` of a request may name."""

    def work() -> Response:
        service = state.live.get(predictor)
        ids = pd.DataFrame({"sample_id": service.sample_ids()}, dtype=object)
        table = _found(ids, "sample_id", search)
        if service.dataset is not None:
            columns = [c for c in ("tissue", "cancer_type") if c in service.dataset.samples]
            table = table.join(service.dataset.samples[columns], on="sample_id")
        rows = rows_of_table(table.iloc[start : start + limit])
        return json_response({"predictor": about(service), "n": len(table), "rows": rows})

    return await state.compute(work)


@router.get("/datasets/training")
async def training(state: State, who: Who, predictor: Name = "latest") -> Response:
    """Return counts and spread of the training data."""
    return await state.compute(lambda: json_response(state.live.get(predictor).statistics()))


@router.post("/curves", tags=["tools"])
async def curves(asked: CurvesRequest, state: State, who: Who) -> Response:
    """Fit dose–response curves: ln IC50, AUC, slope and flags of each pair of sample and drug."""

    def work() -> Response:
        from halfmax.data.dose_response import fit_curves

        wells = pd.DataFrame([well.model_dump() for well in asked.wells])
        fits = fit_curves(wells, asked.model, robust=asked.robust)
        findings = [finding.to_dict() for finding in getattr(fits, "findings", Findings().all())]
        return json_response({"model": asked.model, "findings": findings, "rows": rows_of_table(fits.table)})

    return await state.compute(work)


@router.post("/structures/check", tags=["tools"])
async def check_structure(asked: SmilesRequest, state: State, who: Who) -> Response:
    """Check a SMILES and return it in canonical form; salts and solvents are taken away, and that is said."""
    return await state.look(lambda: json_response(state.smiles.check(asked.smiles)))


@router.get("/audit", tags=["service"])
async def audit(state: State, who: Admin) -> Response:
    """Check the audit log, row by row, and say how long it is."""
    return await state.look(lambda: json_response({"rows": state.store.audit.verify(), "sound": True}))


def vars_of(found: Registered) -> dict[str, object]:
    """Return a stored predictor as JSON."""
    return {"name": found.name, "version": found.version, "digest": found.digest, "added": found.added}


def _found(table: pd.DataFrame, column: str, search: str | None) -> pd.DataFrame:
    if search is None:
        return table
    return table[table[column].astype(str).str.contains(search, case=False, regex=False)]
