"""The layers that pyproject.toml declares hold, and the few libraries with a home stay in it."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

#: Library -> the one package that may import it.
HOMES = {"mlflow": "pipeline/tracking", "rasterio": "pipeline/geo", "pyogrio": "pipeline/geo", "fiona": "pipeline/geo",
         "albumentations": "pipeline/patches/augment", "cv2": "pipeline/patches/augment"}


def test_import_contracts_hold(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    status = lint_imports(config_filename=str(project / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def imports(path: Path) -> set[str]:
    """Top names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("library", HOMES)
def test_library_is_imported_only_in_its_home(project: Path, library: str) -> None:
    files = [p for top in ("pipeline", "stages", "tools") for p in (project / top).rglob("*.py")]
    strangers = [str(p.relative_to(project)) for p in files
                 if library in imports(p) and not p.is_relative_to(project / HOMES[library])]
    assert strangers == [], f"only {HOMES[library]} may import {library}"


def test_init_files_hold_only_a_docstring(project: Path) -> None:
    for path in [*(project / "pipeline").rglob("__init__.py"), project / "stages/__init__.py"]:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_every_package_has_an_init_file(project: Path) -> None:
    folders = {p.parent for p in (project / "pipeline").rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").exists()] == []
