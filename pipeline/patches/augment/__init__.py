"""Random changes of patches: values before channels are computed, then parts of other patches, then warps."""
