"""What a study has found: results.json, trials.csv and best.yaml.

Equal studies give equal bytes: neither times nor machines are in the files, and no address of a database.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.paths import staged_file, write_json
from pipeline.tuning import retry
from pipeline.tuning.retry import Fate
from pipeline.tuning.space import TuneFile, values
from pipeline.tuning.study import BASIS, DEFAULT
from pipeline.tuning.worker import EPOCHS, FOLD_SCORES, SETTING, THREADS

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: Fewest scored trials for importances.
LEAST_TRIALS = 10

_NOTE = ("Scores are of inner folds; neither the val fold nor the sealed test part was looked at. The best of many "
         "trials is flattered by having been chosen: what it is worth is what evaluate says of a build with it.")


@dataclass(frozen=True)
class Row:
    """A trial. `score` is that of the end, of a pruned one the last it reported; None where there is none."""

    number: int
    state: str
    score: float | None
    values: Mapping[str, Any]
    fold_scores: Mapping[str, float]
    epochs: int | None
    threads: str
    #: Whether its values are those of params.yaml when the study began.
    default: bool
    #: The lost trial whose values it tries again.
    retry_of: int | None
    reason: str


def results(study: "Study", tune: TuneFile, kind: str, total: int) -> dict[str, Any]:
    """All there is to say of a study, as plain data.

    Args:
        study: the study.
        tune: its tune file.
        kind: of its storage.
        total: how many trials it shall have in all.
    """
    trials = study.get_trials(deepcopy=False)
    found = retry.fates(trials)
    rows = [_row(trial, found[trial.number], tune) for trial in trials]
    first = best(rows)
    default = next((row for row in rows if row.default and row.state == Fate.DONE.value), None)
    importances, note = _importances(study, rows, tune)
    return {
        "study": study.study_name, "metric": tune.metric, "direction": tune.direction, "storage": kind,
        "basis": study.user_attrs.get(BASIS, {}), "setting": study.user_attrs.get(SETTING, {}),
        "sampler": tune.sampler, "seed": tune.seed, "pruner": tune.pruner, "startup_trials": tune.startup_trials,
        "total": total, "counts": {fate.value: sum(row.state == fate.value for row in rows) for fate in Fate},
        "best": asdict(first) if first else None, "default": asdict(default) if default else None,
        "importances": importances, "importances_note": note, "note": _NOTE, "trials": [asdict(row) for row in rows],
    }


def best(rows: Sequence[Row]) -> Row | None:
    """The trial with the highest score, the first of equals; None where none has one. Pruned ones do not count."""
    done = [row for row in rows if row.state == Fate.DONE.value and row.score is not None]
    return max(done, key=lambda row: (row.score, -row.number), default=None)


def winner(study: "Study", tune: TuneFile) -> Row:
    """The study's best trial.

    Raises:
        ParamsError: none has a score.
    """
    trials = study.get_trials(deepcopy=False)
    found = retry.fates(trials)
    first = best([_row(trial, found[trial.number], tune) for trial in trials])
    if first is None:
        raise ParamsError(f"study {study.study_name} must have a finished trial: none of its {len(trials)} is; run "
                          "`kumulus tune`")
    return first


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, trials.csv and, where a trial has a score, best.yaml."""
    write_json(folder / "results.json", found)
    keys = sorted({key for row in found["trials"] for key in row["values"]})
    folds = sorted({fold for row in found["trials"] for fold in row["fold_scores"]}, key=lambda name: (len(name), name))
    with (folder / "trials.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "state", "score", *(f"fold_{fold}" for fold in folds), "epochs", "default",
                         "retry_of", *keys, "reason"])
        for row in found["trials"]:
            writer.writerow([row["number"], row["state"], _cell(row["score"]),
                             *(_cell(row["fold_scores"].get(fold)) for fold in folds), _cell(row["epochs"]),
                             str(row["default"]).lower(), _cell(row["retry_of"]),
                             *(_cell(row["values"].get(key)) for key in keys), row["reason"]])
    if found["best"] is not None:
        with staged_file(folder / "best.yaml") as partial:
            partial.write_text(overlay(found), encoding="utf-8")


def overlay(found: Mapping[str, Any]) -> str:
    """The best trial's keys as params.yaml nests them."""
    nested: dict[str, Any] = {}
    for key, value in found["best"]["values"].items():
        *parents, last = key.split(".")
        node = nested
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(nested, text)
    score = found["best"]["score"]
    return (f"# Trial {found['best']['number']} of study {found['study']}: {found['metric']} {score:.4f} on inner "
            f"folds. `kumulus tune --apply` writes it into params.yaml.\n{text.getvalue()}")


def _row(trial: "FrozenTrial", fate: Fate, tune: TuneFile) -> Row:
    known = trial.params if trial.params.keys() == tune.space.keys() else None
    score = trial.value if fate in (Fate.DONE, Fate.PRUNED) else None
    attributes = trial.user_attrs
    default = attributes.get(DEFAULT, False)
    return Row(trial.number, fate.value, score if score is not None and math.isfinite(score) else None,
               {} if known is None else values(known, tune.space, default), attributes.get(FOLD_SCORES, {}),
               attributes.get(EPOCHS), attributes.get(THREADS, ""), default,
               attributes.get(retry.RETRY_OF), retry.reason(trial) if fate is Fate.FAILED else "")


def _importances(study: "Study", rows: Sequence[Row], tune: TuneFile) -> tuple[dict[str, float] | None, str]:
    """How much of the scores' variance each key explains (functional ANOVA, Hutter et al. 2014), or why not."""
    done = [row for row in rows if row.state == Fate.DONE.value]
    least = max(LEAST_TRIALS, 2 * len(tune.space))
    if len(tune.space) < 2:
        return None, "one key is searched: it has nothing to be compared with"
    if len(done) < least:
        return None, f"too few trials for importances: {len(done)} have a score, and {least} are needed"
    if len({row.score for row in done}) == 1:
        return None, "all trials have the same score: no key makes a difference"
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=tune.seed))
    return ({key: float(value) for key, value in found.items()},
            f"from {len(done)} trials with a score; pruned ones do not count. A hint, not a measurement")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
