"""`kumulus predict`: map scenes a model has never seen, in flat memory, after checking their kind.

Shape legend: C bands, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.digests import file_sha256, folder_sha256
from pipeline.errors import ModelError, ParamsError, SceneError
from pipeline.exporters.checks import check_cog
from pipeline.exporters.maps import map_tags, write_maps
from pipeline.exporters.scene_checks import check_pixels
from pipeline.inference.onnx_predictor import ModelFacts, OnnxPredictor
from pipeline.inference.raster_pixels import RasterValues, open_pixels
from pipeline.inference.sources import ChannelPixels
from pipeline.params.evaluate import TileParams
from pipeline.tracking.export_statement import write_statement
from pipeline.tracking.names import MODEL_TAG, STATEMENT_FILE
from pipeline.tracking.prediction_statement import prediction_statement
from pipeline.types import Predictor


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be applied, with its name and the sha256 of its file or checkpoint folder."""

    predictor: Predictor
    facts: ModelFacts
    name: str
    sha256: str


@dataclass(frozen=True)
class Prediction:
    """The files of one scene, and the share of its valid pixels that each class has."""

    class_map: Path
    confidence: Path
    style: Path
    lineage: Path
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Request:
    """How scenes are read and tiled."""

    bands: tuple[str, ...]
    values: RasterValues
    crs: str
    tiles: TileParams


def load_model(ref: Path) -> LoadedModel:
    """A model from an .onnx file, an export folder (its model.onnx) or a checkpoint folder (its members).

    Raises:
        ModelError: `ref` is none of these.
    """
    file = ref / "model.onnx" if (ref / "model.onnx").is_file() else ref
    if file.is_file():
        onnx = OnnxPredictor(file)
        return LoadedModel(onnx, onnx.facts, file.name, file_sha256(file))
    if (ref / "members").is_dir():
        from pipeline.inference.network import NetworkPredictor
        from pipeline.networks.members import load_member, member_folders

        members = [load_member(folder) for folder in member_folders(ref)]
        facts = ModelFacts.of([m.spec for m in members], provenance="")
        return LoadedModel(NetworkPredictor(members), facts, ref.name, folder_sha256(ref))
    raise ModelError(
        f"model {ref} must be an .onnx file, an export folder with model.onnx, or a checkpoint folder with "
        f"members/: got {'a folder without' if ref.is_dir() else 'nothing there'}; run `dvc repro export`"
    )


def predict_scenes(
    scene_paths: Sequence[Path],
    model_ref: Path,
    out_dir: Path,
    tiles: TileParams | None = None,
    *,
    bands: Sequence[str] = (),
    values: RasterValues | None = None,
    crs: str = "",
) -> list[Prediction]:
    """Write `<stem>_{class.tif,confidence.tif,class.qml,lineage.json}` for each scene.

    All scenes are checked before the first is predicted. A scene's files appear together when all of them are
    finished, lineage last; an error leaves none of its own behind.

    Args:
        scene_paths: rasters of any format and size that GDAL reads.
        model_ref: see `load_model`.
        out_dir: made if need be; files of an earlier prediction of the same scene are replaced.
        tiles: inference windows; None takes those the model was evaluated with, where its file names them.
        bands: the rasters' bands in order; () takes their descriptions.
        values: what the rasters' values mean; None takes them as they are.
        crs: taken where a raster has none.

    Raises:
        ModelError: the model cannot be used, or the tile size does not suit it.
        SceneError: a scene is not what the model knows, or a file would be overwritten that must not be.
        ParamsError: `out_dir` cannot be a folder.
    """
    model = load_model(model_ref)
    facts = model.facts
    tiles = tiles or facts.tiles
    values = values or RasterValues()
    values.check()
    _check_tiles(facts, tiles)
    _check_names(scene_paths, out_dir)
    for path in scene_paths:
        with open_pixels(path, facts.bands, bands, values, crs, facts.reflectance_scale) as pixels:
            check_pixels(path.name, pixels, facts, tiles.size_px)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ParamsError(f"--out must name a folder: {error.filename} is a file; choose another") from error
    request = Request(tuple(bands), values, crs, tiles)
    return [_predict(path, model, out_dir, request) for path in scene_paths]


def _check_tiles(facts: ModelFacts, tiles: TileParams) -> None:
    if tiles.size_px % facts.size_multiple:
        raise ModelError(
            f"tile size must be a multiple of the model's {facts.size_multiple}: got {tiles.size_px}; "
            "choose another"
        )


def _check_names(scene_paths: Sequence[Path], out_dir: Path) -> None:
    """Refuse two scenes of one name, and outputs that would replace an input."""
    if not scene_paths:
        raise SceneError("at least one scene must be named: got none")
    for path in scene_paths:
        if not path.is_file():
            raise SceneError(
                f"scene {path} must be a file, whose bytes the lineage names: got none; name one"
            )
    stems = [path.stem for path in scene_paths]
    if twice := sorted({s for s in stems if stems.count(s) > 1}):
        raise SceneError(
            f"scenes of one prediction must have different names, which name the maps: {twice} occur more "
            "than once; predict them one by one into different folders"
        )
    inputs = {path.resolve() for path in scene_paths}
    for stem in stems:
        for name in _names(stem):
            if (out_dir / name).resolve() in inputs:
                raise SceneError(
                    f"a prediction must not replace a scene: {out_dir / name} is one; choose another folder"
                )


def _names(stem: str) -> tuple[str, str, str, str]:
    return f"{stem}_class.tif", f"{stem}_confidence.tif", f"{stem}_class.qml", f"{stem}_{STATEMENT_FILE}"


def _predict(path: Path, model: LoadedModel, out_dir: Path, request: Request) -> Prediction:
    """Predict into a scratch folder beside the results, then move everything, lineage last."""
    facts = model.facts
    tags = map_tags(facts.provenance, facts.classes) | {MODEL_TAG: model.sha256}
    with TemporaryDirectory(dir=out_dir, prefix=f".{path.stem}-") as scratch_name:
        scratch = Path(scratch_name)
        with open_pixels(
            path, facts.bands, request.bands, request.values, request.crs, facts.reflectance_scale
        ) as pixels:
            channels = ChannelPixels(pixels, facts.recipe)
            files = write_maps(model.predictor, channels, request.tiles, scratch, path.stem, facts.colors, tags)
            for file in (files.class_map, files.confidence):
                check_cog(file, pixels.grid, tags)
        settings = {"bands": list(request.bands), **asdict(request.values), "crs": request.crs,
                    "tiles": request.tiles.model_dump()}
        lineage = prediction_statement(
            path, {"name": model.name, "sha256": model.sha256}, facts.provenance, files.paths, settings
        )
        write_statement(scratch / f"{path.stem}_{STATEMENT_FILE}", lineage)
        _move_all(scratch, out_dir, _names(path.stem))
    class_map, confidence, style, lineage_file = (out_dir / name for name in _names(path.stem))
    return Prediction(class_map, confidence, style, lineage_file, files.shares)


def _move_all(scratch: Path, out_dir: Path, names: Sequence[str]) -> None:
    """Rename finished files into place; the old lineage goes first, so that it never vouches for new maps."""
    (out_dir / names[-1]).unlink(missing_ok=True)
    moved: list[Path] = []
    try:
        for name in names:
            (scratch / name).replace(out_dir / name)
            moved.append(out_dir / name)
    except OSError:
        for path in moved:
            path.unlink(missing_ok=True)
        raise
