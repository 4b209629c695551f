"""Dual encoder: two towers, of images and of what is said of them, in which partners find each other."""

import math

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_flag, check_integer
from keras_transfer.chunks import run_in_chunks
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.pairs import info_nce, sig_lip
from keras_transfer.model import TransferModel
from keras_transfer.networks import all_rows, check_features, check_networks

_LARGEST_SCALE = 100.0  # of CLIP: steeper contrasts are unstable


@keras.saving.register_keras_serializable(package="keras_transfer")
class DualEncoder(TransferModel):
    """Learns one space for images and descriptions from pairs of them, so that any description tells a class.

    z = encoder(image), z' = describer(description), rows scaled to length 1
    contrast = `kt.losses.info_nce(z, z', scale)`, or with `pairwise` `kt.losses.sig_lip(z, z', scale, bias)`

    The scale, the inverse temperature, is learnt, at most 100, as is the bias. A tower whose weights are frozen stays
    (a locked tower, as in LiT): put a `Dense` that trains behind it. What is served is the encoder of images;
    `kt.models.LabelDescriptions.from_source` makes a model of described classes of it, which serves both towers.
    Partners of other rows count as negatives, so a batch should say nothing twice: `kt.streams.described` sees to that.
    Under several replicas they are those of the global batch.

    Args:
        encoder: built network from an image to features `(batch, dim)`.
        describer: built network from descriptions, such as strings `(batch,)`, to features `(batch, dim)`.
        temperature: positive float, the inverse of the scale at first.
        pairwise: bool, whether each pair is judged by itself (SigLIP) instead of among all of the batch (CLIP).
        chunk_size: int, pairs that go through the towers at once, for batches beyond memory; see `SimCLR`.

    Raises:
        ValueError: if a tower is not built, they differ in width, temperature or chunk size is not positive; in
            training if labels come with the pairs, or the batch does not divide into chunks.

    Example:

    ```python
    describer = keras.Sequential([kt.backbones.minilm(), keras.layers.Dense(128)])
    model = kt.models.DualEncoder(encoder, describer)
    model.compile("adam")
    model.fit(kt.streams.described(images, captions, batch_size=128), epochs=10, shuffle=False)
    animals = {"zebra": ["a horse with stripes"], "tiger": ["a large striped cat"]}
    classifier = kt.models.LabelDescriptions.from_source(model, animals)
    kt.export(classifier, "saved_models/animals", images)
    ```

    Reference:
        Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
        arXiv:2103.00020; Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343; Zhai
        et al., LiT: Zero-Shot Transfer with Locked-image text Tuning, CVPR 2022, arXiv:2111.07991.
    """

    streams = ("image", "description")

    def __init__(self, encoder, describer, temperature=0.07, pairwise=False, chunk_size=None, **kwargs):
        check_networks(encoder=encoder, describer=describer)
        super().__init__({"contrast": 1.0}, **kwargs)
        for name, tower in (("encoder", encoder), ("describer", describer)):
            if not tower.built:
                raise ValueError(f"Expected a built `{name}`; received {tower.name!r}, which has seen no batch yet.")
        widths = encoder.output_shape[-1], describer.output_shape[-1]
        if widths[0] != widths[1]:
            raise ValueError(
                f"Expected towers that end in features of one width; received {widths[0]} and {widths[1]}."
            )
        self.encoder, self.describer = encoder, describer
        self.temperature, self.pairwise = check_temperature(temperature), check_flag(pairwise, "pairwise")
        self.chunk_size = None if chunk_size is None else check_integer(chunk_size, "chunk_size")
        start = {"log_scale": min(-math.log(temperature), math.log(_LARGEST_SCALE))}
        start |= {"bias": -10.0} if pairwise else {}
        for name, value in start.items():
            initializer = keras.initializers.Constant(value)
            setattr(self, name, self.add_weight(shape=(), initializer=initializer, autocast=False, name=name))
        self.autocast = False  # chunks hand on weights in full precision
        self.built = True

    @property
    def scale(self):
        """The inverse temperature, a scalar tensor."""
        return ops.minimum(ops.exp(self.log_scale), _LARGEST_SCALE)

    def forward(self, x, training=False):
        """Returns the features of both towers."""

        def both(x):
            towers = (("image", self.encoder), ("description", self.describer))
            return [check_features(tower(x[stream], training=training), tower) for stream, tower in towers]

        if self.chunk_size is None or not training:
            return dict(zip(self.streams, both(x)))
        networks = [self.encoder, self.describer]
        chunks = run_in_chunks(lambda chunk: ops.stack(both(chunk)), networks, x, self.chunk_size)
        return {stream: ops.reshape(chunks[:, i], (-1, chunks.shape[-1])) for i, stream in enumerate(self.streams)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `contrast`."""
        check_no_labels(self, y)
        first, second = (all_rows(outputs[stream]) for stream in self.streams)
        if self.pairwise:
            return {"contrast": sig_lip(first, second, self.scale, self.bias)}
        return {"contrast": info_nce(first, second, self.scale)}
