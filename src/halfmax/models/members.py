"""Nested: a model made of other models, named by their registered names and kept in one State."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, ModelFileError
from halfmax.features.blocks import PairFeatures
from halfmax.models.base import JSON, MODELS, BaseModel, Model, OnEpoch, State, Valid
from halfmax.models.networks.parts import joined
from halfmax.state import parameters_of

#: A model's registered name, or its name and hyper-parameters.
MemberSpec = str | Sequence[JSON]
_ALL = "models_"
T = TypeVar("T")


class Nested(BaseModel):
    """What models share that hold other models: `models_`, whose states lie in this one's under ``0.``, ``1.``, ….

    A subclass says in `_members` which models it holds, from its own parameters and in a fixed order; `models_` is
    what `fit` made of them.
    """

    models_: list[Model]

    def _members(self) -> list[Model]:
        """Return the unfitted models."""
        raise NotImplementedError

    def get_state(self) -> State:
        """Return what was learned here and in every member."""
        self._check_fitted()
        own = super().get_state()
        arrays, files, metas = dict(own.arrays), dict(own.files), []
        for i, model in enumerate(self.models_):
            state = model.get_state()
            arrays |= {f"{i}.{key}": value for key, value in state.arrays.items()}
            files |= {f"{i}.{name}": text for name, text in state.files.items()}
            metas.append(dict(state.meta))
        meta = {k: v for k, v in own.meta.items() if k != _ALL}
        return State(arrays, meta | {_ALL: cast("list[JSON]", metas)}, files)

    def set_state(self, state: State) -> Nested:
        """Take over what another instance and its members learned."""
        members = self._members()
        parts = nested_states(state)
        if len(parts) != len(members):
            raise ModelFileError(
                f"state of {type(self).__name__} holds {len(parts)} models; its parameters {len(members)}."
            )
        own = {k: v for k, v in state.arrays.items() if not k.partition(".")[0].isdigit()}
        super().set_state(State(own, {k: v for k, v in state.meta.items() if k != _ALL}))
        self.models_ = [model.set_state(part) for model, part in zip(members, parts, strict=True)]
        return self

    def _keep_history(self, model: Model, label: str) -> None:
        """Add a member's learning curve to this one's; what the member calls its own members stays in the name."""
        curve = cast("list[dict[str, JSON]]", getattr(model, "history_", []))
        named = ({**r, "member": label if r["member"] == "all" else f"{label} {r['member']}"} for r in curve)
        self.history_ = [*getattr(self, "history_", []), *named]


def nested_states(state: State) -> list[State]:
    """Return the states of the members in the state of a `Nested` model."""
    metas = state.meta.get(_ALL)
    if not isinstance(metas, list) or not all(isinstance(meta, dict) for meta in metas):
        raise ModelFileError("the state does not list its models.")
    return [
        State(_under(state.arrays, i), cast("dict[str, JSON]", meta), _under(state.files, i))
        for i, meta in enumerate(metas)
    ]


def _under(values: Mapping[str, T], i: int) -> dict[str, T]:
    return {k.removeprefix(f"{i}."): v for k, v in values.items() if k.startswith(f"{i}.")}


def read_spec(spec: MemberSpec) -> tuple[str, dict[str, JSON]]:
    """Return name and hyper-parameters of ``"mlp"`` or ``["mlp", {"members": 1}]``.

    Raises
    ------
    DataError
        If it is neither.
    UnknownNameError
        If no model has this name.
    """
    if isinstance(spec, str):
        name, params = spec, {}
    elif len(spec) == 2 and isinstance(spec[0], str) and isinstance(spec[1], Mapping):
        name, params = spec[0], dict(spec[1])
    else:
        raise DataError(f'{spec!r} names no model: give "name", or ["name", {{parameters}}].')
    MODELS.get(name)
    return name, params


def make(spec: MemberSpec, **defaults: JSON) -> Model:
    """Return the unfitted model of a spec; it is given those of `defaults` that it has and the spec does not set.

    Raises
    ------
    DataError
        If a hyper-parameter is not among the model's.
    """
    name, params = read_spec(spec)
    known = parameters_of(MODELS.get(name))
    if strangers := sorted(set(params) - set(known)):
        raise DataError(f"{name} has no parameter {strangers[0]!r}; it has: {', '.join(known) or 'none'}.")
    return MODELS.get(name)(**({k: v for k, v in defaults.items() if k in known} | params))


def fit_member(
    model: Model,
    x: PairFeatures,
    y: npt.NDArray[np.float64],
    valid: Valid | None = None,
    start: State | None = None,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Fit a member; the rows of `valid` are training rows for one that does not validate."""
    if valid is not None and not getattr(model, "uses_valid", False):
        x, y = joined(x, y, *valid)
        valid = None
    return model.fit(x, y, valid=valid, start=start, on_epoch=on_epoch)


def only(x: PairFeatures, pairs: npt.NDArray[np.bool_]) -> PairFeatures:
    """Return these pairs over tables of the samples and drugs that they name, so that nothing else can be seen."""
    sample, sample_index = np.unique(x.sample_index[pairs], return_inverse=True)
    drug, drug_index = np.unique(x.drug_index[pairs], return_inverse=True)
    return replace(
        x,
        sample_ids=x.sample_ids[sample],
        drug_ids=x.drug_ids[drug],
        sample_x={name: block.take(sample) for name, block in x.sample_x.items()},
        drug_x={name: block.take(drug) for name, block in x.drug_x.items()},
        drug_text={name: text[drug] for name, text in x.drug_text.items()},
        sample_index=sample_index.astype(np.int64),
        drug_index=drug_index.astype(np.int64),
    )
