"""TorchGeo's patches per second, for bench_patches: run by an interpreter that has torchgeo, not by this project's.

    python torchgeo_rates.py FOLDER PATCH_SIZE

FOLDER holds image.tif and labels.tif. Prints one line of JSON: rates over the first batches after the files were
dropped from the page cache (cold), and over the same places again (warm).
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import RandomGeoSampler

_BATCH, _LENGTH = 32, 192


def drop_cache(path: Path) -> None:
    """Ask the system to forget a file's pages."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def one_pass(dataset: object, size: int) -> float:
    """Patches per second of one pass over the same random places."""
    sampler = RandomGeoSampler(dataset, size=size, length=_LENGTH, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(dataset, batch_size=_BATCH, sampler=sampler, collate_fn=stack_samples)
    start = time.perf_counter()
    count = sum(batch["image"].shape[0] for batch in loader)
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    images = type("Images", (RasterDataset,), {"filename_glob": "image.tif"})
    masks = type("Masks", (RasterDataset,), {"filename_glob": "labels.tif", "is_image": False})
    for name in ("image.tif", "labels.tif"):
        drop_cache(folder / name)
    dataset = images(str(folder)) & masks(str(folder))
    cold = one_pass(dataset, size)
    warm = max(one_pass(dataset, size) for _ in range(3))
    print(json.dumps({"cold": cold, "warm": warm}))


if __name__ == "__main__":
    main()
