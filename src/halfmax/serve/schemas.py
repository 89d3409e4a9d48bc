"""What requests of the API must hold; everything else is refused with its place named."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
#: A finite number; text such as "nan" is none.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Values = dict[Name, Number | None]
_MOST_FEATURES, _MOST_DRUGS = 100_000, 2000
_EXAMPLE = {
    "samples": [{"sample_id": "my tumour", "expression": {"TP53": 5.1, "EGFR": 8.7, "SLFN11": 2.2}}],
    "drugs": ["Nutlin-3a (-)"],
    "allow_low_coverage": True,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Profile(_Strict):
    """One sample: what was measured of its genes. A missing value is null or left out."""

    sample_id: Name = "sample"
    expression: Values | None = Field(None, max_length=_MOST_FEATURES)
    mutation: Values | None = Field(None, max_length=_MOST_FEATURES)
    copy_number: Values | None = Field(None, max_length=_MOST_FEATURES)
    tissue: Name | None = None


class NewDrug(_Strict):
    """A drug that the predictor was not trained on, by its structure."""

    name: Name
    smiles: Annotated[str, StringConstraints(max_length=2000)]


class Asked(_Strict):
    """Samples, and with what they are asked about.

    Either `samples` with their values, or `known`, the ids of training samples whose profiles the service holds.
    """

    samples: list[Profile] = Field(default_factory=list)
    known: list[Name] = Field(default_factory=list, max_length=2000)
    unit: Name | None = Field(None, description="Unit of the expression, such as counts, tpm or log2(tpm+1).")
    predictor: Name = Field("latest", description="Name, name@version, or alias.")
    allow_low_coverage: bool = Field(False, description="Answer although under 80 % of the genes are there.")
    harmonise: Name = Field("none", description="How expression is put on the training scale: none, auto, rank, …")


class PredictRequest(Asked):
    """Samples × drugs to predict."""

    model_config = ConfigDict(json_schema_extra={"examples": [cast("Any", _EXAMPLE)]})

    drugs: list[Name] | None = Field(None, max_length=_MOST_DRUGS, description="Ids or names; all if left out.")
    new_drugs: list[NewDrug] = Field(default_factory=list, max_length=20)


class RankRequest(Asked):
    """Samples whose drugs are ranked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"known": ["SW48"], "top": 10}]})

    top: int | None = Field(None, ge=1, le=100_000)


class ExplainRequest(Asked):
    """One sample and drugs: which genes the prediction stands on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"known": ["SW48"], "drugs": ["Nutlin-3a (-)"]}]})

    drugs: list[Name] = Field(min_length=1, max_length=50)
    top: int = Field(20, ge=1, le=10_000)
    tissue: Name | None = Field(None, description="Compare with training samples of this tissue only.")


class SimilarRequest(Asked):
    """Samples whose nearest training samples are asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"known": ["SW48"], "n": 5}]})

    n: int = Field(10, ge=1, le=200)


class Well(_Strict):
    """One well of a dose–response experiment."""

    sample_id: Name
    drug_id: Name
    dose: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False, le=1e9)] = Field(description="[µM]")
    viability: Annotated[float, Field(strict=True, ge=-1e6, le=1e6)] = Field(description="1 = untreated, 0 = dead")


class CurvesRequest(_Strict):
    """Wells to fit curves to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "wells": [
                        {"sample_id": "A", "drug_id": "D", "dose": d, "viability": v}
                        for d, v in ((0.01, 1.0), (0.1, 0.9), (1.0, 0.5), (10.0, 0.1))
                    ]
                }
            ]
        }
    )

    wells: list[Well] = Field(min_length=1, max_length=50_000)
    model: Literal["sigmoid", "loglogistic4", "multilevel"] = "sigmoid"
    robust: bool = False


class SmilesRequest(_Strict):
    """A structure to check."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"smiles": "CC(=O)Oc1ccccc1C(=O)O"}]})

    smiles: Annotated[str, StringConstraints(max_length=200_000)]


class Told(BaseModel):
    """What there is to say about an answer."""

    code: str
    level: str
    message: str
    examples: list[str]
    count: int


class TableAnswer(BaseModel):
    """Rows of an answer, each with the same fields."""

    research_use: str
    predictor: dict[str, Any]
    measure: str
    findings: list[Told]
    rows: list[dict[str, Any]]


class ProblemDocument(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    row: int | None = None
    column: str | None = None
    hint: str | None = None
    request_id: str
    research_use: str


class JobAnswer(BaseModel):
    """Where a job is."""

    research_use: str
    job_id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    attempts: int
    error: str | None
    created: str
    result: str | None
