"""Write each stage's code dependencies into dvc.yaml: `make deps`, or `python tools/closure.py [--check]`.

A stage must rerun exactly when code that can change its result was edited. So its deps name every file of the project
that its script can come to import: found in the syntax tree, which also sees imports inside functions, and with the
`__init__` files that an import runs. Two kinds of import are left out (see docs/architecture.md):

- observers, declared in pyproject.toml under [tool.kumulus]: they receive results and give nothing back;
- modules reached by name only, as the parameter loader reaches the schema of other stages' sections.

Data deps in dvc.yaml, comments and order stay as they are; only `.py` files and requirements.lock are rewritten.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

PACKAGES = ("pipeline", "stages")
LOCK = "requirements.lock"


def observers(root: Path) -> tuple[str, ...]:
    """Modules and packages that pyproject.toml declares as observers."""
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return tuple(config["tool"]["kumulus"]["observers"])


def module_file(root: Path, module: str) -> Path | None:
    """The source file of a module or package of the project; None where there is no such module."""
    base = root.joinpath(*module.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def imported_names(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Dotted names that the source imports, wherever in it; `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                anchor = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*anchor, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def closure(root: Path, start: str, skip: Sequence[str] = ()) -> set[str]:
    """Files, relative to `root`, that importing the module `start` can come to run, without those of `skip`.

    Raises:
        FileNotFoundError: there is no such module.
    """
    if module_file(root, start) is None:
        raise FileNotFoundError(f"module {start} must exist in {root}")
    files: set[str] = set()
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen or any(module == s or module.startswith(f"{s}.") for s in skip):
            continue
        seen.add(module)
        file = module_file(root, module) if module.split(".")[0] in PACKAGES else None
        if file is None:  # another project's module, or a name inside one
            continue
        files.add(file.relative_to(root).as_posix())
        waiting.extend(imported_names(file.read_text(encoding="utf-8"), module, file.name == "__init__.py"))
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return files


def stage_module(command: str) -> str:
    """The module that a stage's `cmd` runs.

    Raises:
        ValueError: the command is not `python -m MODULE`.
    """
    words = command.split()
    if words[:2] != ["python", "-m"] or len(words) < 3:
        raise ValueError(f"a stage's cmd must be `python -m stages.<name>`: got {command!r}")
    return words[2]


def is_code(dep: str) -> bool:
    """Whether a dep is one that this tool writes."""
    return dep.endswith(".py") or dep == LOCK


def code_deps(root: Path, command: str) -> list[str]:
    """The code deps of a stage, in the order dvc.yaml lists them."""
    return [LOCK, *sorted(closure(root, stage_module(command), observers(root)))]


def rewrite(root: Path, check_only: bool = False) -> list[str]:
    """Bring dvc.yaml's code deps up to date; gives the names of the stages that differed."""
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = root / "dvc.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    changed = []
    for name, stage in document["stages"].items():
        before: CommentedSeq = stage["deps"]
        wanted = code_deps(root, stage["cmd"])
        if [d for d in before if is_code(d)] == wanted:
            continue
        changed.append(name)
        for i in reversed([i for i, d in enumerate(before) if is_code(d)]):
            del before[i]
        before.extend(wanted)
    if changed and not check_only:
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
    return changed


def main() -> None:
    """Rewrite, or with --check only report; says which stages differ."""
    check_only = "--check" in sys.argv[1:]
    changed = rewrite(Path(__file__).resolve().parents[1], check_only)
    print(f"dvc.yaml: {'code deps of ' + ', '.join(changed) if changed else 'every stage'} "
          f"{'are out of date' if changed and check_only else 'written' if changed else 'agrees with its imports'}")
    if changed and check_only:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
