"""The model folder: a predictor as JSON, safetensors and, for tree libraries, their own text (docs/formats.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.background import Background
from halfmax.data.dataset import Measure
from halfmax.data.storage import atomic_folder, read_verified, write_json
from halfmax.errors import HalfmaxError, ModelFileError, examples
from halfmax.features.harmonise.reference import ScaleReference
from halfmax.features.pipeline import FeaturePipeline
from halfmax.models.base import MODELS
from halfmax.panel import Panel
from halfmax.state import State

if TYPE_CHECKING:
    from halfmax.predictor import Predictor

FORMAT, FORMAT_VERSION = "halfmax-predictor", 1
ARRAYS = "arrays.safetensors"


def save_predictor(predictor: Predictor, folder: Path) -> Path:
    """Write a fitted predictor to `folder`, replacing what was there only when everything is on disk."""
    from safetensors.numpy import save_file

    from halfmax import RESEARCH_USE, __version__

    features, model = predictor.features_.get_state(), predictor.model.get_state()
    reference = predictor.reference_
    arrays = {f"features/{k}": v for k, v in features.arrays.items()}
    arrays |= {f"model/{k}": v for k, v in model.arrays.items()}
    arrays |= {f"reference/{k}": v for k, v in reference.items() if k != "drug_id"}
    if predictor.expression_scale_ is not None:
        arrays |= {f"scale/{k}": v for k, v in predictor.expression_scale_.get_arrays().items()}
    for new, panel in predictor.panels_.items():
        arrays |= {f"panel/{new}/{k}": v for k, v in panel.arrays().items()}
    background = predictor.background_
    if background is not None:
        arrays |= {f"background/{k}": v for k, v in background.arrays().items()}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "halfmax_version": __version__,
        "research_use": RESEARCH_USE,
        "model": {"name": predictor.model_name, "params": predictor.model.get_params(), "meta": dict(model.meta)},
        "features": dict(features.meta),
        "scale": list(predictor.scale_),
        "measure": [
            predictor.measure_.name,
            predictor.measure_.unit,
            predictor.measure_.higher_is_sensitive,
        ],
        "reference_drugs": reference["drug_id"].tolist(),
        "drugs": _table_to_json(predictor.drugs_),
        "panels": {new: panel.ids.tolist() for new, panel in predictor.panels_.items()},
        "background": {} if background is None else background.manifest(),
        "about": predictor.about_,
    }
    with atomic_folder(folder) as work:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, work / ARRAYS)
        for name, text in model.files.items():
            (work / name).write_text(text, encoding="utf-8")
        write_json(work / "manifest.json", manifest, hash_siblings=True)
    return folder


def load_predictor(kind: type[Predictor], folder: Path) -> Predictor:
    """Read a predictor into a new `kind` after checking every file; nothing in it is executed."""
    manifest = read_verified(folder, FORMAT, FORMAT_VERSION)
    arrays = _read_arrays(folder / ARRAYS)
    own = {ARRAYS, "manifest.json"}
    files = {n: (folder / n).read_text(encoding="utf-8") for n in manifest["files"] if n not in own}
    try:
        spec = manifest["model"]
        predictor = kind(MODELS.get(spec["name"])(**spec["params"]), spec["name"])
        predictor.model.set_state(State(_part(arrays, "model"), spec["meta"], files))
        predictor.features_ = FeaturePipeline.from_state(State(_part(arrays, "features"), manifest["features"]))
        scale = _part(arrays, "scale")  # absent in folders of earlier versions
        names = predictor.features_.input_names("expression") if scale else ()
        predictor.expression_scale_ = ScaleReference.of(names, scale) if scale else None
        predictor.scale_ = (float(manifest["scale"][0]), float(manifest["scale"][1]))
        predictor.measure_ = Measure(*manifest["measure"])
        predictor.drugs_ = _table_from_json(manifest["drugs"])
        drug_ids = np.array(manifest["reference_drugs"], dtype=str)
        predictor.reference_ = _part(arrays, "reference") | {"drug_id": drug_ids}
        predictor.about_ = dict(manifest["about"])
        panels = manifest.get("panels", {})  # absent in folders of earlier versions
        read = [Panel.from_arrays(new, ids, _part(arrays, f"panel/{new}")) for new, ids in panels.items()]
        predictor.panels_ = {panel.new: panel for panel in read}
        kept = manifest.get("background", {})  # absent in folders of earlier versions
        predictor.background_ = Background.from_parts(kept, _part(arrays, "background"))
        if {len(v) for v in predictor.reference_.values()} != {len(drug_ids)}:
            raise ModelFileError("the reference tables differ in length")
    except HalfmaxError as error:
        raise ModelFileError(f"{folder} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelFileError(f"{folder} is not a whole predictor: {type(error).__name__}: {error}") from error
    return predictor


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path} is not a safetensors file ({error}).") from None
    bad = [k for k, v in arrays.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]
    if bad:
        raise ModelFileError(f"{path} holds NaN or infinite weights in {len(bad)} arrays: {examples(bad)}.")
    return dict(arrays)


def _part(arrays: dict[str, npt.NDArray[Any]], name: str) -> dict[str, npt.NDArray[Any]]:
    return {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}


def _table_to_json(table: pd.DataFrame) -> dict[str, Any]:
    text = table.astype(object).where(table.notna(), None)
    return {"index": [str(i) for i in table.index], "columns": {str(c): text[c].tolist() for c in table.columns}}


def _table_from_json(content: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(content["columns"], index=pd.Index(content["index"], name="drug_id"))
