"""`kumulus promote`: give a registered version an alias, if its gates hold and all of it is verified."""

from typing import Annotated

import typer

from pipeline.cli_answer import answering_in_one_line
from pipeline.paths import Paths


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    @answering_in_one_line
    def promote(
        run: Annotated[str, typer.Argument(
            help="models:/name/version, models:/name@alias, a run in MLflow (its id or runs:/id), a training's key "
                 "(its first eight characters do), or the name of an experiment of DVC")],
        alias: Annotated[str, typer.Option(help="the alias to move, such as candidate")] = "champion",
        without_targets: Annotated[bool, typer.Option(
            "--without-targets", help="also promote what declares no evaluate.targets")] = False,
    ) -> None:
        """Give a registered model the alias, if its gates hold and all bytes behind it verify.

        Exit status: 0 it has the alias, 1 a gate is missed or MLflow does not answer, 3 something on record is not
        here, 4 bytes are not those on record, 5 Kumulus did not make it.
        """
        from pipeline.lineage.promote import promote as move

        done = move(run, Paths(), alias, without_targets, typer.echo)
        if done.reason:
            typer.echo(f"kumulus: {done.version.name} version {done.version.version} is not promoted: {done.reason}",
                       err=True)
        raise typer.Exit(int(done.status))
