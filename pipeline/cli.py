"""The command `kumulus`: what DVC does not do. Every command imports what it needs when it runs.

An error the user can mend is answered in one line and with an exit status. Commands of a topic of their own live in
pipeline/cli_<topic>.py.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli_lineage, cli_promote, cli_tune
from pipeline.cli_answer import answering_in_one_line
from pipeline.paths import Paths

app = typer.Typer(
    help="What DVC does not do: recipes, checks, predictions, the sealed test part, lineage, tuning, tracking.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)
recipe_app = typer.Typer(help="Overlays of params.yaml, one a use case.", no_args_is_help=True)
app.add_typer(recipe_app, name="recipe")
cli_lineage.register(app)
cli_promote.register(app)
cli_tune.register(app)


def recipes_folder() -> Path:
    """The project's recipes: those of the working folder, where it has some, else those beside this package."""
    here = Path("recipes")
    return here if here.is_dir() else Path(__file__).resolve().parents[1] / "recipes"


@recipe_app.command("list")
@answering_in_one_line
def recipe_list() -> None:
    """Show the recipes there are."""
    from pipeline.params.recipes import available

    for recipe in available(recipes_folder()):
        typer.echo(f"{recipe.name:<14}{recipe.summary.removeprefix(f'{recipe.name}: ')}")


@recipe_app.command("use")
@answering_in_one_line
def recipe_use(name: Annotated[str, typer.Argument(help="a name that `kumulus recipe list` shows")]) -> None:
    """Lay a recipe over params.yaml; comments and what you wrote stay, what another recipe brought is removed."""
    from pipeline.params.recipes import use

    changed = use(Paths().params_file, recipes_folder(), name)
    for key in changed:
        typer.echo(f"  {key}")
    hint = "; `make repro` runs it" if changed else ""
    typer.echo(f"params.yaml follows recipe {name}: {len(changed)} changes{hint}")


@app.command()
@answering_in_one_line
def doctor() -> None:
    """Check what is installed, which device computes and whether the repository is in order."""
    from pipeline.doctor import examine

    failed = False
    for check in examine(Paths()):
        typer.echo(f"{check.state:<6}{check.subject:<11}{check.text}")
        failed = failed or check.state == "wrong"
    raise typer.Exit(1 if failed else 0)


@app.command("check-training")
@answering_in_one_line
def check_training(steps: Annotated[int, typer.Option(min=1, help="optimizer steps on the one batch")] = 150) -> None:
    """Overfit one batch: what cannot learn train.batch_size patches by heart will not learn a scene."""
    from pipeline.params.load import load
    from pipeline.params.task import Task
    from pipeline.params.train import TrainParams

    paths = Paths()
    params = load(paths.params_file)

    from pipeline.scenes.store import SceneStore
    from pipeline.seeding import seed_everything
    from pipeline.splits.split import Split
    from pipeline.training.check import overfit_one_batch
    from pipeline.training.prepare import prepare

    train = params.section(TrainParams)
    seed_everything(params.seed)
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    ready = prepare(store, split, params.section(Task), train, params.seed)
    result = overfit_one_batch(ready.spec, ready.source, ready.class_weights_K, train, steps)
    typer.echo(f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}, pixel accuracy {result.accuracy:.3f}: "
               + ("the network learns" if result.passed else "the network does NOT learn one batch; check lr and loss"))
    raise typer.Exit(0 if result.passed else 1)


@app.command("show-patches")
@answering_in_one_line
def show_patches(
    count: Annotated[int, typer.Option(min=1, max=256, help="patches to show, the first of the epoch")] = 24,
    epoch: Annotated[int, typer.Option(min=0, help="epoch, from 0")] = 0,
    out: Annotated[Path, typer.Option(help="the PNG")] = Path("reports/patches.png"),
) -> None:
    """Draw what the first member sees: patches as drawn and augmented, their labels, which pixels count how much."""
    import tempfile

    from pipeline.params.load import load
    from pipeline.params.task import Task
    from pipeline.params.train import TrainParams

    paths = Paths()
    params = load(paths.params_file)

    from pipeline.patches.batch import collate
    from pipeline.paths import staged_file
    from pipeline.reporting.patch_figure import draw_patches
    from pipeline.scenes.store import SceneStore
    from pipeline.splits.split import Split
    from pipeline.training import plan
    from pipeline.training.prepare import prepare

    train, store, split = params.section(TrainParams), SceneStore.open(paths.scenes), Split.open(paths.splits)
    member = plan.members(train, params.seed, split)[0]
    with tempfile.TemporaryDirectory() as scratch:
        held = split.with_val_fold(member.fold, Path(scratch))
        ready = prepare(store, held, params.section(Task), train, member.seed)
        batch = collate([ready.source.draw(epoch, index) for index in range(count)])
    spec = ready.spec
    with staged_file(out) as file:
        draw_patches(file, batch, spec.channels, spec.mean, spec.classes, spec.colors)
    labels = batch.raw_labels_NHW.flatten().bincount(minlength=256)[:len(spec.classes)].double()
    shares = ", ".join(f"{name} {share:.1%}" for name, share
                       in zip(spec.classes, (labels / labels.sum()).tolist(), strict=True))
    typer.echo(f"{out}: {count} patches, {batch.visible_NHW.double().mean():.1%} of their pixels visible; "
               f"labels: {shares}")


