"""What the scores of a study stand on: trials that stand on something else cannot be compared with each other.

It is stored with the study as plain data; the study's name holds its digest.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.digests import CODE_ROOT, LOCK_FILE, file_sha256, folder_sha256, stage_code
from pipeline.params.changes import leaves
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tuning.space import TuneFile

#: Fields of a tune file that say how and how long is searched, not what a score means.
SEARCH = frozenset({"name", "trials", "threads", "sampler", "seed", "pruner", "startup_trials", "warmup_epochs"})

#: Files of this package that decide which values are tried and what is made of scores, but no score.
_NO_SCORE = frozenset({"__init__", "apply", "basis", "history", "retry", "stamp", "storage", "study", "worker",
                       "workers"})

#: What a trial's objective imports beside the code of stage train and this package.
_ELSEWHERE = ("pipeline/params/changes.py", "pipeline/params/declared.py", "pipeline/params/dotted.py")

#: Parts of a basis in words; of the others the keys that differ are told.
_WORDS = {"seed": "params.yaml's seed", "task": "params.yaml's section task", "scenes": "data/scenes",
          "splits": "data/splits", "lock": LOCK_FILE}


def basis(params: Params, paths: Paths, tune: TuneFile) -> dict[str, Any]:
    """Everything a trial's score follows from beside the values of the searched keys, as plain data with a JSON form.

    `train` has the keys of section train by their dotted names, without the searched ones; `tune` what the tune file
    says of a score; `code` the files that make one, {path: sha256}.

    Raises:
        IntegrityError: data/scenes, data/splits, code or lock are missing.
    """
    dump = params.dump("seed", "task")
    found = {"seed": dump["seed"], "task": dump["task"], "train": fixed_keys(params, tune),
             "tune": tune.model_dump(mode="json", exclude=set(SEARCH)), "scenes": folder_sha256(paths.scenes),
             "splits": folder_sha256(paths.splits), "code": code(), "lock": file_sha256(CODE_ROOT / LOCK_FILE)}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def fixed_keys(params: Params, tune: TuneFile) -> dict[str, Any]:
    """Section train by dotted keys, defaults included, without those that the space sets.

    They are part of the basis, so that a study's winner is not written beside settings it was not found with.
    """
    whole = leaves({"train": params.dump("train")["train"]})
    return {key: _without(key, value, tune.leaves.keys()) for key, value in whole.items() if key not in tune.leaves}


def _without(key: str, value: Any, searched: Collection[str]) -> Any:
    """A value without what is searched of it: of a mapping with the user's own names the space may set one."""
    if not isinstance(value, Mapping):
        return value
    return {name: item for name, item in value.items() if f"{key}.{name}" not in searched}


def code() -> dict[str, str]:
    """{path: sha256} of the code that makes a score: that of stage train, and what scores a trial."""
    own = sorted(path for path in (CODE_ROOT / "pipeline/tuning").glob("*.py") if path.stem not in _NO_SCORE)
    names = [*_ELSEWHERE, *(f"pipeline/tuning/{path.name}" for path in own)]
    return stage_code(CODE_ROOT, "train") | {name: file_sha256(CODE_ROOT / name) for name in names}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two bases, one short phrase each; [] if nothing does."""
    phrases = [words for part, words in _WORDS.items() if then.get(part) != now.get(part)]
    for part, form in (("train", "{key}: {old} -> {new}"), ("tune", "the tune file's {key}"), ("code", "{key}")):
        old, new = then.get(part, {}), now.get(part, {})
        phrases += [form.format(key=key, old=old.get(key), new=new.get(key)) for key in sorted({*old, *new})
                    if old.get(key) != new.get(key)]
    return phrases
