"""The artifact layout, declared once: every stage and command asks Paths, and a test holds dvc.yaml against it.

Also the ways to write without leaving halves behind. Imports nothing of the project.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Paths:
    """Where artifacts lie, relative to `root` (the working folder of a `dvc repro`, or a test's temporary folder)."""

    root: Path = Path()

    @property
    def params_file(self) -> Path:
        """params.yaml."""
        return self.root / "params.yaml"

    @property
    def raw(self) -> Path:
        """acquire: scenes/, labels.gpkg, reference/, catalog.json."""
        return self.root / "data/raw"

    @property
    def catalog(self) -> Path:
        """acquire: what was acquired, from where, with sha256, licence, time and bands."""
        return self.raw / "catalog.json"

    @property
    def labels(self) -> Path:
        """refine_labels: labels.gpkg, ledger.parquet, thresholds.json."""
        return self.root / "data/labels"

    @property
    def scenes(self) -> Path:
        """rasterize: the memory-mappable scene store."""
        return self.root / "data/scenes"

    @property
    def splits(self) -> Path:
        """spatial_split: blocks.gpkg, certificate.json; fold.tif, block.tif, ground.tif in <id>/."""
        return self.root / "data/splits"

    @property
    def checkpoint(self) -> Path:
        """train: members/<i>/ with weights.safetensors, model.json, history.csv."""
        return self.root / "models/checkpoint"

    @property
    def run_file(self) -> Path:
        """train: the training's own key, by which its tracked run is found."""
        return self.root / "models/run.json"

    @property
    def export(self) -> Path:
        """export: model.onnx, maps, polygons, cards, provenance.json, lineage.json."""
        return self.root / "models/export"

    @property
    def unseal_log(self) -> Path:
        """The committed log of every look at the test part."""
        return self.root / "unseal.log.jsonl"

    def report(self, stage: str) -> Path:
        """A stage's own figures and metrics."""
        return self.root / "reports" / stage

    @property
    def repository(self) -> Path:
        """The real repository: DVC_ROOT where DVC runs a copy (`dvc exp run --temp`, `--queue`), else `root`."""
        return Path(os.environ.get("DVC_ROOT") or self.root).resolve()

    @property
    def resume(self) -> Path:
        """Resume state of interrupted trainings; neither tracked by git nor by DVC."""
        return self.repository / ".checkpoints"

    @property
    def journal(self) -> Path:
        """Tracking events that have not reached MLflow yet."""
        return self.repository / ".kumulus/journal"

    @property
    def computed(self) -> Path:
        """What this repository has computed itself, one line a finished stage; tracked by neither git nor DVC."""
        return self.repository / ".kumulus/computed.jsonl"

    @property
    def downloads(self) -> Path:
        """What interrupted acquisitions have read so far; neither tracked by git nor by DVC."""
        return self.repository / ".kumulus/downloads"

    @property
    def scratch(self) -> Path:
        """What a stage needs while it runs and nobody after it."""
        return self.root / ".kumulus/scratch"

    @property
    def studies(self) -> Path:
        """Journals of `kumulus tune`, by which a study continues, and the locks of its workers; tracked by neither."""
        return self.repository / ".kumulus/tune"

    @property
    def ablations(self) -> Path:
        """Results of an ablation's variants, by which an interrupted one continues; tracked by neither."""
        return self.repository / ".kumulus/ablate"


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` that takes its place when the block ends well.

    On an exception nothing is left; after a kill the leftover is removed by the next call.
    """
    partial, replaced = (final.with_name(f".{final.name}.{state}") for state in ("partial", "old.partial"))
    _remove(partial, replaced)
    partial.mkdir(parents=True)
    try:
        yield partial
        if final.exists():
            os.replace(final, replaced)  # removing takes time, in which a kill would leave half of it under its name
        os.replace(partial, final)
    finally:
        _remove(partial, replaced)


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


@contextmanager
def staged_file(final: Path) -> Iterator[Path]:
    """Yield a name beside `final` (same suffix) whose file takes its place when the block ends well."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.stem}.partial{final.suffix}")
    try:
        yield partial
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON that is equal for equal content: sorted keys, one space of indent, no NaN."""
    with staged_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
