"""`kill -9` in the middle of `stages.train`, again and again: the weights are those of an uninterrupted training.

    python -m tests.benchmarks.kill_training [--kills 10] [--devices 1 2] [--epochs 5] [--folder DIR] [--seed 0]

Makes a small project (the default recipe at 256 px), trains it once without interruption, then as often as asked: start
the stage, kill all of its processes at a random moment between the first step and the end, run it again, compare the
sha256 of every file in models/checkpoint. The training has SGD momentum, an average of the weights, drop connect, an
early stop and a worker; its state is saved every half second. Exit status 1 if any digest differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.digests import folder_digests

ROOT = Path(__file__).resolve().parents[2]

#: Small data, and a training with everything that has a state; drop connect draws in every step.
CHANGES = {
    "acquire": {"synthetic": {"size_px": 256}},
    "spatial_split": {"block_size_m": 320, "folds": 3, "test_fraction": 0.25, "buffer_m": 20, "min_pixels": 10},
    "train": {"network": {"encoder": "efficientnet-b0", "encoder_depth": 3, "decoder_channels": [32, 16, 8]},
              "patches": {"size_px": 64, "per_epoch": 64}, "batch_size": 8, "accumulation": 2, "workers": 1,
              "threads": 1, "accelerator": "cpu", "ema_decay": 0.9, "early_stop_patience": 50, "save_every_s": 0.5,
              "select": "last",
              "optimizer": {"name": "sgd", "nesterov": True, "lr": 0.01},
              "schedule": {"name": "restarts", "warmup_epochs": 1, "restart_epochs": 2}}}


def merged(base: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    """`base` with `changes` laid over it."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def make_project(root: Path, devices: int, epochs: int) -> None:
    """Params, and the artifacts that training reads."""
    yaml = YAML(typ="safe", pure=True)
    params = merged(yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8")), CHANGES)
    params["train"].update(devices=devices, epochs=epochs)
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)
    for stage in ("acquire", "refine_labels", "rasterize", "spatial_split"):
        if not (root / "data/splits").exists():
            subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=root, env=surroundings(), check=True)


def surroundings() -> dict[str, str]:
    """The environment of a stage, with an MLflow that is not there: a store of its own would take most of the time."""
    left = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    return {**left, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


def start(root: Path) -> subprocess.Popen[bytes]:
    """The stage in a process group of its own, with its output in train.log."""
    with (root / "train.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "stages.train"], cwd=root, env=surroundings(), stdout=log,
                                stderr=log, start_new_session=True)


def training_since(root: Path, process: subprocess.Popen[bytes]) -> float:
    """Wait for a resume state; when it was there."""
    while process.poll() is None and not list(root.glob(".checkpoints/**/state.pt")):
        time.sleep(0.01)
    return time.monotonic()


def trained(root: Path) -> dict[str, str]:
    """Run the stage to its end; the digests of its checkpoint."""
    process = start(root)
    if process.wait():
        raise SystemExit(f"stages.train failed:\n{(root / 'train.log').read_text()[-3000:]}")
    return folder_digests(root / "models/checkpoint")


def seconds_of_training(root: Path) -> tuple[float, dict[str, str]]:
    """How long an uninterrupted training goes on after its first state was saved, and what it makes."""
    process = start(root)
    since = training_since(root, process)
    if process.wait():
        raise SystemExit(f"stages.train failed:\n{(root / 'train.log').read_text()[-3000:]}")
    return time.monotonic() - since, folder_digests(root / "models/checkpoint")


def killed(root: Path, after_s: float) -> bool:
    """Start the stage and kill all of it so long after its first state; whether it was still at work."""
    process = start(root)
    moment = training_since(root, process) + after_s
    while time.monotonic() < moment and process.poll() is None:
        time.sleep(0.005)
    alive = process.poll() is None and bool(list(root.glob(".checkpoints/**/state.pt")))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_all(process.pid)
    return alive


def wait_for_all(group: int) -> None:
    """Wait until a killed group has no process left; not for ever, as dead ones may stay listed."""
    until = time.monotonic() + 6
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)


def measure(root: Path, kills: int, rng: random.Random) -> int:
    """Kill and compare; the number of trainings that ended differently."""
    seconds, whole = seconds_of_training(root)
    print(f"uninterrupted: {seconds:.1f} s of training, weights {whole['members/0/weights.safetensors'][:16]}")
    done = different = 0
    while done < kills:
        shutil.rmtree(root / "models")
        shutil.rmtree(root / ".checkpoints", ignore_errors=True)
        after_s = rng.uniform(0, 0.95 * seconds)
        if not killed(root, after_s):
            seconds *= 0.8  # the machine has become faster
            continue
        done += 1
        (key,) = (file.read_text() for file in root.glob(".checkpoints/*/key"))
        same = trained(root) == whole
        if json.loads((root / "models/run.json").read_text())["key"] != key:
            raise SystemExit("the training began anew, as its code or surroundings changed meanwhile: nothing is shown")
        different += not same
        print(f"  kill {done} after {after_s:5.1f} s: {'the same bytes' if same else 'DIFFERENT'}", flush=True)
    return different


def main() -> None:
    """Kill, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in; a temporary one by default")
    options = parser.parse_args()
    rng, different = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        for devices in options.devices:
            make_project(root, devices, options.epochs)
            print(f"{devices} process{'es' if devices > 1 else ''}")
            different += measure(root, options.kills, rng)
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
