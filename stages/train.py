"""Stage train: fit the network on the train part of the split, once for each member (seed and val fold).

Reads data/scenes, data/splits. Writes models/checkpoint, models/run.json, reports/train. Params: seed, task, train.
"""

from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

from pipeline.errors import one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.paths import Paths, write_json
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog, SilentLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> dict[str, Any]:
    """Train the members; what metrics.json says. Without a `log` MLflow has a run of it, and of each of several."""
    from pipeline.digests import canonical_sha256
    from pipeline.inference.judge import Judge
    from pipeline.scenes.store import SceneStore
    from pipeline.splits.split import Split
    from pipeline.tracking import ancestry, identity, runs, weights
    from pipeline.training import engine, machine, members, overview, plan, ranks, resume, warm_start

    task, train = params.section(Task), params.section(TrainParams)
    processes = ranks.Ranks(fabric := engine.open_fabric(train))
    ground = members.Ground(SceneStore.open(paths.scenes), Split.open(paths.splits), task)
    planned = plan.members(train, params.seed, ground.split)
    tags, environment = identity.identity(paths, params, "train"), machine.environment(fabric, train)
    begins = warm_start.specs_sha256(train, paths)
    fingerprint = canonical_sha256({"identity": tags, "machine": environment, "start": begins})[:32]
    with ExitStack() as stack:
        kept = stack.enter_context(processes.on_first(partial(resume.open_resume, paths.resume, fingerprint)))
        kept = kept or resume.ResumeStore(paths.resume / fingerprint, "")
        starts = processes.of_first(partial(warm_start.open_starts, train, planned, paths, kept, weights.fetch))
        own_runs = partial(runs.member_run, paths, kept.key) if log is None and len(planned) > 1 else None
        all_tags = tags | warm_start.tags(starts)
        open_run = (lambda: nullcontext(log)) if log is not None else partial(runs.train_run, paths, kept.key, all_tags)
        story: RunLog = stack.enter_context(processes.on_first(open_run)) or SilentLog()
        story.params(params.dump("seed", "task", "train") | {"environment": environment})
        for name in ("scenes", "splits"):
            story.dataset(name, tags[f"kumulus.data_{name}_sha256"], f"data/{name}", "training")
        judge, log_of = Judge(ground.store, task, train, fabric.device), own_runs or (lambda _: nullcontext(story))
        found = members.train_members(fabric, processes, ground, train, planned, kept, starts, judge, log_of)
        def write() -> None:
            members.collect(kept, found, paths.checkpoint, paths.report("train"))
            record = {"key": kept.key, "environment": environment} | warm_start.record(train, starts)
            write_json(paths.run_file, ancestry.with_statements(record, starts, paths))
            story.metrics(overview.flat(found))
            story.artifact(paths.report("train") / "metrics.json", "train")
        processes.of_first(write)
    return found


if __name__ == "__main__":
    with one_line_errors("train"), recorded("train", Paths()):
        run(load(Paths().params_file), Paths())
