"""Which members a training has: one for each seed and val fold."""

from dataclasses import dataclass

from pipeline.errors import SplitError
from pipeline.params.train import TrainParams
from pipeline.splits.split import Split


@dataclass(frozen=True)
class Member:
    """One member: its place in models/checkpoint/members, the seed of all its draws, and the fold it holds out."""

    number: int
    seed: int
    fold: int

    @property
    def tags(self) -> dict[str, str]:
        """Of its run."""
        return {"kumulus.seed": str(self.seed), "kumulus.val_fold": str(self.fold)}


def members(params: TrainParams, seed: int, split: Split) -> tuple[Member, ...]:
    """The members in order, seeds outside and folds inside.

    Args:
        params: `folds` and `seeds`.
        seed: the project's, for `seeds: []`.
        split: whose folds are held out.

    Raises:
        SplitError: `folds` is neither 1 nor the number of the split's folds.
    """
    if params.folds not in (1, split.folds):
        raise SplitError(f"train.folds must be 1 or the number of the split's folds, {split.folds}: got "
                         f"{params.folds}; set it to one of these, or spatial_split.folds to it")
    folds = (split.val_fold,) if params.folds == 1 else tuple(range(split.folds))
    pairs = [(s, fold) for s in params.seeds or (seed,) for fold in folds]
    return tuple(Member(number, s, fold) for number, (s, fold) in enumerate(pairs))
