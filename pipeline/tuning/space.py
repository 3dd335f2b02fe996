"""The file a search is declared in: which keys of section train, over which ranges, judged by which score.

Such as::

    metric: iou.informal_settlement     # mcc | macro_iou | iou.<class>, on inner folds
    trials: 20
    epochs: 12                          # of a trial; left out: train.epochs
    space:
      train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
      train.batch_size: {choices: [4, 8, 16]}
      train.network.encoder_depth: {low: 3, high: 5, int: true}

`values` turns what the sampler knows of a trial into what params.yaml is given.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.errors import ParamsError
from pipeline.params.base import Section
from pipeline.params.changes import leaves
from pipeline.params.declared import Location, read_declared
from pipeline.tuning.dimension import Dimension, Known, Value

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["Dimension", "Known", "TuneFile", "read_space", "suggest", "values"]

_METRIC = re.compile(r"^(mcc|macro_iou|iou\.[a-z][a-z0-9_]*)$")

#: Keys of section train that no trial may change, and why not.
RESERVED = {
    "train.seeds": "every trial is trained with one seed, the first of train.seeds or the project's",
    "train.folds": "the tune file's `folds` says which inner folds a trial is scored on",
    "train.devices": "a trial is trained on one device; start more workers instead",
    "train.threads": "it says how a result is computed, not which; set `threads` of the tune file",
    "train.workers": "no result depends on it",
    "train.save_every_s": "no result depends on it",
    "train.accelerator": "it says how a result is computed, not which",
    "train.score_every": "it may be above 1 only where val decides nothing, so no score depends on it",
    "train.warm_start.uri": "every trial starts from what params.yaml names; compare starts by `kumulus ablate`",
    "train.warm_start.sha256": "every trial starts from what params.yaml names; compare starts by `kumulus ablate`",
    "train.calibration.temperature": "it changes probabilities and never the class, and so no trial's score",
}


#: Dotted keys of params.yaml and what each may be.
Space = Mapping[str, Dimension]


class TuneFile(Section):
    """A search: how many trials, how each is scored, and over which values."""

    #: Names the study, its files and MLflow runs; "" = the file's name.
    name: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9_-]*[a-z0-9_])?)?$")
    #: The score that is maximized: mcc, macro_iou, or iou of one class as `iou.<class>`.
    metric: str = "mcc"
    #: Inner val folds: folds of the split other than its val fold; () = the first after it that holds enough of every
    #: class.
    folds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    #: How many trials the study shall have in all.
    trials: int = Field(default=20, ge=1)
    #: train.epochs of a trial, to end it sooner; left out: that of params.yaml (or of the space).
    epochs: int | None = Field(default=None, ge=1)
    #: train.threads of a trial; left out: that of params.yaml. Several workers share the machine's cores.
    threads: int | None = Field(default=None, ge=1)
    sampler: Literal["tpe", "random"] = "tpe"
    #: Seeds the sampler.
    seed: int = Field(default=42, ge=0, lt=2**32)
    pruner: Literal["none", "median", "hyperband"] = "median"
    #: Trials that are drawn evenly, and not pruned, before the others learn from them.
    startup_trials: int = Field(default=8, ge=1)
    #: Epochs of a trial before it may be pruned.
    warmup_epochs: int = Field(default=0, ge=0)
    space: dict[str, Dimension] = Field(min_length=1)

    @property
    def direction(self) -> Literal["maximize"]:
        """Every score is better the higher."""
        return "maximize"

    @property
    def metric_class(self) -> str:
        """The class whose iou is the metric; "" for the others."""
        return self.metric.partition(".")[2]

    @property
    def leaves(self) -> dict[str, str]:
        """The keys that trials set, sections among the choices resolved into theirs -> the space's key."""
        return {leaf: key for key, dimension in self.space.items() for value in dimension.trying
                for leaf in leaves({key: value})}

    def most_epochs(self, configured: int) -> int:
        """Epochs of the longest trial there can be, of one inner fold; `configured` where this file says none."""
        if searched := self.space.get("train.epochs"):
            return int(max(searched.trying))
        return self.epochs or configured

    def steps(self, configured: int) -> int:
        """Steps of the longest trial, over its inner folds."""
        return max(1, len(self.folds)) * self.most_epochs(configured)

    @model_validator(mode="after")
    def _consistent(self) -> "TuneFile":
        if not _METRIC.match(self.metric):
            raise ValueError("metric must be mcc, macro_iou, or the iou of a class such as iou.water: "
                             f"got {self.metric!r}")
        if len(set(self.folds)) < len(self.folds):
            raise ValueError(f"folds must differ: got {list(self.folds)}")
        for key in self.space:
            if not key.startswith("train."):
                raise ValueError(f"space must have keys of section train only, such as train.optimizer.lr: got {key!r};"
                                 " data would have to be rebuilt for every trial: compare its values by "
                                 "`kumulus ablate`")
        for key in self.leaves:
            if key in RESERVED:
                raise ValueError(f"space must not have {key}: {RESERVED[key]}")
        for key, dimension in self.space.items():
            _require_same_leaves(key, dimension)
        if self.epochs and "train.epochs" in self.space:
            raise ValueError(f"epochs must be left out where space has train.epochs: got {self.epochs}")
        return self


def _require_same_leaves(key: str, dimension: Dimension) -> None:
    """See that choices that are sections set the same keys: what one leaves out would come from params.yaml.

    Raises:
        ValueError: one sets a key that another leaves out.
    """
    found = [(choice, leaves({key: choice}).keys()) for choice in dimension.choices]
    every = {leaf for _, own in found for leaf in own}
    for choice, own in found:
        if lacking := sorted(every - own):
            raise ValueError(f"space.{key}: all choices must set the same keys, as what one leaves out would come from "
                             f"params.yaml, which is no part of the study then: {choice} lacks {lacking[0]}; write it "
                             "into every choice")


def read_space(path: Path) -> TuneFile:
    """Read a tune file; the study's name is the file's where it says none.

    Raises:
        ParamsError: there is no such file, it is not YAML, or it breaks the schema.
    """
    return read_declared(path, TuneFile, "a search", "recipes/tune/", _known)


def _known(where: Location) -> list[str]:
    """The keys a tune file, or a dimension of its space, may have."""
    model = Dimension if where[0] == "space" else TuneFile
    return [field.alias or name for name, field in model.model_fields.items()]


def suggest(trial: "BaseTrial", space: Space, exact: bool = False) -> dict[str, Value]:
    """The changed keys of a trial, with the values that params.yaml is given for what the sampler draws.

    `exact`: the values are not drawn, but those that params.yaml has; they stay as they are.
    """
    return {key: dimension.value(dimension.suggest(trial, key), exact) for key, dimension in space.items()}


def values(known: Mapping[str, Known], space: Space, exact: bool = False) -> dict[str, Value]:
    """The changed keys of a finished trial: `trial.params` as params.yaml is given them; `exact` as in `suggest`.

    Raises:
        ParamsError: a key is not the space's, or a value none of its choices.
    """
    if strangers := sorted(known.keys() ^ space.keys()):
        raise ParamsError(f"a trial must have the keys of the space {sorted(space)}: {strangers[0]} is only in one of "
                          "them; the tune file has changed since the trial was made")
    return {key: dimension.value(known[key], exact) for key, dimension in space.items()}
