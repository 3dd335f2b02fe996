"""The command `kumulus tune`: search params.yaml's own keys, say what was found, write the winner back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli_answer import answering_in_one_line
from pipeline.paths import Paths

if TYPE_CHECKING:
    from optuna.study import Study

    from pipeline.params.load import Params
    from pipeline.tuning.space import TuneFile
    from pipeline.tuning.storage import Place
    from pipeline.tuning.study import Subject
    from pipeline.tuning.workers import Progress

#: Exit status after Ctrl-C, as shells have it.
_INTERRUPTED = 130

_VARIABLE = "KUMULUS_TUNE_STORAGE"


@answering_in_one_line
def tune(
    file: Annotated[Path, typer.Argument(help="what to search, and over which values; see recipes/tune/")]
    = Path("recipes/tune/settlement.yaml"),
    trials: Annotated[int | None, typer.Option(
        min=1, help="trials in all, those that are over included; left out: what the file says")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that try at a time")] = 1,
    storage: Annotated[str, typer.Option(
        envvar=_VARIABLE, show_envvar=True, show_default=False,
        help="postgresql://user@host/database to share the study with other machines; left out: a journal here")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="write the best trial's values into params.yaml, and end")]
    = False,
    status: Annotated[bool, typer.Option("--status", help="show how far the study is, and end")] = False,
) -> None:
    """Search keys of params.yaml by trials on inner folds; the sealed test part is not looked at."""
    from pipeline.errors import ParamsError
    from pipeline.params.load import load
    from pipeline.tuning.space import read_space
    from pipeline.tuning.storage import Place
    from pipeline.tuning.study import subject

    if apply and (status or trials is not None):
        raise ParamsError("--apply must stand without --trials and --status: it tries nothing, and writes what the "
                          "study has found; leave one of them out")
    paths = Paths()
    if workers > 1 and (apply or status):
        typer.echo(f"--workers {workers} has no effect with --{'apply' if apply else 'status'}, which tries nothing",
                   err=True)
    params, declared = load(paths.params_file), read_space(file)
    place = Place(paths.studies, storage)
    about = subject(params, paths, declared)
    total = trials or declared.trials
    if apply:
        _apply(place, about, declared, paths)
    elif status:
        _status(place, about, declared, total)
    else:
        _search(place, about, params, declared, paths, total, workers, file)


def _search(place: "Place", about: "Subject", params: "Params", declared: "TuneFile", paths: Paths, total: int,
            workers: int, file: Path) -> None:
    """Try until the study has its trials, and write the report; also after Ctrl-C or an error."""
    from pipeline.errors import KumulusError
    from pipeline.tracking.runs import study_run
    from pipeline.tuning.corners import check_space
    from pipeline.tuning.storage import StorageError
    from pipeline.tuning.study import KEY, begin

    check_space(params, declared)  # before anything is left behind
    _say_if_new(place, about, declared)
    study = begin(place, about, params, declared)
    tags = {"kumulus.study": about.name, "kumulus.metric": declared.metric, "kumulus.storage": place.kind}
    stopped: KumulusError | None = None
    interrupted = False
    with study_run(paths, study.user_attrs[KEY], about.name, tags) as log:
        log.params(declared.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"trials": total})
        for name in ("scenes", "splits"):
            log.dataset(name, about.basis[name], f"data/{name}", "tuning")
        try:
            _work(place, about, study, params, declared, paths, total, workers)
        except KeyboardInterrupt:
            interrupted = True
        except KumulusError as error:  # raised again below: what was found until then is told first
            stopped = error
        try:
            with place.answering():
                found = _report(study, declared, place, paths, total)
        except StorageError as error:
            raise stopped or error from None
        for made in sorted(paths.report("tune").joinpath(about.name).iterdir()):
            log.artifact(made, "tune")
        log.metrics({name: float(value) for name, value in found["counts"].items()})
        if found["best"]:
            log.metrics({"best_score": found["best"]["score"]})
            log.tags({"kumulus.best_trial": str(found["best"]["number"])})
        log.tags({"kumulus.interrupted": str(interrupted).lower()})
        _say_found(found, paths, about.name, file)
        if stopped:
            raise stopped
    if interrupted:
        typer.echo("interrupted: the trials that were running are tried again when `kumulus tune` goes on", err=True)
        raise typer.Exit(_INTERRUPTED)


def _work(place: "Place", about: "Subject", study: "Study", params: "Params", declared: "TuneFile", paths: Paths,
          total: int, workers: int) -> None:
    """Keep workers at the study."""
    from pipeline.params.train import TrainParams
    from pipeline.tuning import stamp, worker
    from pipeline.tuning.workers import Crew, threads_of

    threads = declared.threads or threads_of(workers, params.section(TrainParams).threads)
    settings = declared.model_copy(update={"threads": threads})
    job = worker.Job(
        worker="", study=about.name, total=total, root=str(paths.root.resolve()), params=params.raw,
        tune=settings.model_dump(mode="json", by_alias=True, exclude_unset=True), folder=str(place.folder),
        url=place.url, heartbeat_s=place.heartbeat_s, grace_s=place.grace_s, code=about.basis["code"],
        data={name: about.basis[name] for name in stamp.FOLDERS}, factory=worker.FACTORY)
    typer.echo(f"study {about.name}: {total} trials in all, {workers} worker{'s' * (workers > 1)} with {threads} "
               f"thread{'s' * (threads > 1)} each")
    with Crew(job, study, workers, threads, lambda line: typer.echo(f"  {line}", err=True)) as crew:
        crew.work(lambda progress: typer.echo(_line(progress)))


def _say_if_new(place: "Place", about: "Subject", declared: "TuneFile") -> None:
    """Say that a new study begins where another of this tune file stands on something else."""
    from pipeline.tuning.study import differences, siblings

    if place.exists(about.name):
        return
    others = siblings(place, declared, but=about.name)
    if others:
        what = differences(place, about, others[-1])
        shown = "; ".join(what[:3]) + (f" and {len(what) - 3} more" if len(what) > 3 else "")
        typer.echo(f"a new study begins, as scores of {others[-1]} could not be compared: {shown}", err=True)


def _line(now: "Progress") -> str:
    """How far a study is, in one line."""
    from pipeline.experiments.runner import shown

    best = "no score yet" if now.best is None else f"best {now.best:.4f} (trial {now.best_trial})"
    if now.over >= now.total:
        left = "complete"
    else:
        left = "time left known after the first" if now.left_s is None else f"about {shown(now.left_s)} left"
    return (f"{now.over} of {now.total} trials: {now.done} done, {now.pruned} pruned, {now.failed} failed; {best}; "
            f"{left}")


def _report(study: "Study", declared: "TuneFile", place: "Place", paths: Paths, total: int) -> dict[str, Any]:
    """Write reports/tune/<study>/; its results."""
    from pipeline.paths import staged_folder
    from pipeline.reporting.tune_figures import draw_history, draw_importance
    from pipeline.tuning import history

    found = history.results(study, declared, place.kind, total)
    with staged_folder(paths.report("tune") / study.study_name) as folder:
        history.write(found, folder)
        draw_history(found, folder / "history.png")
        draw_importance(found, folder / "importance.png")
    return found


def _say_found(found: dict[str, Any], paths: Paths, name: str, file: Path) -> None:
    """Say what was found, and what to do next."""
    best, default = found["best"], found["default"]
    if best is None:
        typer.echo("no trial has a score yet")
    else:
        beside = (f"; params.yaml as it was: {default['score']:.4f}" if default and not best["default"] else
                  "; that is params.yaml as it was" if best["default"] else "")
        typer.echo(f"best {found['metric']} on inner folds: {best['score']:.4f}, trial {best['number']}{beside}")
        for key, value in best["values"].items():
            typer.echo(f"  {key}: {value}")
    if found["importances"] is None:
        typer.echo(f"importances: {found['importances_note']}")
    typer.echo(f"{paths.report('tune') / name} has the table and the figures")
    if best is not None and not best["default"]:
        typer.echo(f"next: `kumulus tune {file} --apply` writes the best values into params.yaml, and `dvc repro` "
                   "makes the model")


def _status(place: "Place", about: "Subject", declared: "TuneFile", total: int) -> None:
    """Show how far the study is."""
    from pipeline.tuning.study import load, siblings
    from pipeline.tuning.workers import progress

    others = siblings(place, declared, but=about.name)
    if place.exists(about.name):
        with place.answering():
            trials = load(place, about.name, declared).get_trials(deepcopy=False)
        now = progress(trials, total, 1)
        typer.echo(f"study {about.name} in {place.shown}: {_line(now)}; {now.running} running")
    else:
        typer.echo(f"study {about.name} has not been begun in {place.shown}")
    if others:
        typer.echo(f"with other params, data or code: {', '.join(others)}")


def _apply(place: "Place", about: "Subject", declared: "TuneFile", paths: Paths) -> None:
    """Write the study's best values into params.yaml."""
    from pipeline.tuning.apply import apply
    from pipeline.tuning.history import winner
    from pipeline.tuning.study import load

    with place.answering():
        study = load(place, about.name, declared)
        best = winner(study, declared)
    typer.echo(f"trial {best.number} of study {about.name}, {declared.metric} {best.score:.4f} on inner folds")
    typer.echo(str(apply(paths, dict(best.values))))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)
