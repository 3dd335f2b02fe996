"""Grids, windows and the only code that opens geodata files (rasterio, pyogrio)."""
