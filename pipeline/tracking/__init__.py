"""Runs, metrics, artifacts and the model registry; the only code that imports mlflow; never feeds a result."""
