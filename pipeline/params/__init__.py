"""The schema of params.yaml: one file a section, so that a stage depends on its own sections only."""
