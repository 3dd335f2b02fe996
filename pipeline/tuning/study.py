"""A study and what makes it this one: its name holds a digest of all that its scores stand on.

Trials of one study can be compared because nothing but the searched keys differs between them. So the name follows
from the basis (pipeline.tuning.basis): the space, the params a training reads without the searched keys (writing the
winner into params.yaml keeps the study), scenes and split, the code and the lock. When one changes, a new study begins.
"""

import re
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.digests import canonical_sha256
from pipeline.errors import ParamsError
from pipeline.params.load import Params
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.seeding import generator
from pipeline.tuning.basis import basis
from pipeline.tuning.basis import differences as basis_differences
from pipeline.tuning.corners import present
from pipeline.tuning.space import TuneFile
from pipeline.tuning.storage import Place

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study

#: Attributes of a study: what its scores stand on, and the key of its tracked runs; of a trial: that it has the values
#: of params.yaml.
BASIS, KEY, DEFAULT = "basis", "key", "default"

#: Fewest steps that hyperband gives a trial, and the factor between its rungs.
_HYPERBAND_LEAST, _HYPERBAND_FACTOR = 1, 3

_DIGITS = 10


@dataclass(frozen=True)
class Subject:
    """What a study is about: its name, and the basis that the name holds a digest of."""

    name: str
    basis: Mapping[str, Any]


def subject(params: Params, paths: Paths, tune: TuneFile) -> Subject:
    """The study of a tune file with the present params, data and code.

    Raises:
        IntegrityError: data/scenes or data/splits is not there.
        SplitError: the split's folds cannot be inner ones.
    """
    found = basis(params, paths, tune)
    return Subject(f"{tune.name}-{canonical_sha256(found)[:_DIGITS]}", found)


def siblings(place: Place, tune: TuneFile, but: str) -> list[str]:
    """Other studies of the same tune file's name, in the order of `Place.studies`."""
    pattern = re.compile(rf"{re.escape(tune.name)}-[0-9a-f]{{{_DIGITS}}}")
    return [name for name in place.studies(f"{tune.name}-") if pattern.fullmatch(name) and name != but]


def differences(place: Place, about: Subject, other: str) -> list[str]:
    """In what another study's basis differs, in words."""
    import optuna

    with place.answering():
        study = optuna.load_study(study_name=other, storage=place.open(other))
        return basis_differences(study.user_attrs.get(BASIS, {}), about.basis)


def begin(place: Place, about: Subject, params: Params, tune: TuneFile) -> "Study":
    """Open the study, or begin it with a first trial of the values that params.yaml has, where the space allows them.

    Raises:
        StorageError: the database does not answer.
    """
    import optuna

    check_pruner(params, tune)
    storage = place.open(about.name)
    with place.answering(), place.claim(about.name):
        study = optuna.create_study(study_name=about.name, storage=storage, direction=tune.direction,
                                    load_if_exists=True)
        if KEY not in study.user_attrs:
            if (known := present(params, tune)) and not study.get_trials(deepcopy=False):
                study.enqueue_trial(dict(known), user_attrs={DEFAULT: True})
            study.set_user_attr(BASIS, dict(about.basis))
            study.set_user_attr(KEY, uuid.uuid4().hex)  # last: a study without one is begun again
    return study


def load(place: Place, name: str, tune: TuneFile, ends: "BasePruner | None" = None) -> "Study":
    """Open a study that has been begun.

    Args:
        place: where it is kept.
        name: its name.
        tune: its tune file.
        ends: the pruner; of no use where no trial is made.

    Raises:
        ParamsError: there is none.
        StorageError: the database does not answer.
    """
    import optuna

    if not place.exists(name):
        others = siblings(place, tune, but=name)
        also = (f", and {others[-1]} stands on other params, data or code (reports/tune/{others[-1]}/best.yaml has "
                "what it found)" if others else "")
        raise ParamsError(f"study {name} must have been begun: there is none of that name in {place.shown}{also}; run "
                          "`kumulus tune` first")
    with place.answering():
        return optuna.load_study(study_name=name, storage=place.open(name), pruner=ends)


def sampler(tune: TuneFile, number: int, queued: str = "") -> "BaseSampler":
    """The sampler of the trial of that number. Its seed follows from it, so that a study goes on as if uninterrupted.

    A `queued` trial has values; what may be missing of them is drawn apart, so that no other draws the same.

    TPE: Bergstra et al. 2011, in optuna's form: multivariate, with running trials taken for bad ones, so that workers
    keep away from each other.
    """
    from optuna.samplers import RandomSampler, TPESampler

    seed = int(generator(tune.seed, "tune", queued or number).integers(2**32))
    match tune.sampler:
        case "tpe":
            return TPESampler(n_startup_trials=tune.startup_trials, multivariate=True, constant_liar=True, seed=seed)
        case "random":
            return RandomSampler(seed=seed)


def pruner(params: Params, tune: TuneFile) -> "BasePruner":
    """What ends trials early: the median rule (Golovin et al. 2017), or hyperband (Li et al. 2018).

    Hyperband is told the steps of the longest trial: left to find them in the first finished one, a study of one worker
    and another of two would have other brackets.
    """
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    match tune.pruner:
        case "none":
            return NopPruner()
        case "median":
            return MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.warmup_epochs)
        case "hyperband":
            steps = tune.steps(params.section(TrainParams).epochs)
            return HyperbandPruner(min_resource=min(steps, max(_HYPERBAND_LEAST, tune.warmup_epochs)),
                                   max_resource=steps, reduction_factor=_HYPERBAND_FACTOR)


def check_pruner(params: Params, tune: TuneFile) -> None:
    """Warn of a pruner that can end no trial: its first question would come with a trial's last step, or later."""
    steps = tune.steps(params.section(TrainParams).epochs)
    if tune.pruner != "none" and tune.warmup_epochs >= steps:
        warnings.warn(f"{tune.name}: pruner {tune.pruner} has no effect, as warmup_epochs is {tune.warmup_epochs} and "
                      f"a trial has {steps} step{'s' * (steps > 1)} at most", stacklevel=2)
