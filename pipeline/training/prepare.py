"""From the store and the split to what a training needs: the model's spec, patches and class weights."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError, SceneError, SplitError
from pipeline.features.channels import ChannelRecipe
from pipeline.losses.class_weights import class_weights
from pipeline.networks.spec import ModelSpec
from pipeline.params.patches import PatchParams
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.anchors import class_pools
from pipeline.patches.augment.source import augmented, weight_shares
from pipeline.patches.augment.values import value_changes
from pipeline.patches.composition import Drawn, as_report, open_sampler, target_composition
from pipeline.patches.ground import TrainGround, class_counts, open_ground
from pipeline.patches.samplers import AnchoredSampler, Sampler
from pipeline.patches.source import PatchSource, WindowPatches
from pipeline.patches.statistics import BandStatistics, band_statistics, raw_statistics
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.training.prior import logit_bias, pixel_importance, warn_of_several
from pipeline.types import AnyArray


@dataclass(frozen=True)
class Prepared:
    """What a training starts from."""

    spec: ModelSpec
    source: PatchSource
    class_weights_K: AnyArray
    #: Labelled train pixels by class name.
    counts: dict[str, int]
    #: For reports: shares by class name of the train labels and of the patches drawn (see `composition.as_report`).
    sampling: dict[str, dict[str, float]]


def prepare(store: SceneStore, split: Split, task: Task, params: TrainParams, seed: int) -> Prepared:
    """Open the train ground and derive statistics, patches, class weights and priors from it alone.

    Args:
        store: the scenes.
        split: which of their ground is train; of a member, with its own val fold.
        task: bands and classes.
        params: section train.
        seed: the member's.

    Raises:
        ModelError: the store's bands are not the task's, or a class name is none of the split's.
        SceneError: the scenes' pixels differ in size, or a channel is constant or nowhere defined.
        SplitError: what the sampling asks for has no train pixels.
    """
    if store.bands != task.bands:
        raise ModelError(f"the scene store must hold task.bands {list(task.bands)}: got {list(store.bands)}; "
                         "run `dvc repro rasterize`")
    warn_of_several(params)
    pixel_size_m = _pixel_size_m(store)
    grounds = open_ground(store, split)
    recipe = ChannelRecipe.of(task)
    statistics = band_statistics(grounds, recipe)
    raw = statistics if recipe.is_plain else raw_statistics(grounds)
    counts_K = class_counts(grounds, len(split.classes))
    weights_K = class_weights(counts_K, params.loss, split.classes)
    drawn = _drawn(grounds, task, params.patches, seed)
    source = _source(grounds, recipe, raw, drawn.sampler, params.patches, seed)
    bias: tuple[float, ...] = ()
    if params.calibration.prior:
        met_K = np.array([drawn.weighed[name] for name in split.classes])
        if params.patches.augmentation.copy_paste:
            # A class too rare for the patches looked at has the share it had before others were pasted.
            met_K = np.where((found_K := weight_shares(source, len(split.classes))) > 0, found_K, met_K)
        bias = logit_bias(counts_K, met_K, pixel_importance(weights_K, params, split.classes), split.classes)
        if not bias:
            warnings.warn("train.calibration.prior has no effect: neither sampling nor weights change the "
                          "classes' shares", stacklevel=2)
    colors = {c.name: c.color for c in task.classes}
    background = split.classes[split.lut[task.class_names.index(task.background)]] if task.background else ""
    spec = ModelSpec(network=params.network, bands=task.bands, channels=recipe.channels,
                     texture=recipe.texture, classes=split.classes,
                     colors=tuple(colors[name] for name in split.classes),
                     background=background,
                     reflectance_scale=task.reflectance_scale, mean=statistics.mean, std=statistics.std,
                     low=statistics.low, high=statistics.high, band_low=raw.low, band_high=raw.high,
                     patch_size_px=params.patches.size_px,
                     size_multiple=2**params.network.encoder_depth, pixel_size_m=pixel_size_m,
                     split=folder_sha256(split.folder), seed=seed, val_fold=split.val_fold, logit_bias=bias,
                     val_chose=params.val_chose)
    counts = {name: int(n) for name, n in zip(split.classes, counts_K, strict=True)}
    return Prepared(spec, source, weights_K, counts, as_report(drawn, counts))


def _drawn(grounds: Sequence[TrainGround], task: Task, params: PatchParams, seed: int) -> Drawn:
    """The sampler; only a balanced one has a target."""
    target_K = np.zeros(len(grounds[0].split.classes))
    if params.sampling.name == "balanced":
        target_K = target_composition(params.sampling, task.class_names, grounds)
    return open_sampler(grounds, params, target_K, seed, task.class_names)


def _source(grounds: Sequence[TrainGround], recipe: ChannelRecipe, raw: BandStatistics, sampler: Sampler,
            params: PatchParams, seed: int) -> PatchSource:
    """Patches as they are cut, and augmented as the params ask."""
    augmentation = params.augmentation
    changes = value_changes(augmentation, grounds[0].scene.bands, raw)
    source = WindowPatches(grounds, recipe, sampler, seed, changes)
    rare = None
    if augmentation.copy_paste:
        rare = WindowPatches(grounds, recipe, _around(grounds, augmentation.copy_paste_classes, params, seed), seed,
                             changes)
    return augmented(source, augmentation, seed, grounds[0].split.classes, rare)


def _around(grounds: Sequence[TrainGround], names: Sequence[str], params: PatchParams, seed: int) -> Sampler:
    """Windows around pixels of these classes, each equally often: what is pasted comes from them."""
    classes = grounds[0].split.classes
    pools = [pool for name, pool in zip(classes, class_pools(grounds, len(classes)), strict=True) if name in names]
    if not pools or not all(pool.pixels for pool in pools):
        raise SplitError("train.patches.augmentation.copy_paste_classes must be classes of the split with labelled "
                         f"train pixels: got {list(names)}, of which some have none; leave them out")
    return AnchoredSampler(grounds, pools, [1 / len(pools)] * len(pools), params.size_px, seed, 1, stream="pasted")


def _pixel_size_m(store: SceneStore) -> float:
    """The pixel size all scenes share, within a tenth, in metres on the ground."""
    sizes = {scene.id: sum(scene.grid.ground_pixel_m) / 2 for scene in store}
    if max(sizes.values()) > 1.1 * min(sizes.values()):
        listed = ", ".join(f"{name} {size:.3g} m" for name, size in sizes.items())
        raise SceneError(f"scenes of one training must have pixels of one size: got {listed}; set rasterize.resolution")
    return round(next(iter(sizes.values())), 3)
