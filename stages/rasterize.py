"""Stage rasterize: scenes and labels on one grid each, as memory-mappable GeoTIFFs.

Reads params.yaml: task, rasterize; data/raw/, data/labels/.
Writes data/scenes/: manifest.json and, for each scene, image, valid, labels, labels_raw, weight and, where there is an
independent reference, reference and strata; reports/rasterize/environment.json.
"""

import json

from pipeline.errors import one_line_errors
from pipeline.params.load import Params, load
from pipeline.params.rasterize import RasterizeParams
from pipeline.params.task import Task
from pipeline.paths import Paths, staged_folder
from pipeline.sources.catalog import Catalog
from pipeline.tracking.computed import recorded
from pipeline.types import RunLog


def run(params: Params, paths: Paths, log: RunLog | None = None) -> tuple[str, ...]:
    """Write the scene store; returns the ids of its scenes."""
    from pipeline.fanout import fan_out
    from pipeline.geo.vector_io import read_vectors
    from pipeline.scenes.burnt import LabelSet, fill_value
    from pipeline.scenes.rasterize import jobs_of, store_scene, write_manifest

    task, rasterize = params.section(Task), params.section(RasterizeParams)
    catalog, reference = Catalog.open(paths.catalog), paths.raw / "reference"
    labels = LabelSet(refined=read_vectors(paths.labels / "labels.gpkg", "labels"),
                      unrefined=read_vectors(paths.labels / "labels.gpkg", "unrefined"),
                      classes=task.class_names,
                      fill=fill_value(catalog.coverage, task.background, task.class_names))
    strata_file = reference / "strata.json"
    strata = json.loads(strata_file.read_text(encoding="utf-8")) if strata_file.exists() else {}
    with staged_folder(paths.scenes) as out:
        sources = [paths.raw / scene.file for scene in catalog.scenes]
        entries = fan_out(store_scene, jobs_of(sources, out, labels, reference, task.bands, rasterize), "rasterize")
        scenes = {scene.id: entry for scene, entry in zip(catalog.scenes, entries, strict=True)}
        write_manifest(out, task.bands, task.class_names, catalog.coverage, strata, scenes)
    if log:
        log.params(params.dump("rasterize"))
    return tuple(scenes)


def main() -> None:
    """Run the stage in the working folder."""
    with one_line_errors("rasterize"), recorded("rasterize", Paths()):
        scenes = run(load(Paths().params_file), Paths())
        print(f"rasterize: {len(scenes)} scene(s): {', '.join(scenes)}")


if __name__ == "__main__":
    main()
