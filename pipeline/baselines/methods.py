"""The baselines that params.yaml asks for, fitted and ready to predict."""

from pipeline.baselines.baseline import Baseline, IndexRules, Majority
from pipeline.baselines.boosting import fit
from pipeline.params.evaluate import BaselineParams
from pipeline.params.task import Task
from pipeline.patches.ground import class_counts, open_ground
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split


def build(params: BaselineParams, task: Task, store: SceneStore, split: Split,
          seed: int) -> dict[str, Baseline]:
    """Name -> fitted baseline, weakest first; trained on the refined labels of train ground, as the network
    is.

    Raises:
        SplitError: train ground has no labelled pixel.
        LabelError: boosting has fewer than two classes to learn.
    """
    grounds = open_ground(store, split)
    methods: dict[str, Baseline] = {}
    if params.majority:
        methods["majority"] = Majority(int(class_counts(grounds, len(split.classes)).argmax()))
    if params.index_rules:
        ids = {name: int(split.lut[store.classes.index(name)]) for name in task.class_names}
        methods["index_rules"] = IndexRules(params.index_rules, [ids[r.target] for r in params.index_rules],
                                            ids[task.background], task.reflectance_scale)
    if params.boosting:
        methods["boosting"] = fit(grounds, params.boosting_pixels, (), seed)
    if params.boosting_focal:
        methods["boosting_focal"] = fit(grounds, params.boosting_pixels, params.focal_px, seed)
    return methods