@app.command("lr-find")
@answering_in_one_line
def lr_find(
    steps: Annotated[int, typer.Option(help="optimizer steps, at most")] = 100,
    low: Annotated[float, typer.Option(help="rate of the first step")] = 1e-6,
    high: Annotated[float, typer.Option(help="rate of the last step")] = 1.0,
) -> None:
    """Try growing learning rates on the configured training, and suggest one for train.optimizer.lr."""
    import tempfile

    from pipeline.params.load import load
    from pipeline.params.task import Task
    from pipeline.params.train import TrainParams

    paths = Paths()
    params = load(paths.params_file)
    train = params.section(TrainParams)
    # One device works off what several would share.
    train = train.model_copy(update={"devices": 1, "accumulation": train.accumulation * train.devices})

    from pipeline.paths import staged_folder
    from pipeline.reporting.lr_figure import draw_rates
    from pipeline.scenes.store import SceneStore
    from pipeline.seeding import seed_everything
    from pipeline.splits.split import Split
    from pipeline.tracking import weights
    from pipeline.training import engine, lr_find, matching, plan, prepare, warm_start
    from pipeline.training.resume import ResumeStore

    fabric = engine.open_fabric(train)
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    planned = plan.members(train, params.seed, split)
    member = planned[0]
    with tempfile.TemporaryDirectory() as folder:
        starts = warm_start.open_starts(train, planned, paths, ResumeStore(Path(folder), ""), weights.fetch)
        seed_everything(member.seed)
        held = split.with_val_fold(member.fold, Path(folder) / "grounds")
        ready = prepare.prepare(store, held, params.section(Task), train, member.seed)
        start = matching.matched(starts[0], ready.spec, member.seed) if starts else None
        sweep = lr_find.find_rate(fabric, ready.spec, ready.source, ready.class_weights_K, train, low, high, steps,
                                  start)
    with staged_folder(paths.report("lr_find")) as report:
        (report / "rates.csv").write_text(sweep.csv, encoding="utf-8")
        draw_rates(report / "rates.png", sweep.rates, sweep.losses, sweep.smoothed, sweep.steepest,
                   train.optimizer.lr)  # kept where nothing can be suggested too: it shows why
    typer.echo(f"the loss falls fastest at {sweep.suggestion:.2g} and is lowest at {sweep.lowest:.2g}; "
               f"train.optimizer.lr is {train.optimizer.lr:.2g}; {paths.report('lr_find') / 'rates.png'} has the curve")


@app.command()
@answering_in_one_line
def predict(
    scenes: Annotated[list[Path], typer.Argument(help="rasters that GDAL reads, never seen in training")],
    model: Annotated[str, typer.Option(
        help="an .onnx file, an export or checkpoint folder, or models:/name/version of MLflow")] = "models/export",
    out: Annotated[Path, typer.Option(help="folder of the maps")] = Path("predictions"),
    bands: Annotated[str, typer.Option(help="the rasters' bands in order, by commas, where they have no names")] = "",
    scale: Annotated[float, typer.Option(help="factor from the rasters' values to the model's units")] = 1.0,
    offset: Annotated[float, typer.Option(
        help="of digital numbers: reflectance = (value + offset) / quantification")] = 0.0,
    quantification: Annotated[float, typer.Option(
        help="of digital numbers, such as 10000; 0 is nodata then; leaves --scale out")] = 0.0,
    nodata: Annotated[float | None, typer.Option(help="value that means no data, in place of the rasters' own")] = None,
    zeros: Annotated[str, typer.Option(
        help="nodata or data: what zeros in every band mean where no nodata is declared")] = "refuse",
    crs: Annotated[str, typer.Option(help="CRS of rasters that have none, such as EPSG:32748")] = "",
) -> None:
    """Map scenes with a finished model: class and confidence maps with QGIS style and lineage."""
    from pipeline.exporters.predict import predict_scenes
    from pipeline.inference.raster_pixels import RasterValues

    if model.startswith(("models:/", "runs:/")):
        from pipeline.tracking.models import download

        file = download(model)
    else:
        file = Path(model)
    names = [name.strip() for name in bands.split(",") if name.strip()]
    values = RasterValues(scale, offset, quantification, nodata, zeros)
    for made in predict_scenes(scenes, file, out, bands=names, values=values, crs=crs):
        shares = ", ".join(f"{name} {share:.1%}" for name, share in made.shares.items())
        typer.echo(f"{made.class_map}: {shares}")


