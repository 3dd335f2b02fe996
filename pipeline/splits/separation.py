"""How far val and test ground lies from train ground, set against the ground a map is made for.

Nearest-neighbour distances after kNNDM (Linnenbrink, Mila, Ludwig & Meyer 2024, Geosci. Model Dev. 17): scores speak
for a map whose ground lies as far from train ground as the scored ground did. The difference of the two distributions
is W, the area between their cumulative curves (Wasserstein-1), in metres.

Also a quick model, fitted to train ground, scored on val by distance to the nearest train pixel: what is lost with
distance is what near neighbours had given away. Test ground is only measured, never scored.

Shape legend: N pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import accuracy, mcc
from pipeline.scenes.store import Scene, SceneStore
from pipeline.seeding import generator
from pipeline.splits.blocks import bands_of
from pipeline.splits.quick_model import QuickModel
from pipeline.splits.sample import Rule, Sample, draw, image_values, look_up, positions_m
from pipeline.splits.split import GROUND_TRAINS, Part, Split
from pipeline.splits.support import labelled_band
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray

#: Sampled pixels of each kind of ground, and of train ground for the quick model.
_PIXELS, _FIT_PIXELS = 4000, 8000

#: Train ground is searched for in at most this many cells (of one pixel each where they suffice).
_CELLS = 600_000

#: Scores are given for this many distance classes of about equal numbers of pixels.
_BINS = 5

#: Cumulative shares at which distributions are certified.
_SHARES = np.linspace(0, 1, 101)

Metres = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreAt:
    """Scores of the quick model on the val pixels at distances from `low_m` (inclusive) to `high_m`."""

    low_m: float
    high_m: float
    pixels: int
    accuracy: float
    mcc: float


@dataclass(frozen=True)
class Separation:
    """Distances to the nearest train pixel in metres, ascending, and scores by distance.

    `cell_m` is the side of the cells in which train pixels were looked for: distances are right to that much.
    """

    map_m: Metres
    val_m: Metres
    test_m: Metres
    cell_m: float
    scores: tuple[ScoreAt, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: quantiles of each distribution, W of the scored ones against the map's, scores by distance."""
        quantiles = {f"{name}_to_train_m": [round(float(q), 1) for q in np.quantile(values, _SHARES)]
                     for name, values in self._named() if len(values)}
        apart = {f"{name}_against_map": round(wasserstein(values, self.map_m), 2)
                 for name, values in self._named()[1:] if len(values) and len(self.map_m)}
        scores = [{"low_m": round(s.low_m, 1), "high_m": round(s.high_m, 1), "pixels": s.pixels,
                   "accuracy": round(s.accuracy, 4), "mcc": None if np.isnan(s.mcc) else round(s.mcc, 4)}
                  for s in self.scores]
        return {"quantiles": quantiles, "wasserstein_m": apart, "cell_m": round(self.cell_m, 2),
                "quick_model_on_val": scores}

    def _named(self) -> list[tuple[str, Metres]]:
        return [("map", self.map_m), ("val", self.val_m), ("test", self.test_m)]


def wasserstein(one: Metres, other: Metres) -> float:
    """Area between the cumulative curves of two samples, in their unit."""
    places = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(values), places[:-1], side="right") / len(values) for values in (one, other)]
    return float((np.abs(shares[0] - shares[1]) * np.diff(places)).sum())


def measure_separation(split: Split, store: SceneStore, seed: int) -> Separation:
    """Measure a written split. The map's ground is every valid pixel, the scored ground the labelled ones."""
    trains = train_rule(split, store)
    tree, cell_m = _train_tree(store, trains)
    grids = [scene.grid for scene in store]

    def distance(sample: Sample) -> Metres:
        metres: Metres = tree.query(positions_m(grids, sample))[0]
        own = look_up(store, sample, lambda scene: split.ground_map(scene.id)) == GROUND_TRAINS
        own &= look_up(store, sample, lambda scene: scene.labels) != IGNORE_INDEX
        return np.where(own, 0.0, metres)

    def sample(rule: Rule, name: str, pixels: int = _PIXELS) -> Sample:
        return draw(store, rule, pixels, generator(seed, "separation", name))

    whole = sample(lambda scene, s: scene.valid[s] > 0, "map")
    val, test = sample(_labelled(split, store, "val"), "val"), sample(_labelled(split, store, "test"), "test")
    train, val_m = sample(trains, "train", _FIT_PIXELS), distance(val)
    return Separation(np.sort(distance(whole)), np.sort(val_m), np.sort(distance(test)), cell_m,
                      _scores(split, store, train, val, val_m, seed))


