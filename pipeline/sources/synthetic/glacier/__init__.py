"""Mountain images with glaciers made by code from a seed: five bands, mapped outlines and the truth."""
