"""The raster store: scenes and labels on one grid each, as memory-mappable GeoTIFFs."""
