"""From the store and the split to what a training needs: the model's spec, patches and class weights."""

from dataclasses import dataclass

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError, SceneError
from pipeline.features.channels import ChannelRecipe
from pipeline.losses.class_weights import class_weights
from pipeline.networks.spec import ModelSpec
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.ground import class_counts, open_ground
from pipeline.patches.source import WindowPatches
from pipeline.patches.statistics import band_ranges, band_statistics
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
        ModelError: the store's bands are not the task's.
        SceneError: the scenes' pixels differ in size, or a channel is constant or nowhere defined.
    """
    if store.bands != task.bands:
        raise ModelError(f"the scene store must hold task.bands {list(task.bands)}: got {list(store.bands)}; "
                         "run `dvc repro rasterize`")
    pixel_size_m = _pixel_size_m(store)
    grounds = open_ground(store, split)
    recipe = ChannelRecipe.of(task)
    statistics = band_statistics(grounds, recipe)
    band_low, band_high = (statistics.low, statistics.high) if recipe.is_plain else band_ranges(grounds)
    counts = class_counts(grounds, len(split.classes))
    colors = {c.name: c.color for c in task.classes}
    background = split.classes[split.lut[task.class_names.index(task.background)]] if task.background else ""
    spec = ModelSpec(network=params.network, bands=task.bands, channels=recipe.channels,
                     texture=recipe.texture, classes=split.classes,
                     colors=tuple(colors[name] for name in split.classes),
                     background=background,
                     reflectance_scale=task.reflectance_scale, mean=statistics.mean, std=statistics.std,
                     low=statistics.low, high=statistics.high, band_low=band_low, band_high=band_high,
                     patch_size_px=params.patches.size_px,
                     size_multiple=2**params.network.encoder_depth, pixel_size_m=pixel_size_m,
                     split=folder_sha256(split.folder))
    source = WindowPatches(grounds, recipe, params.patches.size_px, seed, params.patches.flips_and_rotations)
    return Prepared(spec, source, class_weights(counts, params.loss.class_weights),
                    {name: int(n) for name, n in zip(split.classes, counts, strict=True)})


def _pixel_size_m(store: SceneStore) -> float:
    """The pixel size all scenes share, within a tenth, in metres on the ground."""
    sizes = {scene.id: sum(scene.grid.ground_pixel_m) / 2 for scene in store}
    if max(sizes.values()) > 1.1 * min(sizes.values()):
        listed = ", ".join(f"{name} {size:.3g} m" for name, size in sizes.items())
        raise SceneError(f"scenes of one training must have pixels of one size: got {listed}; set rasterize.resolution")
    return round(next(iter(sizes.values())), 3)
