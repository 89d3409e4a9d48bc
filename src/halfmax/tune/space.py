"""Space: what is searched of a model: ranges and choices, checked against the types of its hyper-parameters."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from halfmax.errors import did_you_mean
from halfmax.models.base import JSON, MODELS
from halfmax.state import parameters_of

#: What a search can tell apart and a study can store.
_PLAIN = (bool, int, float, str, type(None))
_KEYS = {"choices"}, {"low", "high"}, {"low", "high", "log"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if `whole`, by their logarithm if `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def grid(self, points: int) -> list[JSON]:
        """Return `points` values at equal distances (of the logarithm), fewer where whole numbers coincide."""
        spaced = np.geomspace if self.log else np.linspace
        values = spaced(self.low, self.high, points) if points > 1 else np.array([self.low])
        if self.whole:
            return [int(v) for v in np.unique(np.round(values))]
        return [float(v) for v in np.unique(np.clip(values, self.low, self.high))]

    def holds(self, value: object) -> bool:
        """Whether `value` lies in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= typing.cast("float", value) <= self.high


@dataclass(frozen=True)
class Choices:
    """A list of values without an order."""

    values: tuple[JSON, ...]

    def grid(self, points: int) -> list[JSON]:
        """Return every value."""
        return list(self.values)

    def holds(self, value: object) -> bool:
        """Whether `value` is among them."""
        return any(type(value) is type(v) and value == v for v in self.values)


Space = Mapping[str, Range | Choices]


def space_of(
    model: str, own: Mapping[str, Any] | None = None, fixed: Mapping[str, Any] | None = None
) -> tuple[dict[str, Range | Choices], list[str]]:
    """Return what is searched of a registered model, and a sentence for each problem.

    Parameters
    ----------
    own
        Entries in the place of the model's own; only they are searched. None = the model's `search_space`.
    fixed
        Hyper-parameters that are given, and therefore not searched.
    """
    cls = MODELS.get(model)
    hints, fixed = _hints(cls), fixed or {}
    problems = [
        f"{model}: {name} is {value!r}, which its type does not allow"
        for name, value in fixed.items()
        if name in hints and not _fits(value, hints[name])
    ]
    entries = cls.search_space() if own is None else own
    space: dict[str, Range | Choices] = {}
    for name, entry in entries.items():
        if name not in parameters_of(cls):
            known = list(parameters_of(cls))
            problems.append(
                f"tune.space.{model}.{name}: {model} has no hyper-parameter {name!r}.{did_you_mean(name, known)} "
                f"It has: {', '.join(known) or 'none'}"
            )
        elif name not in fixed or own is not None:
            found = _read(entry, hints.get(name, object))
            if isinstance(found, str):
                problems.append(f"tune.space.{model}.{name}: {found}")
            else:
                space[name] = found
    if not entries:
        problems.append(f"{model} has nothing to search; leave it out, or say what to search: tune.space.{model}")
    elif not space and not problems:
        problems.append(f"{model}: everything that could be searched is given ({', '.join(fixed)})")
    return space, problems


def defaults_in(model: str, space: Space) -> dict[str, JSON] | None:
    """Return the model's default of each searched parameter, or None where one lies outside the space."""
    known = parameters_of(MODELS.get(model))
    values = {name: known[name].default for name in space}
    return values if all(space[name].holds(value) for name, value in values.items()) else None


def grid_of(space: Space, points: int, seed: int) -> list[dict[str, JSON]]:
    """Return every combination of the grid, in a random order, so that the first N are spread over it."""
    from sklearn.model_selection import ParameterGrid

    combinations = list(ParameterGrid({name: part.grid(points) for name, part in space.items()}))
    return [combinations[i] for i in np.random.default_rng(seed).permutation(len(combinations))]


def plain(space: Space) -> dict[str, JSON]:
    """Return a space as JSON, in the form in which models give it."""
    found: dict[str, JSON] = {}
    for name, part in space.items():
        if isinstance(part, Choices):
            found[name] = {"choices": list(part.values)}
        else:
            found[name] = {"low": part.low, "high": part.high, "log": part.log}
    return found


def _read(entry: Any, hint: Any) -> Range | Choices | str:
    """Return a part of a space, or what is wrong with it."""
    if not isinstance(entry, Mapping) or set(entry) not in _KEYS:
        return f"write it as {{choices = [...]}} or {{low = ..., high = ..., log = false}}; found {entry!r:.80}"
    if "choices" in entry:
        return _read_choices(entry["choices"], hint)
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
    if not numbers or not isinstance(log, bool):
        return f"low and high are numbers, log is true or false; found {dict(entry)!r:.80}"
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        return f"low is above high, or infinite; found {low} and {high}"
    if log and low <= 0:
        return f"a logarithmic range begins above 0; found {low}"
    if not (_fits(low, hint) and _fits(high, hint)):
        return f"a value between {low} and {high} is not of the parameter's type, {_name(hint)}"
    return Range(low, high, log, whole=isinstance(low, int) and isinstance(high, int) and not _fits(0.5, hint))


def _read_choices(values: Any, hint: Any) -> Choices | str:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return f"choices is a list of at least one value; found {values!r:.80}"
    if strange := [v for v in values if not isinstance(v, _PLAIN)]:
        return f"a choice is a number, a text, true, false or none; found {strange[0]!r:.80}"
    if len({(type(v), v) for v in values}) < len(values):
        return f"a choice is given twice: {list(values)!r:.80}"
    if wrong := [v for v in values if not _fits(v, hint)]:
        return f"{wrong[0]!r} is not of the parameter's type, {_name(hint)}"
    return Choices(tuple(values))


def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a class's hyper-parameters; none where they cannot be resolved (an outside model)."""
    try:
        found = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError):
        return {}
    return {name: found[name] for name in parameters_of(cls) if name in found}


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type; lists stand for tuples, as in TOML."""
    try:
        TypeAdapter(hint).validate_python(value, strict=not isinstance(value, list | dict))
    except ValidationError:
        return False
    except Exception:  # a type that pydantic does not know says nothing about the value
        return True
    return True


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", "") or str(hint)
