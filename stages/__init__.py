"""One script a stage of dvc.yaml: each reads its paths and params, calls the library, writes its outputs and logs."""
