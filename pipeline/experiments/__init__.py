"""Experiments over the whole pipeline: declared changes, run through DVC and compared in pairs."""
