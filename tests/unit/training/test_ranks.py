"""Two data-parallel processes (gloo, CPU) draw the samples of one and end the same way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = '''
import json, sys
from pathlib import Path
from pipeline.inference.validation import ValScorer
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.splits.split import Split
from pipeline.training import engine
from pipeline.training.prepare import prepare
from pipeline.training.resume import open_resume
from pipeline.types import SilentLog

root, devices = Path(sys.argv[1]), int(sys.argv[2])
task = Task.model_validate({"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
    {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]})
params = TrainParams.model_validate({
    "network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 16},
    "batch_size": 8, "epochs": 2, "threads": 1, "accelerator": "cpu", "devices": devices})
fabric = engine.open_fabric(params)
seed_everything(5)
store, split = SceneStore.open(root / "scenes"), Split.open(root / "splits")
ready = prepare(store, split, task, params, 5)
with open_resume(root / f"resume{devices}", "print", fabric.is_global_zero) as resume:
    fabric.barrier()
    trained = engine.train_network(fabric, ready.spec, ready.source, ready.class_weights_K, params,
                                   ValScorer(store, split, ready.spec.recipe, 8, 8), resume, SilentLog())
    fabric.barrier()
if fabric.is_global_zero:
    (root / f"history{devices}.json").write_text(json.dumps(trained.history))
'''


def test_two_ranks_train_like_one(tiny_data, tmp_path, project):
    root = tiny_data().scenes.parent
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    surroundings = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    for devices in ("1", "2"):
        done = subprocess.run([sys.executable, str(script), str(root), devices], env=surroundings, text=True,
                              capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads(Path(root / f"history{n}.json").read_text()) for n in (1, 2))
    # The same samples and global loss; batch norm alone sees half a batch on each rank.
    assert two[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=0.02)
    assert [row["lr"] for row in two] == [row["lr"] for row in one]
    assert not (root / "resume2/print").exists()
