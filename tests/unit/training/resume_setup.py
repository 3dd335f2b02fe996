"""A small training with everything that has a state: SGD momentum, an average, dropout, a plateau, early stop.

`python resume_setup.py DATA ROOT STEP` trains with a worker and kills itself (SIGKILL) as it is about to make its
STEP-th step.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

import torch
from torch.nn import functional

from pipeline.networks.segmenter import build
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.splits.split import Split
from pipeline.training import engine, start
from pipeline.training.prepare import prepare
from pipeline.training.resume import open_resume
from pipeline.training.step import Stepper
from pipeline.types import SilentLog

TASK = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]})
PARAMS = {
    "network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 16},
    "batch_size": 4, "epochs": 9, "threads": 1, "accelerator": "cpu", "ema_decay": 0.7, "early_stop_patience": 3,
    "optimizer": {"name": "sgd", "nesterov": True, "lr": 0.02, "encoder_lr_factor": 0.5},
    "schedule": {"name": "plateau", "patience": 1, "factor": 0.5}}

#: Val scores of the epochs to come: the first is the best, so that training stops after the fourth.
SCORES = (0.5, 0.4, 0.3, 0.2, 0.1)


def with_dropout(spec):
    """The network of a spec with dropout behind its decoder."""
    segmenter = build(spec)
    segmenter.body.decoder.register_forward_hook(lambda module, _, out: functional.dropout(out, 0.3, module.training))
    return segmenter


def scored(segmenter, coming):
    """The next score to come, and something of the very weights that are scored."""
    return {"mcc": next(coming), "probe": float(segmenter.body.segmentation_head[0].weight.abs().sum())}


def train(store, split, root, changed=lambda source: source, scores=SCORES, **changes):
    """Train, or go on with a training; the result as a digest of the weights, history, chosen epoch."""
    params = TrainParams.model_validate({**PARAMS, **changes})
    fabric = engine.open_fabric(params)
    seed_everything(5)
    ready = prepare(store, split, TASK, params, seed=5)
    coming = iter(scores)
    start.build = with_dropout
    try:
        with open_resume(root, "print") as resume:
            trained = engine.train_network(fabric, ready.spec, changed(ready.source), ready.class_weights_K, params,
                                           lambda segmenter: scored(segmenter, coming), resume, SilentLog())
    finally:
        start.build = build
    state = trained.segmenter.state_dict()
    digest = hashlib.sha256(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()
    return digest, engine.history_csv(trained.history), trained.best_epoch


def die_before(step):
    """Kill this process as it is about to make a step, counted from 1."""
    launch, made = Stepper.launch, [0]

    def counted(*arguments):
        made[0] += 1
        if made[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return launch(*arguments)

    Stepper.launch = counted


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    die_before(int(sys.argv[3]))
    train(SceneStore.open(data / "scenes"), Split.open(data / "splits"), out, workers=1, save_every_s=0)
