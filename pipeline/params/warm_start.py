"""Part of section `train`: weights of an earlier training to start from."""

from pydantic import Field, model_validator

from pipeline.params.base import Section


class WarmStartParams(Section):
    """Another member's weights as the start; none by default."""

    #: A member's or a checkpoint's folder (relative to the repository), or `runs:/<id>[/path]` of MLflow; "" = none.
    #: It must not have learnt from what is held out now (see pipeline.training.warm_start).
    uri: str = ""
    #: sha256 of its weights.safetensors: what training starts from is pinned, wherever it lies. Members that each
    #: start from a member of their own name them all by the digest of these digests, which the error tells.
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _pinned_something(self) -> "WarmStartParams":
        if self.sha256 and not self.uri:
            raise ValueError("train.warm_start.sha256 must be \"\" where train.warm_start.uri is \"\": "
                             f"got {self.sha256[:12]}...; give the weights to start from, or clear both")
        return self
