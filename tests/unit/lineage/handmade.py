"""A whole project on disk without running a stage: git, dvc.lock, DVC's cache, artifacts of noise, true statements."""

import copy
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from pipeline.lineage.identify import Identified, identify
from pipeline.lineage.verify import Report, Verdict, verify
from pipeline.params.load import load
from pipeline.paths import Paths, write_json
from pipeline.tracking.export_statement import export_statement, write_statement
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.provenance import STAGES, provenance
from tests.git_call import git
from tests.unit.lineage.files import flip, sha256

RECIPE = Path(__file__).resolve().parents[3] / "recipes/settlement.yaml"
CODE, SCENE, WEIGHTS = "pipeline/code.py", "data/raw/scenes/a.tif", "models/checkpoint/members/0/weights.safetensors"
CARD = "models/export/model_card.md"

#: Stage -> outs, and the sections of params.yaml it reads.
OUTS = {"acquire": ["data/raw", "reports/acquire"], "refine_labels": ["data/labels", "reports/refine_labels"],
        "rasterize": ["data/scenes", "reports/rasterize"], "spatial_split": ["data/splits", "reports/spatial_split"],
        "train": ["models/checkpoint", "models/run.json", "reports/train"], "evaluate": ["reports/evaluate"],
        "export": ["models/export", "reports/export"]}
SECTIONS = {stage: ["seed", "task", stage] for stage in STAGES[:-1]} | {"export": ["seed", "task", *STAGES]}


@dataclass(frozen=True)
class Project:
    """Where it lies."""

    root: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    def file(self, name: str) -> Path:
        return self.root / name

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "state")

    def cached(self, name: str) -> Path:
        """The object of an out, or of a file of one."""
        lock = YAML(typ="safe").load(self.file("dvc.lock"))["stages"]
        for stage in lock.values():
            for out in stage["outs"]:
                path = address(self.root, out["md5"])
                if out["path"] == name:
                    return path
                if name.startswith(f"{out['path']}/"):
                    inside = {e["relpath"]: e["md5"] for e in json.loads(path.read_bytes())}
                    return address(self.root, inside[name.removeprefix(f"{out['path']}/")])
        raise AssertionError(name)

    def identified(self, target: str = CARD) -> Identified:
        return identify(str(self.root / target), self.paths)

    def verify(self, target: str = CARD) -> Report:
        return verify(self.identified(target), self.paths, progress=False)

    def export(self) -> None:
        """What stage export does: finished files, both statements."""
        params, folder = load(self.paths.params_file), self.paths.export
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "provenance.json", provenance(params, self.paths, self.root))
        digest = sha256(folder / "provenance.json")
        (folder / "model_card.md").write_text(f"sha256 `{digest}` of `provenance.json`\n", encoding="utf-8")
        (folder / "maps").mkdir()
        (folder / "maps/a.qml").write_text("style\n", encoding="utf-8")
        write_statement(folder / "lineage.json", export_statement(folder, digest, params, self.paths, self.root))

    def lock(self, links: bool = False) -> None:
        """What DVC does after the stages: dvc.lock, run-cache, and the cache (linked to the workspace with `links`)."""
        raw = YAML(typ="safe", pure=True).load(self.paths.params_file)
        stages = {}
        for stage, outs in OUTS.items():
            stages[stage] = {
                "cmd": f"python -m stages.{stage}",
                "deps": [{"path": name, "hash": "md5", "md5": artifact_digests(self.root / name, self.root).oid}
                         for name in deps(stage)],
                "params": {"params.yaml": {key: copy.deepcopy(raw[key]) for key in SECTIONS[stage] if key in raw}},
                "outs": [{"path": name, "hash": "md5", "md5": self._cache(name, links)} for name in outs]}
        with self.file("dvc.lock").open("w", encoding="utf-8") as file:
            YAML().dump({"schema": "2.0", "stages": stages}, file)
        for stage, entry in stages.items():
            kept = json.dumps(entry, sort_keys=True).encode()
            run = self.file(f".dvc/cache/runs/{stage[:2]}/{stage}/{hashlib.sha256(kept).hexdigest()}")
            run.parent.mkdir(parents=True, exist_ok=True)
            with run.open("w", encoding="utf-8") as file:
                YAML().dump(entry, file)

    def _cache(self, name: str, links: bool) -> str:
        found, path = artifact_digests(self.root / name, self.root), self.root / name
        for part, digests in found.files.items():
            keep(path / part, address(self.root, digests.md5), links)
        if not path.is_dir():
            keep(path, address(self.root, found.oid), links)
            return found.oid
        entries = [{"md5": d.md5, "relpath": part} for part, d in found.files.items()]
        target = address(self.root, found.oid)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(entries, sort_keys=True), encoding="utf-8")
        return found.oid


