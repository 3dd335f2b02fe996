"""What this repository has computed itself: one line a finished stage in .kumulus/computed.jsonl.

An artifact in the workspace may have been computed here, brought back by DVC's run-cache or `dvc checkout`, or pulled
from elsewhere. DVC does not say which; this record does, by DVC's own ids of the outs. It belongs to the repository
(under `dvc exp run --temp` and `--queue` to the real one), is tracked by neither git nor DVC, and decides nothing.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from filelock import FileLock

from pipeline.digests import CODE_ROOT, stage_outs
from pipeline.paths import Paths, write_json
from pipeline.tracking.environment import ENVIRONMENT_FILE, run_record, stage_environment
from pipeline.tracking.moment import now
from pipeline.tracking.oids import artifact_digests

Origin = Literal["computed here", "restored", "pulled"]


@contextmanager
def recorded(stage: str, paths: Paths) -> Iterator[None]:
    """Around a stage's run: when it has ended well, leave its environment and put its outs on record.

    The environment goes to reports/<stage>/environment.json, which is part of an out. Of several processes of one
    training only the main one writes.

    Raises:
        IntegrityError: the stage has not made an out that dvc.yaml lists.
    """
    yield
    if not _is_main_process():
        return
    write_json(paths.report(stage) / ENVIRONMENT_FILE, stage_environment(stage, paths))
    made = {out: artifact_digests(paths.root / out, paths.root).oid for out in stage_outs(CODE_ROOT, stage)}
    key = run_record(paths.run_file).get("key", "") if stage in ("train", "evaluate", "export") else ""
    workspace = paths.root.resolve()
    line = {"stage": stage, "time": now(), "outs": made, "run_key": key, "workspace": str(workspace),
            "copy": workspace != paths.repository}
    paths.computed.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{paths.computed}.lock"), paths.computed.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


def computations(paths: Paths, stage: str = "") -> list[dict[str, Any]]:
    """The lines on record, oldest first: those of one stage, or all; not one cut off by a kill, or without outs."""
    if not paths.computed.is_file():
        return []
    found = []
    for text in paths.computed.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        is_whole = isinstance(line, dict) and isinstance(line.get("outs"), dict)
        if is_whole and stage in ("", line.get("stage")):
            found.append(line)
    return found


def origin(paths: Paths, stage: str, oid: str) -> Origin:
    """How an artifact with this DVC id came here.

    "computed here": this repository computed it, and what it last computed of the stage in the same place was the same;
    "restored": it computed it once, but something else since, so that the run-cache or a checkout brought it back;
    "pulled": it never did, so it came from a remote, another clone's cache or a copy. The places are the repository
    itself and each copy of it that DVC ran an experiment in, which leaves alone what lies in the repository.
    """
    lines = computations(paths, stage)
    latest = {str(line.get("workspace")) if line.get("copy", False) else "": line["outs"].values() for line in lines}
    if any(oid in made for made in latest.values()):
        return "computed here"
    return "restored" if any(oid in line["outs"].values() for line in lines) else "pulled"


def _is_main_process() -> bool:
    """Whether this is the first (or only) process of the stage, as its launcher or torch.distributed says."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    if rank := os.environ.get("RANK"):
        return int(rank) == 0
    return all(int(os.environ.get(name) or 0) == 0 for name in ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK"))
