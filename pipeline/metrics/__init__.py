"""Mergeable confusion matrices, scores, block-bootstrap intervals and objects."""
