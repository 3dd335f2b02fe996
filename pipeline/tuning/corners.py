"""A trial's whole configuration, and the proof, before the first trial, that the space's corners have one.

A key that params.yaml does not know, or a bound that it refuses, would otherwise end a trial hours into a study.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ParamsError
from pipeline.params.changes import leaves, with_changes
from pipeline.params.dotted import value_at
from pipeline.params.load import Params
from pipeline.params.task import Task
from pipeline.tuning.dimension import Dimension, Known
from pipeline.tuning.space import TuneFile


def trial_params(params: Params, tune: TuneFile, changes: Mapping[str, Any]) -> Params:
    """params.yaml as a trial trains with it: one member at a time, no calibration, epochs and threads of the tune file.

    Raises:
        ParamsError: params.yaml with these changes breaks the schema.
    """
    fixed: dict[str, Any] = {"train.folds": 1, "train.seeds": [], "train.calibration.temperature": False}
    if tune.epochs:
        fixed["train.epochs"] = tune.epochs
    if tune.threads:
        fixed["train.threads"] = tune.threads
    return Params(with_changes(params.raw, {**fixed, **changes}))


def quiet_params(params: Params, tune: TuneFile, changes: Mapping[str, Any]) -> Params:
    """`trial_params` without its warnings, of which `check_space` has told.

    Raises:
        ParamsError: params.yaml with these changes breaks the schema.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trial_params(params, tune, changes)


def check_space(params: Params, tune: TuneFile) -> None:
    """Validate params.yaml as every trial has it, with each choice, bound and middle alone, and all low or all high.

    A setting without effect at both these corners is warned of, once.

    Raises:
        ParamsError: one of these breaks the schema, keys overlap, or the metric's class is not the task's.
    """
    _check_overlap(tune)
    if tune.metric_class and tune.metric_class not in (names := params.section(Task).class_names):
        raise ParamsError(f"{tune.name}: metric {tune.metric} must name a class of task.classes {list(names)}: "
                          f"got {tune.metric_class!r}")
    told = [_warnings_of(params, tune, where, changes) for where, changes in _corners(tune)]
    with warnings.catch_warnings(record=True) as known:
        warnings.simplefilter("always")
        Params(params.raw)
    for text in told[-1]:
        if text in told[-2] and text not in {str(warning.message) for warning in known}:
            warnings.warn(f"{tune.name}: in every trial {text}", stacklevel=2)


def _warnings_of(params: Params, tune: TuneFile, where: str, changes: Mapping[str, Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trial_params(params, tune, changes)
        except ParamsError as error:
            raise ParamsError(f"{tune.name}: {where}: {str(error).removeprefix('params.yaml: ')}") from error
    return list(dict.fromkeys(str(warning.message) for warning in caught))


def present(params: Params, tune: TuneFile) -> dict[str, Known] | None:
    """params.yaml's own values as the sampler knows them, so that they can be a study's first trial.

    None where one of them is outside the space.
    """
    dump = params.dump("train")
    try:
        return {key: _known(dump, key, dimension) for key, dimension in tune.space.items()}
    except ParamsError:
        return None


def _known(dump: Mapping[str, Any], key: str, dimension: Dimension) -> Known:
    """What the sampler calls the present value; a choice of several keys is it where those keys have its values."""
    for choice in dimension.choices:
        if all(value_at(dump, leaf) == value for leaf, value in leaves({key: choice}).items()):
            return dimension.known(choice)
    return dimension.known(value_at(dump, key))


def _corners(tune: TuneFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is tried, in words and as changes; last the two corners in which every key is low, and high."""
    yield "params.yaml with the tune file's epochs and threads", {}
    for key, dimension in tune.space.items():
        for value in dimension.trying:
            yield f"space.{key}: {value}", {key: value}
    for name, place in (("lowest or first", 0), ("highest or last", 1)):
        yield f"space, every key at its {name} value", {key: d.bounds[place] for key, d in tune.space.items()}


def _check_overlap(tune: TuneFile) -> None:
    """Raise where two keys set the same value: which one did would depend on their order."""
    owner: dict[str, str] = {}
    for key, dimension in tune.space.items():
        for leaf in {leaf for value in dimension.trying for leaf in leaves({key: value})}:
            inside = [other for other in owner if f"{leaf}.".startswith(f"{other}.") or other.startswith(f"{leaf}.")]
            if clash := [owner[other] for other in inside if owner[other] != key]:
                raise ParamsError(f"{tune.name}: space must set every value once: {clash[0]} and {key} both set "
                                  f"{leaf}; leave one out")
            owner[leaf] = key
