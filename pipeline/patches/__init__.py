"""Patches cut in memory: which ground training may see, where windows fall, how a patch is turned and flipped."""
