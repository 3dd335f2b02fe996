"""Scenes of a STAC API: searched, read within the area only, brought to reflectance on one grid."""
