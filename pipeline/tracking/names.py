"""Names by which an export is recognised: its two files of record, and the keys of tags in its files and in MLflow."""

#: The statement of an export, and what its digest stands for in every other file.
STATEMENT_FILE, PROVENANCE_FILE = "lineage.json", "provenance.json"

#: Keys in COG, GeoPackage and GeoParquet: sha256 of provenance.json, class names, sha256 of the model that predicted.
PROVENANCE_TAG, CLASSES_TAG, MODEL_TAG = "KUMULUS_PROVENANCE", "KUMULUS_CLASSES", "KUMULUS_MODEL"

#: Tag of export's run and of a model version, and key in ONNX: sha256 of provenance.json.
PROVENANCE = "kumulus.provenance"
