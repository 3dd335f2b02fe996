"""Part of section `train`: what makes a model's probabilities honest."""

from pipeline.params.base import Section


class CalibrationParams(Section):
    """Two corrections that leave the weights alone; both are in the model's spec and in the exported graph."""

    #: Take out of the logits what the sampler and class weights put into them: the classes' share of the train labels
    #: over the share at which the loss met them.
    prior: bool = False
    #: Divide the logits by one temperature, fitted on val after training. Changes probabilities, never the class.
    temperature: bool = False
