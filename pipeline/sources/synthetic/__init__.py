"""A Sentinel-2-like city made by code from a seed: scene, noisy labels, truth and strata.

The city is planned as vectors and smooth fields (`sites`, `plan`), drawn at 2 m (`fabric`, `city`) with the
reflectances of `spectra`, seen by a sensor at 10 m (`sensor`) and labelled as a map service would (`outlines`).
`write` puts it on disk. All randomness comes from the seed through `noise`. Mountain images are in `glacier`.
"""
