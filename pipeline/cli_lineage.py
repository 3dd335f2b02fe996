"""`kumulus trace`, `diff` and `sign`: where a result came from, whether that still holds, how two differ.

Exit status of trace: 0 fine, 3 unverifiable (something is not here), 4 contradicted, 5 not a Kumulus file; 1 any other
error, 2 wrong usage.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_answer import answering_in_one_line
from pipeline.errors import ParamsError
from pipeline.paths import Paths

if TYPE_CHECKING:
    from pipeline.lineage.check import Checked
    from pipeline.lineage.identify import Identified
    from pipeline.lineage.tree import Trace

_TARGET = ("a file that Kumulus exported or predicted (.onnx, .tif, .gpkg, .parquet, model_card.md, lineage.json, "
           "provenance.json), a checkpoint's folder or weights.safetensors, models:/name/version, models:/name@alias, "
           "runs:/id or a run's id")
_REPLAY = "make it again from its commit and compare; runs that commit's code with your rights"
_REPOSITORY = "the project that made it; else the one around the working folder, else around the file"


def register(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    for name, command in (("trace", trace), ("diff", diff), ("sign", sign)):
        app.command(name)(answering_in_one_line(command))


def repository(target: str, given: Path | None) -> Paths:
    """The project to ask: the one given, the one around the working folder, or around the target; else none."""
    if given is not None:
        if not _is_there(given, Path.is_dir):
            raise ParamsError(f"--repository must be a folder: got {str(given)[:200]}; name the project's")
        return Paths(given)
    if Path("dvc.yaml").is_file():
        return Paths()
    starts = [Path.cwd(), *([Path(target).resolve()] if _is_there(Path(target)) else [])]
    around = (folder for start in starts for folder in (start, *start.parents))
    return Paths(next((folder for folder in around if (folder / "dvc.yaml").is_file()), Path()))


def _is_there(path: Path, is_so: Callable[[Path], bool] = Path.exists) -> bool:
    """Whether a file or folder is there; a name that none can have, such as one of 300 characters, is none."""
    try:
        return is_so(path)
    except (OSError, ValueError):
        return False


def trace(
    target: Annotated[str, typer.Argument(help=_TARGET)],
    json_: Annotated[bool, typer.Option("--json", help="print all there is as JSON")] = False,
    html: Annotated[Path | None, typer.Option(help="also write one self-contained page with the graph")] = None,
    as_: Annotated[str, typer.Option(
        "--as", metavar="prov|openlineage", help="print W3C PROV-JSON, or OpenLineage events as lines")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="rehash every byte behind it, trusting no cache")] = False,
    replay: Annotated[bool, typer.Option("--replay", help=_REPLAY)] = False,
    keep: Annotated[bool, typer.Option("--keep", help="leave the scratch folder of --replay")] = False,
    public_key: Annotated[Path | None, typer.Option(help="check the signature by this key, PEM")] = None,
    signature: Annotated[Path | None, typer.Option(help="the signature, where it lies elsewhere")] = None,
    code: Annotated[bool, typer.Option("--code", help="list every file of code and data")] = False,
    in_: Annotated[Path | None, typer.Option("--repository", help=_REPOSITORY)] = None,
) -> None:
    """Show where a result came from, back to sources, labels, code, params and run; check that it holds."""
    if as_ not in ("", "prov", "openlineage") or (as_ and json_):
        raise typer.BadParameter(f"--as must be prov or openlineage, without --json: got {as_!r}")
    from pipeline.lineage import check, tree
    from pipeline.lineage.identify import identify

    if html is not None:
        _must_be_writable(html)
    paths = repository(target, in_)
    identified = identify(target, paths)
    built = tree.build(identified, paths)
    wanted = check.Wanted(verify, replay, keep, public_key, signature)
    checked = check.run(identified, paths, wanted, lambda line: typer.echo(line, err=True))
    _print(identified, built, checked, as_, json_, code)
    if html is not None:
        from pipeline.reporting.trace_page import write_page

        try:
            write_page(html, check.to_json(identified, built, checked))
        except OSError as error:
            raise ParamsError(f"--html must be a file that can be written: {error}; name another") from error
        typer.echo(f"{html} has the page", err=bool(json_ or as_))
    raise typer.Exit(checked.exit_code)


def _must_be_writable(page: Path) -> None:
    """Refuse a page that cannot or must not be written before the checks, which may take hours."""
    from pipeline.reporting.trace_page import is_page

    why = ""
    try:
        folder = next((folder for folder in page.absolute().parents if folder.exists()), page)  # the rest is made
        if page.is_dir():
            why = "it is a folder"
        elif not folder.is_dir():
            why = f"{folder} is no folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            why = f"this user cannot write into {folder}"
        elif page.exists() and not is_page(page):
            why = "something else than a page of `kumulus trace` lies there"
        elif any((above / "lineage.json").exists() for above in page.absolute().parents):
            why = "an export must hold what its lineage.json names, and nothing else"
    except (OSError, ValueError) as error:  # such as a name of 300 characters
        why = str(error)[:200]
    if why:
        raise ParamsError(f"--html must be a file that can be written: got {str(page)[:200]}, and {why}; name another")


def _print(identified: "Identified", built: "Trace", checked: "Checked", as_: str, json_: bool, code: bool) -> None:
    """What was asked for on standard output; with --as the checks go to standard error."""
    import json
    import sys

    from pipeline.lineage import check

    if json_:
        typer.echo(json.dumps(check.to_json(identified, built, checked), indent=1, ensure_ascii=False))
        return
    if as_ == "prov":
        from pipeline.lineage.prov import to_prov

        typer.echo(to_prov(built))
    elif as_ == "openlineage":
        from pipeline.lineage.openlineage import to_openlineage

        typer.echo(to_openlineage(built))
    else:
        from pipeline.lineage.text import show

        show(built, identified, sys.stdout, code=code, marks=checked.marks)
    for line in checked.lines():
        typer.echo(line, err=bool(as_))


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_TARGET)],
    second: Annotated[str, typer.Argument(metavar="B", help="as A")],
    json_: Annotated[bool, typer.Option("--json", help="print all there is as JSON")] = False,
    in_: Annotated[Path | None, typer.Option("--repository", help=_REPOSITORY)] = None,
) -> None:
    """Show what differs between two models: data, labels by their ledgers, code, params, environment, scores."""
    import json

    from pipeline.lineage.diff import compare
    from pipeline.lineage.identify import identify

    paths = repository(first, in_)
    found = compare(identify(first, paths), identify(second, paths), paths)
    typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False) if json_ else found.text())


def sign(
    key: Annotated[Path, typer.Option(help="private key on P-256 in PEM; KUMULUS_KEY_PASSPHRASE opens it")],
    folder: Annotated[Path, typer.Argument(help="an export with its lineage.json")] = Path("models/export"),
    new_key: Annotated[bool, typer.Option("--new-key", help="make the key first, and its public half beside it")]
    = False,
    out: Annotated[Path | None, typer.Option(help="the signature; signatures/<provenance>.sig by default")] = None,
) -> None:
    """Sign every file of an export with a local key; `kumulus trace --public-key` checks it."""
    from pipeline.lineage import signing

    if new_key:
        typer.echo(f"{key} is the private key, which nobody else may see; {signing.new_key(key)} is the public one")
    made = signing.sign(folder, key, out, repository(str(folder), None))
    typer.echo(f"{made.file}: signature over {made.count} files, key {made.key[:12]}; it belongs into git")