def deps(stage: str) -> list[str]:
    return [CODE, "requirements.lock", *(["inputs"] if stage == "acquire" else [])]


def address(root: Path, oid: str) -> Path:
    return root / ".dvc/cache/files/md5" / oid[:2] / oid[2:]


def keep(path: Path, target: Path, links: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.link(path, target) if links else shutil.copyfile(path, target)


def make_project(root: Path, scene_bytes: int = 1000, links: bool = False) -> Project:
    """A committed project whose artifacts hold seeded noise.

    Args:
        root: an empty or new folder.
        scene_bytes: size of the raw scene; the store's image has half of it.
        links: the cache shares its files with the workspace.
    """
    draw = np.random.default_rng(0)

    def write(name: str, content: bytes | str | int) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            with path.open("wb") as file:
                for start in range(0, content, 1 << 24):
                    file.write(draw.bytes(min(1 << 24, content - start)))
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    shutil.copyfile(RECIPE, (root / "params.yaml") if root.is_dir() else _made(root) / "params.yaml")
    write(CODE, '"""Code."""\n')
    write("requirements.lock", "numpy==2\n")
    write(".gitignore", "/data/\n/models/\n/reports/\n/.dvc/cache\n/mlflow.db*\n")
    write(".dvc/config", '[core]\n    analytics = false\n')
    write("inputs/README.md", "Put files here.\n")
    write(SCENE, scene_bytes)
    write("data/raw/labels.gpkg", 400)
    entries = {name: {"id": "a", "file": name, "href": f"inputs/{name}", "sha256": sha256(root / "data/raw" / name),
                      "licence": "CC0", "time": ""} for name in ("scenes/a.tif", "labels.gpkg")}
    write_json(root / "data/raw/catalog.json", {"scenes": [entries["scenes/a.tif"]], "labels": entries["labels.gpkg"],
                                                "reference": None})
    for name, size in (("data/labels/labels.gpkg", 300), ("data/scenes/a/image.tif", scene_bytes // 2),
                       ("data/scenes/a/labels.tif", 200), ("data/splits/certificate.json", 100), (WEIGHTS, 500),
                       ("reports/evaluate/confusions.parquet", 50), ("reports/export/figure.png", 50),
                       *((f"reports/{stage}/environment.png", 20) for stage in STAGES[:-1])):
        write(name, size)
    write_json(root / "reports/evaluate/metrics.json", {"iou": 0.5})
    write_json(root / "models/checkpoint/members/0/model.json", {})
    write_json(root / "models/run.json", {"key": "k1", "environment": {}})
    stages = {stage: {"cmd": f"python -m stages.{stage}", "deps": deps(stage), "params": SECTIONS[stage], "outs": outs}
              for stage, outs in OUTS.items()}
    with (root / "dvc.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"stages": stages}, file)
    made = Project(root)
    made.export()
    made.lock(links)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit()
    return made


def _made(root: Path) -> Path:
    root.mkdir(parents=True)
    return root


def named(report: Report) -> list[tuple[str, str]]:
    """(node, place) of what is contradicted."""
    return [(link.node, link.place) for link in report.of(Verdict.CONTRADICTED)]


def elsewhere(traced: Project, folder: Path) -> Path:
    """models/export copied out of the repository."""
    shutil.copytree(traced.paths.export, folder)
    return folder / "model_card.md"


def rebuilt(traced: Project) -> None:
    """Another scene, and everything made anew."""
    scene, catalog = traced.file(SCENE), traced.paths.catalog
    before = sha256(scene)
    flip(scene)
    catalog.write_text(catalog.read_text().replace(before, sha256(scene)))
    flip(traced.file(WEIGHTS))
    traced.export()
    traced.lock()
