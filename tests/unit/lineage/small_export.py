"""An export made by hand in a moment: files that carry a provenance digest, under a statement that names them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from affine import Affine
from onnx import TensorProto, helper
from shapely.geometry import box

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import create
from pipeline.geo.vector_io import write_geopackage
from pipeline.types import Window
from tests.unit.lineage.files import sha256

CLASSES = ["background", "water"]
RUN_KEY = "0123456789abcdef0123456789abcdef"


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def oid(folder: Path) -> str:
    """DVC's id of a folder: md5 of the JSON list of its files, with ".dir"."""
    entries = [{"md5": md5(path), "relpath": path.relative_to(folder).as_posix()}
               for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"


def write_raster(path: Path, tags: dict[str, str]) -> None:
    """4 x 4 pixels of 10 m."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Grid("", Affine(10, 0, 500000, 0, -10, 9000000), 4, 4)
    with create(path, grid, "uint8", ["class"], 255, tags) as writer:
        writer.write(np.zeros((4, 4), dtype=np.uint8), Window(0, 0, 4, 4))


def write_onnx(path: Path, metadata: dict[str, str]) -> None:
    """A graph that hands its input on."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "probabilities")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["probabilities"])], "g", value[:1], value[1:])
    model = helper.make_model(graph)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


def write_parquet(path: Path, metadata: dict[str, str]) -> None:
    """Two rows without geometry, with key-value metadata."""
    table = pa.table({"class_id": [1, 1]})
    pq.write_table(table.replace_schema_metadata(metadata), path)


#: Artifacts that a whole statement names too.
WHOLE = {"data/labels/labels.gpkg": "refined", "data/splits/a/fold.tif": "folds",
         "reports/evaluate/metrics.json": "{}", "reports/evaluate/confusions.parquet": "counts"}


def write_export(root: Path, seed: int = 1, whole: bool = False) -> str:
    """Artifacts, models/export and its two statements below `root`; the digest of provenance.json."""
    contents = {"data/raw/scenes/a.tif": f"scene {seed}", "data/raw/labels.gpkg": "labels",
                "data/scenes/a/image.tif": "image",
                "models/checkpoint/members/0/weights.safetensors": f"weights {seed}",
                "models/checkpoint/members/0/model.json": "{}", **(WHOLE if whole else {})}
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    export = root / "models/export"
    (export / "maps").mkdir(parents=True, exist_ok=True)
    digests = {name: sha256(root / name) for name in contents}
    provenance = provenance_json(digests, seed)
    (export / "provenance.json").write_text(json.dumps(provenance))
    digest = sha256(export / "provenance.json")
    tags = {"KUMULUS_PROVENANCE": digest, "KUMULUS_CLASSES": json.dumps(CLASSES)}
    write_raster(export / "maps/a_class.tif", tags)
    write_onnx(export / "model.onnx", {"kumulus.provenance": digest, "kumulus.classes": json.dumps(CLASSES)})
    frame = gpd.GeoDataFrame({"class": ["water"]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:32748")
    write_geopackage(export / "polygons.gpkg", {"a": frame}, {"KUMULUS_PROVENANCE": digest})
    write_parquet(export / "polygons.parquet", {"KUMULUS_PROVENANCE": digest})
    (export / "model_card.md").write_text(f"# m\n\nProvenance: sha256 `{digest}` of `provenance.json`, which\n")
    (export / "lineage.json").write_text(json.dumps(statement_json(export, digest, digests, seed)))
    return digest


def provenance_json(digests: dict[str, str], seed: int) -> dict[str, Any]:
    folders = {"raw": "data/raw", "labels": "data/labels", "scenes": "data/scenes", "splits": "data/splits",
               "checkpoint": "models/checkpoint"}
    files = {key: {name.removeprefix(f"{folder}/"): digest for name, digest in digests.items()
                   if name.startswith(folder + "/")} for key, folder in folders.items()}
    files = {key: found for key, found in files.items() if found}
    scores = {Path(name).name: digest for name, digest in digests.items() if name.startswith("reports/evaluate/")}
    scene = {"file": "scenes/a.tif", "sha256": digests["data/raw/scenes/a.tif"], "href": "https://h.test/a.tif",
             "licence": "CC-BY-4.0"}
    return {"format": "kumulus-provenance-1", "data": {"catalog": {"scenes": [scene], "labels": None}, "files": files},
            "code": {"train": {"pipeline/a.py": "c" * 64}, "export": {"pipeline/a.py": "c" * 64}}, "lock": "d" * 64,
            "params": {"seed": seed, "train": {"epochs": 3}}, "environment": {"cpu": "x", "device": "cpu"},
            "warm_start": {"0": "e" * 64}, **({"evaluate": scores} if scores else {})}


def statement_json(export: Path, provenance: str, digests: dict[str, str], seed: int) -> dict[str, Any]:
    """As the specifications have it, written by hand."""
    stages = {"data/raw": "acquire", "data/labels": "refine_labels", "data/scenes": "rasterize",
              "data/splits": "spatial_split", "models/checkpoint": "train", "reports/evaluate": "evaluate"}
    resources: list[dict[str, Any]] = [
        {"name": "data/raw/scenes/a.tif", "uri": "https://h.test/a.tif",
         "digest": {"sha256": digests["data/raw/scenes/a.tif"]},
         "annotations": {"kind": "source", "licence": "CC-BY-4.0"}}]
    for name, stage in stages.items():
        inside = {file.removeprefix(f"{name}/"): digest for file, digest in digests.items()
                  if file.startswith(f"{name}/")}
        if not inside:
            continue
        whole = hashlib.sha256(json.dumps(inside, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        root = export.parent.parent
        resources.append({"name": name, "digest": {"md5": oid(root / name), "sha256": whole},
                          "annotations": {"kind": "artifact", "stage": stage}})
        resources += [{"name": file, "digest": {"md5": md5(root / file), "sha256": digest},
                       "annotations": {"kind": "file", "artifact": name}}
                      for file, digest in digests.items() if file.startswith(f"{name}/")]
    resources += [
        {"name": "pipeline/a.py", "digest": {"sha256": "c" * 64, "gitBlob": "1" * 40},
         "annotations": {"kind": "code", "stages": ["train", "export"]}},
        {"name": "pipeline/b.py", "digest": {"sha256": "b" * 64, "gitBlob": "2" * 40},
         "annotations": {"kind": "code", "stages": ["train"]}},
        {"name": "requirements.lock", "digest": {"sha256": "d" * 64, "gitBlob": "3" * 40},
         "annotations": {"kind": "lock"}},
        {"name": "dvc.yaml", "digest": {"sha256": "f" * 64, "gitBlob": "4" * 40}, "annotations": {"kind": "pipeline"}}]
    files = {p.relative_to(export).as_posix(): sha256(p) for p in sorted(export.rglob("*"))
             if p.is_file() and p.name != "lineage.json"}
    environment = {"cpu": "x", "device": "cpu", "python": "3.11.7", "threads": 2, "libraries": {"torch": "2.0"}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:kumulus:export:1",
                "externalParameters": {"params": {"seed": seed, "train": {"epochs": 3}}},
                "internalParameters": {"stages": {s: {"environment": environment} for s in ("train", "export")}},
                "resolvedDependencies": resources},
            "runDetails": {
                "builder": {"id": "urn:kumulus", "version": {"kumulus": "0"}},
                "metadata": {"invocationId": RUN_KEY, "finishedOn": "2025-01-02T03:04:05+00:00", "kumulus": {
                    "provenance": {"sha256": provenance}, "run": {"key": RUN_KEY},
                    "git": {"commit": "9" * 40, "dirty": False}, "registered_model": "m",
                    "unsealings": [{"look": 1, "time": "2025-01-03T00:00:00+00:00"}],
                    "ancestry": [{"sha256": "e" * 64, "uri": "runs:/1", "run_key": "k", "statement": None}]}},
                "byproducts": []}}}


def write_prediction(folder: Path, model_sha256: str, provenance: str) -> Path:
    """A predicted map of scene `s` with its statement; the map's file."""
    write_raster(folder / "s_class.tif", {"KUMULUS_MODEL": model_sha256, "KUMULUS_PROVENANCE": provenance,
                                          "KUMULUS_CLASSES": json.dumps(CLASSES)})
    raw = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "s_class.tif", "digest": {"sha256": sha256(folder / "s_class.tif")}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:kumulus:prediction:1", "externalParameters": {"params": {"zeros": "data"}},
                "internalParameters": {"stages": {}}, "resolvedDependencies": [
                    {"name": "model.onnx", "digest": {"sha256": model_sha256}, "annotations": {"kind": "model"}},
                    {"name": "s.tif", "digest": {"sha256": "5" * 64}, "annotations": {"kind": "scene"}}]},
            "runDetails": {"builder": {"id": "urn:kumulus", "version": {"kumulus": "0"}},
                           "metadata": {"finishedOn": "2025-02-02T00:00:00+00:00",
                                        "kumulus": {"provenance": {"sha256": provenance}}}, "byproducts": []}}}
    (folder / "s_lineage.json").write_text(json.dumps(raw))
    return folder / "s_class.tif"
