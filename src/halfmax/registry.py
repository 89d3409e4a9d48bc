"""Look up models, steps and readers by name; outside packages add theirs by entry point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from halfmax.errors import UnknownNameError, did_you_mean

T = TypeVar("T")
log = logging.getLogger(__name__)


class Registry(Generic[T]):
    """Names to classes; built-in ones are given as ``module:attribute`` and imported on first use.

    Parameters
    ----------
    kind
        What is registered, for messages: ``"model"``, ``"step"``, ``"reader"``.
    builtin
        Name to ``"package.module:attribute"``.
    """

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._paths = dict(builtin)
        self._loaded: dict[str, T] = {}
        self._scanned = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its class under `name`."""

        def add(item: T) -> T:
            self._loaded[name] = item
            return item

        return add

    def names(self) -> list[str]:
        """Return all known names, sorted."""
        self._scan()
        return sorted({*self._paths, *self._loaded})

    def get(self, name: str) -> T:
        """Return what is registered as `name`; raise UnknownNameError with the closest names otherwise."""
        if name not in self._loaded:
            self._scan()
            if name not in self._paths:
                known = self.names()
                raise UnknownNameError(
                    f"Unknown {self.kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
                )
            module, attribute = self._paths[name].split(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.names())

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        for point in entry_points(group=f"halfmax.{self.kind}s"):
            if point.name in self._paths:
                log.warning("ignoring entry point %s: %r is a built-in %s", point.value, point.name, self.kind)
            else:
                self._paths[point.name] = point.value
