"""Data artifacts as MLflow run inputs."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

#: MLflow's limit; the whole digest is in the profile.
_DIGEST_CHARACTERS = 36


def dataset_input(name: str, digest: str, source: str, context: str) -> "DatasetInput":
    """One input: `source` is a path or href, `context` what it was read for, such as "training"."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    dataset = Dataset(name, digest[:_DIGEST_CHARACTERS], "local", json.dumps({"uri": source}),
                      profile=json.dumps({"sha256": digest}))
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