def train_rule(split: Split, store: SceneStore) -> Rule:
    """Chooses labelled valid pixels of ground that trains."""
    grounds = {scene.id: split.ground_map(scene.id) for scene in store}

    def rule(scene: Scene, s: tuple[slice, slice]) -> BoolArray:
        known = labelled_band(scene, split.lut, s) != IGNORE_INDEX
        return np.asarray(known & (grounds[scene.id][s] == GROUND_TRAINS))

    return rule


def _labelled(split: Split, store: SceneStore, part: Part) -> Rule:
    folds = {scene.id: split.fold_map(scene.id) for scene in store}

    def rule(scene: Scene, s: tuple[slice, slice]) -> BoolArray:
        return np.asarray((labelled_band(scene, split.lut, s) != IGNORE_INDEX) & split.mask(folds[scene.id][s], part))

    return rule


def _train_tree(store: SceneStore, rule: Rule) -> tuple[KDTree, float]:
    """A tree over the cells that hold a labelled train pixel, and the side of a cell in metres.

    A cell stands for itself by one of its pixels nearest its middle.
    """
    pixels = sum(scene.grid.height * scene.grid.width for scene in store)
    side = max(1, int(np.ceil(np.sqrt(pixels / _CELLS))))
    found = []
    for index, scene in enumerate(store):
        for band in bands_of(scene.grid, side):
            trains = rule(scene, band.slices)
            starts = [np.arange(0, n, side) for n in trains.shape]
            cells = np.logical_or.reduceat(np.logical_or.reduceat(trains, starts[0], axis=0), starts[1], axis=1)
            row, col = np.nonzero(cells)
            row = np.minimum(band.row + row * side + side // 2, scene.grid.height - 1)
            col = np.minimum(col * side + side // 2, scene.grid.width - 1)
            found.append(Sample(np.full(len(row), index, dtype=np.intp), row, col))
    joined = Sample(*(np.concatenate([getattr(part, f) for part in found]) for f in ("scene", "row", "col")))
    xyz = positions_m([scene.grid for scene in store], joined)
    return KDTree(xyz, balanced_tree=False), side * max(max(scene.grid.ground_pixel_m) for scene in store)


def _scores(split: Split, store: SceneStore, train: Sample, val: Sample, val_m: Metres,
            seed: int) -> tuple[ScoreAt, ...]:
    """The quick model's scores by distance; none where train or val has nothing to learn or to tell apart."""
    def classes(sample: Sample) -> AnyArray:
        return split.lut[look_up(store, sample, lambda scene: scene.labels)]

    truth_train, truth = classes(train), classes(val)
    if np.unique(truth_train).size < 2 or not len(val):
        return ()
    model = QuickModel.fit(image_values(store, train), truth_train, seed, "train part")
    predicted = model.predict(image_values(store, val))
    edges = np.unique(np.quantile(val_m, np.linspace(0, 1, _BINS + 1)))
    place = np.minimum(np.searchsorted(edges, val_m, side="right") - 1, max(len(edges) - 2, 0))
    result = []
    for i in np.unique(place):
        here = place == i
        confusion = Confusion.of(truth[here], predicted[here], len(split.classes))
        result.append(ScoreAt(float(edges[i]), float(edges[min(i + 1, len(edges) - 1)]), int(here.sum()),
                              float(accuracy(confusion)), float(mcc(confusion))))
    return tuple(result)
