"""Score a part of the split: every method against every truth, from stitched maps, each pixel once."""
