"""What a trained member is: everything model.json says, so that weights alone are enough to rebuild and apply it."""

from pydantic import Field

from pipeline.params.base import Section
from pipeline.params.train import NetworkParams


class ModelSpec(Section):
    """Architecture, bands by name, classes by id, and statistics of the member's own train pixels."""

    network: NetworkParams
    #: Input bands in the order the network wants them; the channel recipe is these bands as they are.
    bands: tuple[str, ...] = Field(min_length=1)
    #: Class names; the index is the id in the network's output.
    classes: tuple[str, ...] = Field(min_length=2)
    colors: tuple[str, ...]
    background: str
    reflectance_scale: float
    #: Per band, in scene units, over valid train pixels.
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: Least and largest valid train value per band: the range the model has seen.
    low: tuple[float, ...]
    high: tuple[float, ...]
    patch_size_px: int
    #: Height and width of an input must be multiples of this.
    size_multiple: int
    #: Nominal pixel size of the training scenes in metres on the ground.
    pixel_size_m: float
    #: sha256 of the split's folder: scores are only honest on ground that this very split held out.
    split: str
