"""Zero-shot classification: a class is what a few texts say of it, and new classes come by their texts alone."""

import keras
from keras import ops

from keras_transfer.losses.checks import check_temperature
from keras_transfer.models.zeroshot.shared import DescribedClasses


@keras.saving.register_keras_serializable(package="keras_transfer")
class LabelDescriptions(DescribedClasses):
    """Classifies inputs without a labelled example: by what describes each class, in the space of the encoder.

    m_c     = mean of the vectors of the descriptions of class c, each scaled to length 1, and scaled so again
    logit_c = m_c . z / T + b_c,  z = encoder(x), scaled to length 1

    Inputs and descriptions are of one kind, such as texts, and the encoder is that of both; or the describer is the
    other tower of a trained `kt.models.DualEncoder`, see `from_source`. Several descriptions of a class are better
    than its name. They are embedded when the model is made, once; the class matrix is saved and served with it.
    `calibrate` sets the temperature T, the biases b of known shares of the classes, and from where on an answer is
    "unknown". `grow` returns a model of more classes. `fit` on labelled rows tunes the encoder from there, by the
    compiled loss; the class matrix stays.

    Args:
        encoder: built network from inputs, such as strings `(batch,)`, to features `(batch, dim)`, such as
            `kt.backbones.minilm()`.
        descriptions: dict of the names of the classes to lists of what describes them, in the order of the logits.
        temperature: positive float T, until it is calibrated.
        describer: built network from descriptions to features `(batch, dim)`; None: the encoder.
        seen: names of the classes that were trained on, for `calibrate(penalty=...)`; None: all.
        centred: bool, whether the mean over the seen classes is subtracted from the vectors of descriptions.

    Raises:
        ValueError: if a network is not built, there are fewer than two classes, one has no description, an empty one or
            zeros alone, two have the same ones, or the temperature is not positive.

    Example:

    ```python
    encoder = kt.backbones.minilm()
    model = kt.models.LabelDescriptions(encoder, {"person": ["Who is it?"], "place": ["Where is it?"]})
    model.calibrate(texts, known=0.95)
    kt.export(model, "saved_models/questions", texts)
    kt.serving.add_classes("saved_models/questions", {"number": ["How many are there?"]})
    ```

    Reference:
        Chang et al., Importance of Semantic Representation: Dataless Classification, AAAI 2008; several texts for each
        class as in Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
        arXiv:2103.00020, section 3.1.4.
    """

    def __init__(self, encoder, descriptions, temperature=0.05, describer=None, seen=None, centred=False, **kwargs):
        there = keras.layers.Identity(name="projector")  # features are in the space of descriptions
        super().__init__(encoder, there, descriptions, seen, describer, centred, **kwargs)
        self.temperature = check_temperature(temperature)
        self.scale.assign(1.0 / temperature)

    @classmethod
    def from_source(cls, dual, descriptions, seen=None, centred=False):
        """Returns a model of classes that has the towers and the temperature of a trained `kt.models.DualEncoder`.

        Args:
            dual: trained `kt.models.DualEncoder`.
            descriptions: dict of the names of the classes to lists of what describes them.
            seen: names of the classes that were trained on; None: all.
            centred: bool, see the class.

        Raises:
            ValueError: if it is another method.
        """
        if tuple(dual.streams) != ("image", "description"):
            raise ValueError(f"Expected a trained `DualEncoder`; received {type(dual).__name__}.")
        temperature = 1.0 / float(ops.convert_to_numpy(dual.scale))
        return cls(dual.encoder, descriptions, temperature, dual.describer, seen, centred)

    @property
    def tower(self):
        """The network from descriptions to their vectors."""
        return self.encoder if self.describer is None else self.describer
