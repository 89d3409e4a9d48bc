"""halfmax: how strongly a cancer sample responds to a drug, and how far to trust the answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfmax.ablation import ablate as ablate
    from halfmax.between_screens import cross_study as cross_study
    from halfmax.comparison import compare_models as compare_models
    from halfmax.config import RunConfig as RunConfig
    from halfmax.data.build import build_dataset as build_dataset
    from halfmax.data.dataset import MEASURES as MEASURES
    from halfmax.data.dataset import Measure as Measure
    from halfmax.data.dataset import ResponseDataset as ResponseDataset
    from halfmax.data.inspect import inspect_file as inspect_file
    from halfmax.data.readers.embedded import load as load_dataset
    from halfmax.data.readers.table import read_dataset as read_dataset
    from halfmax.errors import HalfmaxError as HalfmaxError
    from halfmax.evaluate import cross_validate as cross_validate
    from halfmax.features.pipeline import FeaturePipeline as FeaturePipeline
    from halfmax.models.base import MODELS as MODELS
    from halfmax.predictor import Predictor as Predictor
    from halfmax.report import Report as Report
    from halfmax.split import Split as Split
    from halfmax.split import check_split as check_split
    from halfmax.split import make_splits as make_splits

RESEARCH_USE = "For Research Use Only. Not for use in diagnostic procedures."

#: Public names, in the order of the data's way: where each is, loaded on first use.
_WHERE = {
    "HalfmaxError": "errors:HalfmaxError",
    "RunConfig": "config:RunConfig",
    "Measure": "data.dataset:Measure",
    "MEASURES": "data.dataset:MEASURES",
    "ResponseDataset": "data.dataset:ResponseDataset",
    "load_dataset": "data.readers.embedded:load",
    "inspect_file": "data.inspect:inspect_file",
    "build_dataset": "data.build:build_dataset",
    "read_dataset": "data.readers.table:read_dataset",
    "Split": "split:Split",
    "make_splits": "split:make_splits",
    "check_split": "split:check_split",
    "FeaturePipeline": "features.pipeline:FeaturePipeline",
    "MODELS": "models.base:MODELS",
    "Predictor": "predictor:Predictor",
    "cross_validate": "evaluate:cross_validate",
    "cross_study": "between_screens:cross_study",
    "ablate": "ablation:ablate",
    "Report": "report:Report",
    "compare_models": "comparison:compare_models",
}

__all__ = [  # noqa: RUF022  in the order of the data's way
    "RESEARCH_USE",
    "HalfmaxError",
    "RunConfig",
    "Measure",
    "MEASURES",
    "ResponseDataset",
    "load_dataset",
    "inspect_file",
    "build_dataset",
    "read_dataset",
    "Split",
    "make_splits",
    "check_split",
    "FeaturePipeline",
    "MODELS",
    "Predictor",
    "cross_validate",
    "cross_study",
    "ablate",
    "Report",
    "compare_models",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("halfmax")
    if name not in _WHERE:
        raise AttributeError(f"module 'halfmax' has no attribute {name!r}")
    module, attribute = _WHERE[name].split(":")
    return getattr(import_module(f"halfmax.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
