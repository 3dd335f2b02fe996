"""The maps of every scene of the store, checked against what evaluate counted.

With one val fold, evaluate has scored the very maps that are written here, so the finished files must give its counts
again. Where members held out different folds its scores are out of fold, and the ensemble's own maps have seen those
blocks: then the out-of-fold mosaic is made once more, from the same forward passes, and must give evaluate's counts,
and the finished files must give those of the ensemble as it was predicted. Nothing of that is a score.

Shape legend: K classes, H rows, W columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.truths import Ground
from pipeline.exporters import checks
from pipeline.exporters.maps import map_tags, write_bands
from pipeline.inference.ensemble import Mean, held_out, walk
from pipeline.inference.mosaic import decide
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.inference.tiles import PixelSource
from pipeline.metrics.confusion import Confusion, merge_blocks, per_block
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import FloatArray, Window

#: Names of the two maps that are made together.
_EXPORTED, _HELD_OUT = "exported", "held out"

Bands = Iterator[tuple[Window, dict[str, FloatArray]]]


@dataclass(frozen=True)
class SceneMaps:
    """Finished class maps by scene, and the share of each class in them."""

    class_maps: Mapping[str, Path]
    shares: Mapping[str, Mapping[str, float]]


def write_scene_maps(
    folder: Path,
    network: NetworkPredictor,
    folds: Sequence[int],
    facts: ModelFacts,
    store: SceneStore,
    split: Split,
    recorded: checks.BlockConfusions,
) -> SceneMaps:
    """Write class and confidence maps of all scenes into `folder` and check them.

    Args:
        folder: where to.
        network: the members.
        folds: what each of them held out.
        facts: classes, colours, tiles, test-time augmentation, digest.
        store: the scenes.
        split: the split.
        recorded: evaluate's counts of the network on the val part.

    Raises:
        IntegrityError: a finished file fails a check.
    """
    tags, tta = map_tags(facts.provenance, facts.classes), facts.tta == "d4"
    out_of_fold = len(set(folds)) > 1
    scored = () if set(folds) == {split.val_fold} else tuple(sorted(set(folds)))
    maps = {_EXPORTED: Mean(tuple(range(len(folds))), tta=tta)}
    if out_of_fold:
        maps[_HELD_OUT] = Mean(by_fold=held_out(folds), tta=tta)
    passed = _Passed(len(facts.classes))
    class_maps, shares = {}, {}
    for scene in store:
        source, ground = ChannelPixels(StorePixels(scene), facts.recipe), Ground(scene, split, "val", scored)
        bands: Bands = walk(network, maps, source, facts.tiles, ground.scored_folds if out_of_fold else None)
        if out_of_fold:
            bands = passed.on(bands, ground, source)
        exported = ((window, probs[_EXPORTED]) for window, probs in bands)
        files = write_bands(exported, facts.classes, source, folder, scene.id, facts.colors, tags)
        for path in (files.class_map, files.confidence):
            checks.check_cog(path, scene.grid, tags)
        class_maps[scene.id] = files.class_map
        shares[scene.id] = checks.class_shares(files.class_map, facts.classes)
    counted = checks.map_confusions(class_maps, store, split, scored)
    if out_of_fold:
        members = "the members, each on the fold it held out,"
        checks.check_confusions(recorded, passed.counts[_HELD_OUT], facts.classes, members)
        checks.check_same(passed.counts[_EXPORTED], counted)
    else:
        checks.check_confusions(recorded, counted, facts.classes)
    return SceneMaps(class_maps, shares)


class _Passed:
    """Counts what passes on its way to the files, on the scored ground."""

    def __init__(self, k: int) -> None:
        self._k = k
        #: Name of the map -> truth -> block -> matrix.
        self.counts: dict[str, dict[str, Mapping[int, Confusion]]] = {_EXPORTED: {}, _HELD_OUT: {}}

    def on(self, bands: Bands, ground: Ground, source: PixelSource) -> Bands:
        for window, probs in bands:
            cut, valid_HW = ground.cut(*window.slices), source.valid(window)
            scored_HW = cut.scored_HW
            for name, probs_KHW in probs.items():
                predicted = decide(probs_KHW, valid_HW)[0][scored_HW]
                for truth, truth_HW in cut.truths.items():
                    counted = per_block(truth_HW[scored_HW], predicted, cut.block_HW[scored_HW], self._k)
                    self.counts[name][truth] = merge_blocks(self.counts[name].get(truth, {}), counted)
            yield window, probs
