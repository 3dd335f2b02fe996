"""Stage train: fit the network on the train part of the split.

Reads data/scenes and data/splits. Writes models/checkpoint, models/run.json (the training's own key, the machine) and
reports/train. Params: seed, task, train.
"""

from contextlib import ExitStack

from pipeline.errors import one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.paths import Paths, staged_folder, write_json
from pipeline.types import RunLog, SilentLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, object]:
    """Train one member; its summary. Without a `log` the training is tracked in MLflow."""
    from pipeline.digests import canonical_sha256
    from pipeline.inference.validation import ValScorer
    from pipeline.networks.members import save_member
    from pipeline.scenes.store import SceneStore
    from pipeline.seeding import seed_everything
    from pipeline.splits.split import Split
    from pipeline.tracking import identity, runs
    from pipeline.training import engine, machine, prepare, resume

    task, train = params.section(Task), params.section(TrainParams)
    fabric = engine.open_fabric(train)
    seed_everything(params.seed)
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    ready = prepare.prepare(store, split, task, train, params.seed)
    score = ValScorer(store, split, ready.spec.recipe, train.patches.size_px // 4, ready.spec.size_multiple)
    score.check(train)
    tags, environment = identity.identity(paths, params, "train"), machine.environment(fabric, train)
    fingerprint = canonical_sha256({"identity": tags, "machine": environment})[:32]
    with ExitStack() as stack:
        kept = stack.enter_context(resume.open_resume(paths.resume, fingerprint, fabric.is_global_zero))
        fabric.barrier()
        if log is None:
            log = stack.enter_context(runs.train_run(paths, kept.key, tags)) if fabric.is_global_zero else SilentLog()
        log.params(params.dump("seed", "task", "train") | {"environment": environment})
        for name in ("scenes", "splits"):
            log.dataset(name, tags[f"kumulus.data_{name}_sha256"], f"data/{name}", "training")
        trained = engine.train_network(fabric, ready.spec, ready.source, ready.class_weights_K, train, score, kept, log)
        summary = engine.summary(trained) | {"train_pixels": ready.counts}
        if fabric.is_global_zero:
            with staged_folder(paths.checkpoint) as folder, staged_folder(paths.report("train")) as report:
                save_member(folder / "members/0", trained.segmenter, engine.history_csv(trained.history))
                write_json(report / "metrics.json", summary)
            write_json(paths.run_file, {"key": kept.key, "environment": environment})
            for file in (*sorted(paths.report("train").iterdir()), *sorted((paths.checkpoint / "members/0").iterdir())):
                log.artifact(file, "train")
        fabric.barrier()
    return summary


if __name__ == "__main__":
    with one_line_errors("train"):
        run(load(Paths().params_file), Paths())
