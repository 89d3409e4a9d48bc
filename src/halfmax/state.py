"""State: what a step or model learned, in one form for saving, warm start and federated averaging."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from halfmax.errors import ModelFileError, NotFittedError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True)
class State:
    """Everything a fitted model learned, in a form that can be stored, averaged and sent.

    Parameters
    ----------
    arrays
        Name to array (any numeric or boolean dtype, no objects).
    meta
        Plain JSON.
    files
        File name to text for libraries with a format of their own (boosted trees).
    """

    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    meta: Mapping[str, JSON] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Stateful:
    """Parameters from the signature of ``__init__`` and State from the attributes that end in ``_``.

    A subclass stores every argument of ``__init__`` under its own name and nothing else. Attributes that ``fit`` sets
    end in ``_`` and are arrays or JSON values; a subclass that learns anything else overrides `get_state` and
    `set_state`.
    """

    def get_params(self) -> dict[str, JSON]:
        """Return the arguments of ``__init__`` as they are now."""
        return {name: getattr(self, name) for name in parameters_of(type(self))}

    def get_state(self) -> State:
        """Return learned arrays and JSON values; raise NotFittedError before `fit`."""
        learned = self._learned()
        arrays = {k: v for k, v in learned.items() if isinstance(v, np.ndarray)}
        text = {k: v.tolist() for k, v in arrays.items() if v.dtype.kind == "U"}
        return State(
            arrays={k: v for k, v in arrays.items() if k not in text},
            meta={k: v for k, v in learned.items() if k not in arrays} | {f"{k}text": v for k, v in text.items()},
        )

    def set_state(self, state: State) -> Self:
        """Take over learned attributes; raise ModelFileError for names that are not learned attributes."""
        for key, value in {**state.arrays, **state.meta}.items():
            is_text = key.endswith("_text")
            name = key.removesuffix("text") if is_text else key
            if not name.endswith("_") or name.startswith("_"):
                raise ModelFileError(
                    f"state of {type(self).__name__} holds {name!r}, which is not a learned attribute."
                )
            setattr(self, name, np.array(value, dtype=str) if is_text else value)
        return self

    def _learned(self) -> dict[str, Any]:
        learned = {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        if not learned:
            raise NotFittedError(f"{type(self).__name__} has not been fitted; call fit first.")
        return learned

    def _check_fitted(self) -> None:
        self._learned()


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of the class's ``__init__``, in order."""
    return dict(inspect.signature(cls).parameters)
