"""Who is scored: the checkpoint's members together, alone and with test-time augmentation, each where it may be.

Members that held out different folds are scored out of fold: every block of every fold is predicted by the members
that held it out (all seeds averaged), never by one that trained on it (Stone 1974, cross-validatory assessment). That
scores the way of training; the ensemble of all members, which is exported, has seen those blocks, and only the test
part can tell what it is worth.

Shape legend: H rows, W columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError
from pipeline.evaluation.tally import MEMBER, NETWORK, TTA, Method
from pipeline.evaluation.truths import Ground, ScoredPart
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.ensemble import Mean, Members, held_out, walk
from pipeline.inference.mosaic import decide
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.inference.tta import d4
from pipeline.params.evaluate import TileParams
from pipeline.params.task import Task
from pipeline.paths import Paths
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, FloatArray, Predictor, UInt8Array, Window

#: Methods that are computed but not scored as such: one out-of-fold mosaic a seed, which its members share.
_SEED = "network_seed"


@dataclass(frozen=True)
class MemberFacts:
    """A member's number (its folder), the seed of its draws, the fold it held out, and what that fold chose of it."""

    number: int
    seed: int
    fold: int
    val_chose: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Lineup:
    """The network's side of a scoring."""

    part: ScoredPart
    network: Members
    recipe: ChannelRecipe
    #: None where a predictor stands in for the checkpoint.
    members: tuple[MemberFacts, ...]
    #: The folds scored as val; () = the certificate's.
    folds: tuple[int, ...]
    out_of_fold: bool
    maps: Mapping[Method, Mean]
    #: Methods that are read off the map of another, on the ground of one fold.
    read_off: Mapping[Method, tuple[Method, int]] = field(default_factory=dict)

    @property
    def fold_of(self) -> dict[Method, int]:
        """The methods that are scored on one fold only."""
        return {method: fold for method, (_, fold) in self.read_off.items()}

    def bands(self, ground: Ground, tiles: TileParams) -> Iterator[tuple[Window, dict[Method, UInt8Array]]]:
        """Full-width windows of a scene from top to bottom with the class ids (255 = none) of every method."""
        source = ChannelPixels(StorePixels(ground.scene), self.recipe)
        folds_of = ground.scored_folds if self.out_of_fold else None
        for window, probs in walk(self.network, self.maps, source, tiles, folds_of):
            valid_HW = source.valid(window)
            if self.out_of_fold:
                valid_HW &= ground.scored_folds(window) != IGNORE_INDEX
            made = {method: decide(p, valid_HW)[0] for method, p in probs.items()}
            made |= {method: made[origin] for method, (origin, _) in self.read_off.items()}
            yield window, {method: classes for method, classes in made.items() if method[0] != _SEED}


def lineup(paths: Paths, split: Split, task: Task, part: ScoredPart, seed: int, tta: bool = False,
           predictor: Predictor | None = None) -> Lineup:
    """What is scored of the checkpoint, or of `predictor` in its place.

    Args:
        paths: where the checkpoint lies.
        split: the split that is scored on.
        task: its channels are the predictor's.
        part: val or test.
        seed: the project's, for members that do not say theirs.
        tta: also score the network with test-time augmentation.
        predictor: replaces the checkpoint (tests).

    Raises:
        ModelError: a member was trained with another split, its classes are not the split's, or members that held out
            different folds are not one for each seed and fold.
    """
    if predictor is not None:
        _check_classes(predictor.classes, split)
        maps = _with_tta({(NETWORK, 0): Mean((0,))}, tta)
        return Lineup(part, _StandIn(predictor), ChannelRecipe.of(task), (), (), False, maps)
    from pipeline.inference.network import NetworkPredictor
    from pipeline.networks.members import load_member, member_folders

    folders = member_folders(paths.checkpoint)
    loaded = {int(folder.name): load_member(folder) for folder in folders}
    split_sha256 = folder_sha256(split.folder)
    if strangers := [f"members/{i}" for i, member in loaded.items() if member.spec.split != split_sha256]:
        raise ModelError(f"a model must be scored on the split it was trained with: {strangers} of {paths.checkpoint} "
                         "were trained with another, so held-out ground may be known to them; run `dvc repro train`")
    network = NetworkPredictor(list(loaded.values()))
    _check_classes(network.classes, split)
    specs = {number: member.spec for number, member in loaded.items()}
    members = tuple(MemberFacts(number, spec.seed if spec.seed >= 0 else seed,
                                spec.val_fold if spec.val_fold >= 0 else split.val_fold, spec.val_chose)
                    for number, spec in specs.items())
    folds = tuple(sorted({member.fold for member in members}))
    if part == "val" and len(folds) > 1:
        return _out_of_fold(network, network.recipe, members, folds, tta)
    everyone = tuple(range(len(members)))
    alone = {(MEMBER, m.number): Mean((i,)) for i, m in enumerate(members)} if len(members) > 1 else {}
    whole = {(NETWORK, -1 if alone else 0): Mean(everyone)}
    scored = () if part == "test" or folds == (split.val_fold,) else folds
    return Lineup(part, network, network.recipe, members, scored, False, _with_tta(whole, tta) | alone)


def _check_classes(classes: tuple[str, ...], split: Split) -> None:
    if tuple(classes) != split.classes:
        raise ModelError(f"the model's classes must be the split's {list(split.classes)}: got "
                         f"{list(classes)}; run `dvc repro train`")


def _with_tta(whole: dict[Method, Mean], tta: bool) -> dict[Method, Mean]:
    """The whole network's map, and the same with test-time augmentation."""
    ((_, member), mean), = whole.items()
    return whole | ({(TTA, member): Mean(mean.everywhere, mean.by_fold, tta=True)} if tta else {})


def _out_of_fold(network: Members, recipe: ChannelRecipe, members: tuple[MemberFacts, ...], folds: tuple[int, ...],
                 tta: bool) -> Lineup:
    seeds = tuple(dict.fromkeys(member.seed for member in members))
    pairs = sorted((member.seed, member.fold) for member in members)
    if pairs != sorted((seed, fold) for seed in seeds for fold in folds):
        raise ModelError("members that held out different folds must be one for each seed and fold: got seed, fold "
                         f"{pairs}; run `dvc repro train`")
    maps = _with_tta({(NETWORK, -1): Mean(by_fold=held_out([member.fold for member in members]))}, tta)
    origin = {seeds[0]: (NETWORK, -1)}
    if len(seeds) > 1:
        origin = {seed: (_SEED, place) for place, seed in enumerate(seeds)}
        for seed, method in origin.items():
            own = {m.fold: (i,) for i, m in enumerate(members) if m.seed == seed}
            maps[method] = Mean(by_fold=own)
    read_off = {(MEMBER, m.number): (origin[m.seed], m.fold) for m in members}
    return Lineup("val", network, recipe, members, folds, True, maps, read_off)


class _StandIn:
    """A predictor as a network of one member."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def bands(self) -> tuple[str, ...]:
        """The predictor's channels."""
        return self._predictor.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """The predictor's classes."""
        return self._predictor.classes

    def of(self, place: int, image_NCHW: FloatArray) -> FloatArray:
        """The predictor's probabilities; it is the member at place 0."""
        assert place == 0
        return np.asarray(self._predictor.probabilities(image_NCHW))

    def views_of(self, place: int, image_NCHW: FloatArray) -> list[FloatArray]:
        """The same from every view."""
        return d4(lambda image: self.of(place, image), image_NCHW)
