"""A miniature Sentinel-2 product: 24 x 24 pixels of 10 m, three bands at 20 m, JPEG 2000 files as in a real one."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

#: 10 m bands, and 20 m bands.
FINE, COARSE = ("B02", "B03", "B04", "B08"), ("B05", "B8A", "B11")
#: band_id of the metadata.
IDS = {"B02": 1, "B03": 2, "B04": 3, "B05": 4, "B08": 7, "B8A": 8, "B11": 11}


def write_band(path: Path, pixels: np.ndarray, size: float, left: float = 600000, crs: str = "EPSG:32633") -> None:
    """A band as lossless JPEG 2000 (or whatever the suffix says), without a nodata value, as ESA writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jp2 = {"driver": "JP2OpenJPEG", "quality": "100", "reversible": "YES"} if path.suffix == ".jp2" else {
        "driver": "GTiff"}
    with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], count=1, dtype=pixels.dtype, crs=crs,
                       transform=Affine(size, 0, left, 0, -size, 5100000), **jp2) as dataset:
        dataset.write(pixels, 1)


def digital_numbers(token: str) -> np.ndarray:
    """Pixels of a band: 1500 and more, with no data in the upper left corner and a dark pixel of 900."""
    side = 12 if token in COARSE else 24
    pixels = (np.arange(side * side).reshape(side, side) + 1500 + 10 * IDS[token]).astype(np.uint16)
    pixels[:side // 4, :side // 4] = 0
    pixels[-1, -1] = 900
    return pixels


def metadata(level: str, baseline: str, offsets: dict[int, int] | None, quantification: str = "10000") -> str:
    """What a product's MTD file says, with the namespace and the nesting of a real one."""
    tag, value = {"L2A": ("BOA_ADD_OFFSET", "BOA_QUANTIFICATION_VALUE"),
                  "L1C": ("RADIO_ADD_OFFSET", "QUANTIFICATION_VALUE")}[level]
    listed = "".join(f'<{tag} band_id="{i}">{v}</{tag}>' for i, v in (offsets or {}).items())
    return (f'<?xml version="1.0" encoding="UTF-8"?><n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa'
            f'.int/PSD/User_Product_Level-2A.xsd"><n1:General_Info><Product_Info><PRODUCT_START_TIME>2022-07-01T10:06:'
            f"11.024Z</PRODUCT_START_TIME><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE></Product_Info>"
            f'<Product_Image_Characteristics><{value} unit="none">{quantification}</{value}>{listed}'
            "</Product_Image_Characteristics></n1:General_Info></n1:Level-2A_User_Product>")


def write_safe(folder: Path, level: str = "L2A", baseline: str = "04.00", offsets: dict[int, int] | None = None,
               suffix: str = ".jp2") -> None:
    """The product's folder; with `offsets` None, -1000 for every band."""
    given = dict.fromkeys(range(13), -1000) if offsets is None else offsets
    folder.mkdir(parents=True)
    (folder / f"MTD_MSI{level}.xml").write_text(metadata(level, baseline, given), encoding="utf-8")
    data = folder / "GRANULE/L2A_T33TWM_A036662_20220701T100611/IMG_DATA"
    name = "T33TWM_20220701T100611"
    for token in (*FINE, *COARSE):
        size = 20 if token in COARSE else 10
        place = f"R{size}m/{name}_{token}_{size}m" if level == "L2A" else f"{name}_{token}"
        write_band(data / f"{place}{suffix}", digital_numbers(token), size)
    if level == "L2A":
        scl = np.full((12, 12), 4, np.uint8)
        scl[6, 6] = 9
        write_band(data / f"R20m/{name}_SCL_20m{suffix}", scl, 20)
        write_band(data / f"R10m/{name}_TCI_10m{suffix}", np.full((24, 24), 99, np.uint8), 10)
        write_band(data / f"R20m/{name}_B02_20m{suffix}", np.full((12, 12), 2222, np.uint16), 20)
