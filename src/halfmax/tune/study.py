"""Study: trials kept in a database, so that a kill loses none that is finished and what it interrupted is run again."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout

from halfmax.errors import DataError, HalfmaxError
from halfmax.models.base import JSON
from halfmax.models.checkpoint import differences
from halfmax.tune.settings import TuneSettings
from halfmax.tune.space import Choices, Space

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.study import Study

log = logging.getLogger(__name__)
#: A trial whose worker died so often is not run again.
MOST_RETRIES = 2
#: Seconds between two looks at a study whose last trials run elsewhere.
_LOOK = 1.0
#: Seconds after which whoever put an interrupted trial down has also put it back, unless they were killed in between.
_SETTLED = 5.0


class Unnecessary(HalfmaxError):
    """A trial that was begun after the last one of the budget, by two workers at once."""


@contextmanager
def storage_of(settings: TuneSettings, folder: Path) -> Iterator[Any]:
    """Open the database of a search; a SQLite file in its folder if no other is given.

    Raises
    ------
    DataError
        If optuna is not installed, or the database cannot be reached.
    """
    optuna = _optuna()
    import sqlalchemy.exc

    folder.mkdir(parents=True, exist_ok=True)
    url = settings.storage or f"sqlite:///{(folder / 'studies.db').resolve()}"
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    wait: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _experimental():
        try:
            storage = optuna.storages.RDBStorage(
                url,
                engine_kwargs=wait,
                heartbeat_interval=settings.heartbeat,
                grace_period=settings.grace,
                heartbeat_stale_trial_callback=_again(),
            )
        except ImportError as error:
            raise DataError(
                f"{_place(url)} needs a driver: {error}. Install it: pip install 'psycopg[binary]'."
            ) from None
        except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
            raise DataError(f"the studies cannot be kept at {_place(url)}: {reason}") from None
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
        optuna.logging.set_verbosity(before)


def open_study(
    storage: Any,
    name: str,
    about: Mapping[str, JSON],
    *,
    maximise: bool,
    sampler: BaseSampler | None = None,
    pruner: Any = None,
    fresh: bool = False,
) -> optuna.Study:
    """Open a study, or make it.

    Parameters
    ----------
    about
        All that decides a trial's value. A study that was begun with anything else is refused.
    fresh
        Delete what an earlier search left under this name.

    Raises
    ------
    DataError
        If a study of this name belongs to another search.
    """
    optuna = _optuna()
    if fresh and name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    direction = "maximize" if maximise else "minimize"
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction=direction,
        sampler=sampler or optuna.samplers.RandomSampler(0),
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    now = json.loads(json.dumps(about))
    kept = study.user_attrs.get("about")
    if kept is None:
        study.set_user_attr("about", now)
    elif found := differences(kept, now):
        raise DataError(
            f"the study {name!r} belongs to another search; {len(found)} things differ: {'; '.join(found[:3])}"
            f"{'; …' if len(found) > 3 else ''}. Go on with it by its own command, start anew (--fresh), or choose "
            "another folder (--out) or name."
        )
    return cast("Study", study)


@contextmanager
def alive(folder: Path) -> Iterator[str]:
    """Hold a lock of this process and yield its name; the lock falls when the process ends, however it ends."""
    place = folder / "workers"
    place.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    lock = FileLock(place / f"{name}.lock")
    try:
        with lock:
            yield f"{socket.gethostname()}:{name}"
    finally:
        (place / f"{name}.lock").unlink(missing_ok=True)


def revive(study: optuna.Study, storage: Any, folder: Path, grace: float) -> None:
    """Put the trials of dead workers back: at once where the worker was on this machine, else after the grace."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _is_dead(trial, folder, grace):
            continue
        try:
            storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            continue  # another worker was first
        log.info("%s: trial %d is run again, its worker died", study.study_name, trial.number)
        _again()(study, storage.get_trial(trial._trial_id))
    for trial in lost(study.get_trials(deepcopy=False)):
        if time.time() - trial.datetime_complete.timestamp() > _SETTLED:
            _again()(study, storage.get_trial(trial._trial_id))
    with _experimental():
        fail_stale_trials(study)


def work(
    study: optuna.Study,
    storage: Any,
    objective: Callable[[optuna.Trial], float],
    *,
    budget: int,
    folder: Path,
    grace: float,
) -> None:
    """Run trials until `budget` are finished, those of others and those that died included.

    A trial that raises a `HalfmaxError` has failed, and counts.
    """
    from optuna.trial import TrialState

    while True:
        revive(study, storage, folder, grace)
        trials = study.get_trials(deepcopy=False)
        states = {trial.state for trial in trials}
        if TrialState.WAITING in states or n_begun(trials) < budget:
            _one(study, objective)
        elif TrialState.RUNNING in states or lost(trials):
            time.sleep(_LOOK)
        else:
            return


