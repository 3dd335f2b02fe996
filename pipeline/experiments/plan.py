"""What an ablation will run: every variant's whole configuration, validated, and the name of its experiment.

A variant's key is the digest of everything its scores follow from: the sections of params.yaml that evaluate and the
stages before it read, their code, requirements.lock and the input files. The key is part of the experiment's name, so
an experiment of that name is this variant's, finished, whenever and from whichever commit it was run.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.digests import LOCK_FILE, canonical_sha256, file_sha256, path_sha256, stage_code, stage_data
from pipeline.errors import ParamsError
from pipeline.experiments.declaration import Ablation, Changes
from pipeline.experiments.overrides import words
from pipeline.params.changes import leaves, with_changes
from pipeline.params.dotted import value_at
from pipeline.params.evaluate import BootstrapParams, EvaluateParams
from pipeline.params.load import Params, load
from pipeline.params.spatial_split import SplitParams
from pipeline.params.task import Task
from pipeline.params.train import TrainParams

#: The stages an experiment runs, up to its target.
STAGES = ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate")
TARGET = STAGES[-1]

#: Sections that none of them reads.
_BEYOND = ("export",)


@dataclass(frozen=True)
class Variant:
    """One configuration. `changes` are its own, as declared; `dump` is params.yaml with them and all defaults."""

    name: str
    changes: Mapping[str, Any]
    overrides: tuple[str, ...]
    dump: Mapping[str, Any]
    key: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The variants of an ablation, the baseline first, and how they will be compared."""

    name: str
    metrics: tuple[str, ...]
    bootstrap: BootstrapParams
    seed: int
    variants: tuple[Variant, ...]

    def experiment(self, variant: Variant) -> str:
        """The name of a variant's experiment."""
        return f"{self.name}-{variant.name}-{variant.key[:8]}"


def make_plan(ablation: Ablation, params_file: Path) -> Plan:
    """Validate every variant and give it its key.

    Raises:
        ParamsError: params.yaml or a variant breaks the schema, two variants are the same, or a metric's class is
            unknown.
        IntegrityError: a code or input file is missing.
    """
    load(params_file)  # its own faults are told first
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load(params_file.read_text(encoding="utf-8"))
    root = params_file.parent
    common = dict(ablation.common)
    if ablation.seeds:
        common["train.seeds"] = list(ablation.seeds)
    if ablation.folds:
        common["train.folds"] = ablation.folds
    surroundings = _Surroundings(root)
    declared: dict[str, Changes] = {ablation.baseline: {}, **ablation.changes}
    variants: list[Variant] = []
    for name, changes in declared.items():
        variant = _variant(name, changes, common, raw, surroundings)
        if same := [other.name for other in variants if other.key == variant.key]:
            raise ParamsError(f"ablation {ablation.name}: {name} must differ from {same[0]} in what the stages up to "
                              f"{TARGET} read: {_shown(changes)} changes nothing there; take it out")
        variants.append(variant)
    first = Params(with_changes(raw, common))
    _check_metrics(ablation, first)
    return Plan(ablation.name, ablation.metrics, first.section(EvaluateParams).bootstrap, first.seed, tuple(variants))


def _variant(name: str, changes: Changes, common: Changes, raw: dict[str, Any],
             surroundings: "_Surroundings") -> Variant:
    every = {**leaves(common), **leaves(changes)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            params = Params(with_changes(raw, every))
            train, split = params.section(TrainParams), params.section(SplitParams)
            if train.folds not in (1, split.folds):
                raise ParamsError(f"train.folds must be 1 or spatial_split.folds={split.folds}: got {train.folds}")
            overrides = [word for key, value in every.items() for word in words(key, value_at(raw, key), value)]
        except ParamsError as error:
            raise ParamsError(f"variant {name} ({_shown(changes) or 'the baseline'}): "
                              f"{str(error).removeprefix('params.yaml: ')}") from error
    dump = params.dump()
    read = {section: value for section, value in dump.items() if section not in _BEYOND}
    key = canonical_sha256({**surroundings.of(dump), "params": read})
    return Variant(name, changes, tuple(overrides), dump, key, tuple(dict.fromkeys(str(w.message) for w in caught)))


class _Surroundings:
    """Digests of code, lock and input files, each computed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        code = {stage: stage_code(root, stage) for stage in STAGES}
        self._fixed = {"code": code, "lock": file_sha256(root / LOCK_FILE)}
        self._inputs: dict[str, dict[str, str]] = {}

    def of(self, dump: Mapping[str, Any]) -> dict[str, Any]:
        """Of a variant, whose inputs may be its own."""
        place = str(dump["acquire"]["inputs"])
        if place not in self._inputs:
            names = stage_data(self._root, "acquire", dump)
            self._inputs[place] = {name: path_sha256(self._root / name) for name in names}
        return {**self._fixed, "inputs": self._inputs[place]}


def _shown(changes: Changes) -> str:
    return ", ".join(f"{key}: {value}" for key, value in changes.items())


def _check_metrics(ablation: Ablation, params: Params) -> None:
    task, counted = params.section(Task), params.section(EvaluateParams).object_classes
    for metric in ablation.metrics:
        kind, _, rest = metric.partition(".")
        name = rest.partition(".")[0]
        if rest and name not in task.class_names:
            raise ParamsError(f"ablation {ablation.name}: metric {metric} must name a class of task.classes "
                              f"{list(task.class_names)}: got {name!r}")
        if kind == "objects" and name not in counted:
            raise ParamsError(f"ablation {ablation.name}: metric {metric} needs {name} in evaluate.object_classes: "
                              f"got {list(counted)}; add it there or under `common`")
