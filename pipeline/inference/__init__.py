"""Apply a model to whole scenes: overlapping tiles, blended, in flat memory."""