def _one(study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        study.optimize(objective, n_trials=1, catch=(HalfmaxError,))
    except (UpdateFinishedTrialError, ValueError) as error:
        if isinstance(error, ValueError) and not str(error).startswith("Cannot tell a "):
            raise
        log.warning("%s: a trial was silent for longer than the grace, and another worker took it", study.study_name)


def n_begun(trials: Sequence[optuna.trial.FrozenTrial]) -> int:
    """Return how many trials of the budget were begun; what is run again counts once."""
    return sum(_counts(trial) for trial in trials)


def lost(trials: Sequence[optuna.trial.FrozenTrial]) -> list[Any]:
    """Return the trials that were interrupted, from the keyboard or by a kill, and that nobody has put back."""
    from optuna.trial import TrialState

    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and not {"reason", "unnecessary"} & set(trial.user_attrs)
        and trial.number not in again
        and len(trial.system_attrs.get("retry_history", ())) < MOST_RETRIES
    ]


def slot_of(study: optuna.Study, trial: Any) -> int:
    """Return the place of a trial in the budget, from 0; a trial that is run again keeps the first one's."""
    number = trial.system_attrs.get("failed_trial", trial.number)
    every = study._storage.get_all_trials(study._study_id, deepcopy=False)  # Hyperband shows a sampler only a part
    return sum(_counts(t) for t in every if t.number < number)


def sampler_of(
    search: str,
    space: Space,
    *,
    seed: int,
    defaults: Mapping[str, JSON] | None = None,
    combinations: Sequence[Mapping[str, JSON]] = (),
) -> BaseSampler:
    """Return a sampler whose draws depend on the seed, the trial's place and the trials before it, on nothing else.

    A study that was killed therefore goes on with the trials that it would have had.

    Parameters
    ----------
    defaults
        Taken by the first trial, where the space holds them.
    combinations
        Of a grid, in their order.
    """
    optuna = _optuna()
    n_random = min(10, max(4, 2 * len(space)))

    def of_place(place: int) -> BaseSampler:
        number = int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:4], "big")
        given = combinations[min(place, len(combinations) - 1)] if combinations else None
        given = dict(defaults) if given is None and defaults is not None and place == 0 else given
        random = optuna.samplers.RandomSampler(seed=number)
        if given is not None:
            return cast("BaseSampler", optuna.samplers.PartialFixedSampler(dict(given), random))
        if search == "tpe":
            return cast("BaseSampler", optuna.samplers.TPESampler(seed=number, n_startup_trials=n_random))
        if search == "gp":
            return cast("BaseSampler", optuna.samplers.GPSampler(seed=number, n_startup_trials=n_random))
        return cast("BaseSampler", random)

    class Placed(optuna.samplers.BaseSampler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.now: BaseSampler = optuna.samplers.RandomSampler(seed=seed)

        def before_trial(self, study: Any, trial: Any) -> None:
            with _experimental():
                self.now = of_place(slot_of(study, trial))
            self.now.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self.now.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self.now.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self.now.sample_independent(study, trial, name, distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            self.now.after_trial(study, trial, state, values)

    return Placed()


def pruner_of(name: str, resource: int) -> Any:
    """Return a pruner for trials that report at most `resource` times."""
    optuna = _optuna()
    with _experimental():
        least = max(1, resource // 27)
        if name == "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=3)
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=resource, reduction_factor=3)
        return optuna.pruners.NopPruner()


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Return the trial's hyper-parameters."""
    params: dict[str, Any] = {}
    for name, part in space.items():
        if isinstance(part, Choices):
            params[name] = trial.suggest_categorical(name, cast("Any", list(part.values)))
        elif part.whole:
            params[name] = trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
        else:
            params[name] = trial.suggest_float(name, float(part.low), float(part.high), log=part.log)
    return params


def _counts(trial: Any) -> bool:
    return "failed_trial" not in trial.system_attrs and not trial.user_attrs.get("unnecessary", False)


def _is_dead(trial: Any, folder: Path, grace: float) -> bool:
    """Whether the worker of a running trial is known to be dead."""
    host, _, name = str(trial.user_attrs.get("worker", "")).partition(":")
    if not name:  # killed before it could say who it is
        return bool(time.time() - trial.datetime_start.timestamp() > grace)
    path = folder / "workers" / f"{name}.lock"
    if host != socket.gethostname() or not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            pass
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True


def _again() -> Any:
    optuna = _optuna()
    with _experimental():
        return optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES)


@contextmanager
def _experimental() -> Iterator[None]:
    """Let what optuna may still change be used without a warning; the versions that are tested are named."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _place(url: str) -> str:
    """Return where a database is, without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _optuna() -> Any:
    """Return optuna.

    Raises
    ------
    DataError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise DataError("tuning needs optuna: pip install 'halfmax[tune]'.") from None
    return optuna