@app.command()
@answering_in_one_line
def ablate(
    file: Annotated[Path, typer.Argument(help="what to change, over which seeds and folds; see recipes/ablate/")]
    = Path("ablate.yaml"),
    plan_only: Annotated[bool, typer.Option("--plan", help="show what would run, and end")] = False,
) -> None:
    """Run declared changes of params.yaml as experiments of DVC, and compare each with the unchanged configuration."""
    from pipeline.experiments import declaration, plan, report, runner
    from pipeline.params.load import load

    paths = Paths()
    load(paths.params_file)
    declared = declaration.read(file)
    made = plan.make_plan(declared, paths.params_file)
    for variant in made.variants:
        for text in variant.warnings:
            typer.echo(f"{variant.name}: warning: {text}", err=True)
    if plan_only:
        for variant in made.variants:
            typer.echo(f"{made.experiment(variant)}: {' '.join(variant.overrides) or 'as params.yaml says'}")
        return
    outcomes = runner.run_variants(made, paths, lambda: plan.make_plan(declared, paths.params_file), typer.echo)

    import json

    from pipeline.paths import staged_folder
    from pipeline.reporting.ablation_figure import draw_ablation

    table = report.build(made, outcomes)
    with staged_folder(paths.report("ablate") / made.name) as folder:
        report.write(table, folder)
        draw_ablation(json.loads((folder / "results.json").read_text(encoding="utf-8")), folder / "figure.png")
    report.show(table)
    typer.echo(f"{paths.report('ablate') / made.name} has the table and the figure")
    raise typer.Exit(1 if table.failed else 0)


@app.command()
@answering_in_one_line
def unseal() -> None:
    """Score the sealed test part, and put the look on record in unseal.log.jsonl, which belongs into git."""
    from pipeline.params.load import load

    paths = Paths()
    params = load(paths.params_file)

    from pipeline.evaluation import seal
    from pipeline.reporting.evaluate_figures import draw_all

    _, entry = seal.unseal(params, paths, draw=draw_all)
    scores = ", ".join(f"{name} {value:.3f}" for name, value in entry["scores"].items() if isinstance(value, float))
    typer.echo(f"look {entry['look']} at the test part against {entry['truth']}: {scores}")
    if "gates" in entry:
        typer.echo("{held} of {of} gates hold".format(**entry["gates"]))
    typer.echo(f"{paths.report('unseal')} has the rest; commit {paths.unseal_log}")


@app.command()
@answering_in_one_line
def sync() -> None:
    """Send runs that MLflow has not received, when it was away."""
    from pipeline.tracking import sender

    deliveries = sender.sync(Paths())
    for delivery in deliveries:
        typer.echo(f"{delivery.outcome}: {delivery.message}")
    if not deliveries:
        typer.echo("nothing to send: MLflow has every run")
    raise typer.Exit(1 if any(d.outcome in ("unreachable", "refused") for d in deliveries) else 0)


@app.command()
@answering_in_one_line
def ui(port: Annotated[int, typer.Option(help="local port")] = 5000) -> None:
    """Show the runs in the browser, from the store that stages write to."""
    import subprocess
    import sys

    from pipeline.tracking.store import client, locate, probe

    store = locate(Paths())
    if store.is_server:
        typer.echo(f"MLflow is a server: open {store.shown} in the browser")
        return
    probe(store)
    client(store)  # a database that is new or of an older mlflow is made fit under the lock that stages use
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--backend-store-uri", store.uri]
    if store.artifacts:
        command += ["--default-artifact-root", store.artifacts]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
