"""The file an ablation is declared in: what to change, over which seeds and folds, compared by which scores.

Such as::

    seeds: [42, 123]              # every variant trains a member for each; left out: as params.yaml says
    folds: 5                      # 1, or spatial_split.folds; left out: as params.yaml says
    metrics: [mcc, iou.lake, objects.lake.f1]
    common: {train.epochs: 30}    # set in every variant, the baseline too
    changes:
      no_attention: {train.network.decoder_attention: none}

A seed or fold is no run of its own: one experiment trains all members of a variant, from data made once.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.declared import read_declared

#: Names become parts of the names of experiments, and those of git references.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9_])?$")]

#: Dotted keys of params.yaml with their values.
Changes = dict[str, Any]

#: Set by the declaration's own keys, the same in every variant, or members could not be paired.
RESERVED = {"train.seeds": "seeds", "train.folds": "folds"}

_METRIC = re.compile(r"^(mcc|kappa|accuracy|macro_iou|(iou|f1|precision|recall|class_mcc)\.[a-z][a-z0-9_]*"
                     r"|objects\.[a-z][a-z0-9_]*\.(found_share|precision|f1))$")


class Ablation(Section):
    """A baseline and the variants of it."""

    #: Names the ablation's experiments and its report; "" = the file's name.
    name: Name | Annotated[str, Field(max_length=0)] = ""
    #: train.seeds of every variant; () = as params.yaml says.
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = ()
    #: train.folds of every variant; 0 = as params.yaml says.
    folds: int = Field(default=0, ge=0)
    #: Scores by the names metrics.json has them under, nested names joined by dots.
    metrics: tuple[str, ...] = Field(default=("mcc", "macro_iou"), min_length=1)
    #: What the unchanged configuration is called.
    baseline: Name = "baseline"
    #: Set in every variant and the baseline.
    common: Changes = Field(default_factory=dict)
    changes: dict[Name, Changes] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Ablation":
        if wrong := [metric for metric in self.metrics if not _METRIC.match(metric)]:
            raise ValueError("metrics must be mcc, kappa, accuracy, macro_iou, a score of a class such as iou.water "
                             f"(iou, f1, precision, recall, class_mcc), or of its objects such as objects.water.f1: "
                             f"got {wrong[0]!r}")
        for kind, names in (("metrics", self.metrics), ("seeds", self.seeds)):
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} must differ: got {list(names)}")
        if self.baseline in self.changes:
            raise ValueError(f"changes must not have the baseline's name: got {self.baseline!r}; rename one")
        for name, changes in {"common": self.common, **self.changes}.items():
            if not changes and name != "common":
                raise ValueError(f"changes.{name} must change something: got {{}}; name a key of params.yaml")
            for key, word in RESERVED.items():
                if key in changes:
                    raise ValueError(f"{name} must not set {key}, which is the same for all variants: set `{word}`")
        return self


def read(file: Path) -> Ablation:
    """Read a declaration; its name is the file's where it says none.

    Raises:
        ParamsError: there is no such file, it is not YAML, or it breaks the schema.
    """
    return read_declared(file, Ablation, "an ablation", "recipes/ablate/", lambda _: list(Ablation.model_fields))
