"""From the store and the split to what a training needs: the model's spec, patches and class weights."""

from dataclasses import dataclass

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError
from pipeline.losses.class_weights import class_weights
from pipeline.networks.spec import ModelSpec
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.ground import class_counts, open_ground
from pipeline.patches.source import WindowPatches
from pipeline.patches.statistics import band_statistics
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import AnyArray


@dataclass(frozen=True)
class Prepared:
    """What a training starts from."""

    spec: ModelSpec
    source: WindowPatches
    class_weights_K: AnyArray
    #: Labelled train pixels by class name.
    counts: dict[str, int]


def prepare(store: SceneStore, split: Split, task: Task, params: TrainParams, seed: int) -> Prepared:
    """Open the train ground and derive statistics and class weights from it alone.

    Raises:
        ModelError: the store's bands or the split's classes are not the task's.
    """
    if store.bands != task.bands:
        raise ModelError(f"the scene store must hold task.bands {list(task.bands)}: got {list(store.bands)}; "
                         "run `dvc repro rasterize`")
    grounds = open_ground(store, split)
    statistics = band_statistics(grounds)
    counts = class_counts(grounds, len(split.classes))
    colors = {c.name: c.color for c in task.classes}
    width, height = grounds[0].scene.grid.ground_pixel_m
    spec = ModelSpec(network=params.network, bands=task.bands, classes=split.classes,
                     colors=tuple(colors[name] for name in split.classes),
                     background=task.background if task.background in split.classes else "",
                     reflectance_scale=task.reflectance_scale, mean=statistics.mean, std=statistics.std,
                     low=statistics.low, high=statistics.high, patch_size_px=params.patches.size_px,
                     size_multiple=2**params.network.encoder_depth, pixel_size_m=round((width + height) / 2, 3),
                     split=folder_sha256(split.folder))
    source = WindowPatches(grounds, params.patches.size_px, seed, params.patches.flips_and_rotations)
    return Prepared(spec, source, class_weights(counts, params.loss.class_weights),
                    {name: int(n) for name, n in zip(split.classes, counts, strict=True)})
