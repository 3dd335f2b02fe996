"""Small trainings of a network without batch statistics over ranks: `python rank_script.py ROOT DEVICES TASK ...`.

TASK: agree (all goes well), nan (a non-finite loss on the last of two ranks), fails (scoring fails), opens (no
training: what the main process alone opens and closes), kelvin (an epoch of values near 27300 in bf16; alone).
"""

import dataclasses
import json
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.errors import ModelError
from pipeline.inference.validation import ValScorer
from pipeline.networks.segmenter import build
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.splits.split import Split
from pipeline.training import engine, start
from pipeline.training.prepare import prepare
from pipeline.training.ranks import Ranks
from pipeline.training.resume import open_resume
from pipeline.types import SilentLog

TASK = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]})
PARAMS = {
    "network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8], "boundary_head": True},
    "patches": {"size_px": 32, "per_epoch": 24}, "batch_size": 8, "accumulation": 2, "epochs": 2, "threads": 1,
    "accelerator": "cpu", "ema_decay": 0.5, "save_every_s": 0,
    "optimizer": {"name": "sgd", "nesterov": True, "frozen_epochs": 1, "layer_decay": 0.9, "lr": 0.01},
    "loss": {"weights": {"cross_entropy": 1, "dice": 0.5, "focal": 0.5, "tversky": 0.5, "lovasz": 0.5, "mcc": 0.5,
                         "boundary": 0.2},
             "ramp": {"terms": ["boundary"], "start_epoch": 1, "epochs": 1}}}


def without_batch_statistics(spec):
    """The network of a spec with group norm in place of batch norm."""
    segmenter = build(spec)
    for module in list(segmenter.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return segmenter


class Poisoned:
    """A source of which one patch is infinite, so that the loss is NaN."""

    def __init__(self, source):
        self._source = source

    def draw(self, epoch, index):
        patch = self._source.draw(epoch, index)
        if (epoch, index) != (1, 11):
            return patch
        return dataclasses.replace(patch, image=np.full(patch.image.shape, np.inf, dtype=np.float32))


class Kelvin:
    """A source in units of which bf16 knows 27264 and 27392, and nothing between."""

    def __init__(self, source):
        self._source = source

    def draw(self, epoch, index):
        patch = self._source.draw(epoch, index)
        return dataclasses.replace(patch, image=(27000 + patch.image / 10).astype(np.float32))

    @staticmethod
    def spec(spec):
        """The spec with its statistics in these units."""
        return spec.model_copy(update={"mean": tuple(27000 + m / 10 for m in spec.mean),
                                       "std": tuple(s / 10 for s in spec.std)})


def failing(segmenter):
    """A scorer that cannot."""
    raise ModelError("val must be there: got none; run it again")


@contextmanager
def that_fails(when):
    """A context that cannot be opened, or closed, or can."""
    if when == "opening":
        raise ModelError("it must open: it does not")
    yield "open"
    if when == "closing":
        raise ModelError("it must close: it does not")


def open_on_first(root, fabric):
    """Open something on the main process, and note what every process hears of it."""
    ranks, heard = Ranks(fabric), []
    for when in ("opening", "closing", "never"):
        try:
            with ranks.on_first(partial(that_fails, when)) as opened:
                heard.append(opened)
            heard.append("well")
        except ModelError as error:
            heard.append(str(error))
    (root / f"opens{ranks.size}.{ranks.rank}").write_text(json.dumps(heard))


def train(root, fabric, params, task):
    """Train, and note what came of it."""
    seed_everything(5)
    store, split = SceneStore.open(root / "scenes"), Split.open(root / "splits")
    ready = prepare(store, split, TASK, params, 5)
    start.build = without_batch_statistics
    source = {"nan": Poisoned, "kelvin": Kelvin}.get(task, lambda same: same)(ready.source)
    spec = Kelvin.spec(ready.spec) if task == "kelvin" else ready.spec
    score = failing if task == "fails" else ValScorer(store, split, ready.spec.recipe, 8, 8)
    out = root / f"{task}{params.devices}.{fabric.global_rank}"
    try:
        with open_resume(root / f"resume-{task}{params.devices}", "print", fabric.is_global_zero) as resume:
            fabric.barrier()
            trained = engine.train_network(fabric, spec, source, ready.class_weights_K, params, score, resume,
                                           SilentLog())
            fabric.barrier()
    except ModelError as error:
        out.write_text(str(error))
        return
    torch.save(trained.segmenter.state_dict(), f"{out}.pt")
    out.write_text(json.dumps(trained.history))


def main(root, devices, tasks):
    """One training after the other."""
    kelvin = {"precision": "bf16-mixed", "epochs": 1, "loss": {}, "optimizer": {"name": "sgd", "lr": 0.01},
              "network": {**PARAMS["network"], "boundary_head": False}} if "kelvin" in tasks else {}
    params = TrainParams.model_validate({**PARAMS, "devices": devices, **kelvin})
    fabric = engine.open_fabric(params)
    for task in tasks:
        if task == "opens":
            open_on_first(root, fabric)
            continue
        train(root, fabric, params, task)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
