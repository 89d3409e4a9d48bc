"""Live: the services that answer now, by name; a predictor takes another's place only when it has proved sound."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import HalfmaxError, UnknownNameError
from halfmax.serve.service import Service
from halfmax.serve.store.registry import LATEST, PredictorStore, Registered

log = logging.getLogger(__name__)
_MOST_LOADED = 4


class Live:
    """Loaded services.

    Parameters
    ----------
    predictors
        Where more can be loaded from.
    dataset
        Training samples for all of them; each finds its own if None.
    """

    def __init__(self, predictors: PredictorStore | None = None, *, dataset: ResponseDataset | None = None) -> None:
        self._predictors, self._dataset = predictors, dataset
        self._aliases: dict[str, Service] = {}
        self._loaded: OrderedDict[str, Service] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether the latest predictor is loaded."""
        return LATEST in self._aliases

    def put(self, service: Service, alias: str = LATEST) -> None:
        """Let a loaded service answer under an alias."""
        with self._lock:
            self._aliases[alias] = service

    def get(self, name: str = LATEST) -> Service:
        """Return the service of an alias, a name or ``name@version``.

        Raises
        ------
        UnknownNameError
            If there is none.
        ModelFileError
            If it cannot be used.
        """
        with self._lock:
            if (service := self._aliases.get(name)) is not None:
                return service
            for service in self._aliases.values():
                if service.name == name:
                    return service
        if self._predictors is None:
            raise UnknownNameError(f"there is no predictor {name[:100]!r}.")
        return self._open(self._predictors.find(name))

    def refresh(self) -> list[str]:
        """Follow the aliases of the store; return what is wrong with those that stay where they were."""
        wrong: list[str] = []
        if self._predictors is None:
            return wrong
        for alias, (name, version) in self._predictors.aliases().items():
            try:
                found = self._predictors.find(f"{name}@{version}")
                with self._lock:
                    same = alias in self._aliases and self._aliases[alias].digest == found.digest
                if not same:
                    self.put(self._open(found), alias)
            except HalfmaxError as error:
                log.error("%s stays what it was: %s", alias, error)
                wrong.append(f"{alias}: {error}")
        return wrong

    def _open(self, found: Registered) -> Service:
        if self._predictors is None:
            raise UnknownNameError("no predictors are stored.")
        with self._loading:  # one is loaded once, however many ask
            with self._lock:
                if (service := self._loaded.get(found.digest)) is not None:
                    self._loaded.move_to_end(found.digest)
                    return service
            predictor = self._predictors.open(found)
            name = f"{found.name}@{found.version}"
            service = Service(predictor, name=name, digest=found.digest, dataset=self._dataset)
            with self._lock:
                self._loaded[found.digest] = service
                while len(self._loaded) > _MOST_LOADED:
                    self._loaded.popitem(last=False)
            return service
