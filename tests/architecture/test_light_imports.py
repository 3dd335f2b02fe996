"""Nothing heavy is imported before params.yaml has been validated: by no stage script, nor by `kumulus --help`."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "mlflow", "sklearn", "onnx", "onnxruntime", "matplotlib", "segmentation_models_pytorch",
         "lightning_fabric", "geopandas", "pandas", "rasterio", "scipy", "spyndex", "albumentations",
         "cv2")
STAGES = ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export")


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.params.recipes", *(f"stages.{s}" for s in STAGES)])
def test_importing_is_light(project: Path, module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
