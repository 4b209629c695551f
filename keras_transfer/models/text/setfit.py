"""SetFit: an encoder of sentences tuned by a few labels as contrasts, then a regression on its features."""

import keras
import numpy as np

from keras_transfer.batches import check_inputs, check_labels
from keras_transfer.checks import check_integer
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.contrastive import sup_con
from keras_transfer.metrics.probes import PENALTIES, probe_head, tuned_probe
from keras_transfer.model import PREDICTION, TransferModel
from keras_transfer.networks import all_rows, check_features, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class SetFit(TransferModel):
    """Classifies texts after a handful of labels for each class, in two phases.

    1. `fit` tunes the encoder: features of one class attract, those of others repel each other.
       contrast = `kt.losses.sup_con` of the features z = encoder(text), temperature T
    2. `calibrate(x, y)` sets the head: a logistic regression on the tuned features, its penalty by cross-validation.

    The head does not train in `fit`, and an export before `calibrate` is refused. Batches need several texts of each of
    several classes: `kt.streams.balanced` makes them. Some 40 steps are enough, and more overfit.

    Args:
        encoder: built network from strings `(batch,)`, or token ids, to features `(batch, dim)`.
        classes: int of at least 2.
        temperature: positive float T.

    Raises:
        ValueError: if the encoder is no built Keras layer, or a number is out of range; in training if labels are not
            `(batch,)`.

    Example:

    ```python
    model = kt.models.SetFit(kt.backbones.minilm(sequence_length=48), classes=6)
    model.compile(keras.optimizers.AdamW(5e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(kt.streams.balanced(texts, labels, batch_size=32, steps=40, stream="text"), shuffle=False)
    model.calibrate(texts, labels)
    kt.export(model, "saved_models/questions", texts, classes=names)
    ```

    Departs: the contrast is over all pairs of a batch at once (SupCon), in place of a cosine loss on sampled pairs.

    Reference:
        Tunstall et al., Efficient Few-Shot Learning Without Prompts, 2022, arXiv:2209.11055; the contrast is that of
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362.
    """

    streams = ("text",)

    def __init__(self, encoder, classes, temperature=0.1, **kwargs):
        check_networks(encoder=encoder)
        super().__init__({"contrast": 1.0}, **kwargs)
        self.encoder, self.classes = encoder, check_integer(classes, "classes", 2)
        self.temperature = check_temperature(temperature)
        if not encoder.built:
            raise ValueError(f"Expected a built `encoder`; received {encoder.name!r}, which has seen no batch yet.")
        self.head = keras.layers.Dense(classes, trainable=False, name="logits")
        self.head.build((None, encoder.output_shape[-1]))
        self.calibrated = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calibrated")
        self.built = True

    def forward(self, x, training=False):
        """Returns the features, and the `prediction` of the head as it is, which no loss reads."""
        features = check_features(self.encoder(x["text"], training=training), self.encoder)
        return {"features": features, PREDICTION: self.head(features)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `contrast`."""
        features = outputs["features"]
        shape, rows = None if y is None else tuple(y.shape), features.shape[0]
        if shape not in ((rows,), (None,)) and not (rows is None and shape is not None and len(shape) == 1):
            received = "none" if y is None else f"shape {shape} for {rows} texts"
            raise ValueError(f"Expected integer labels (batch,) beside the texts; received {received}.")
        return {"contrast": sup_con(all_rows(features), all_rows(y), self.temperature)}

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_inputs(x, self.layers)
        check_labels(y, whole=True, classes=self.classes)

    def calibrate(self, x, y, penalties=PENALTIES):
        """Sets the head to a logistic regression on the features of labelled texts (scikit-learn).

        Args:
            x: texts `(rows,)`, or whatever the encoder takes.
            y: integer labels `(rows,)`, each class at least once.
            penalties: positive floats, see `kt.metrics.tuned_probe`.

        Returns:
            Dict of the inverse penalties to their accuracies on examples held out.

        Raises:
            ValueError: if a class has no label, or a label is none of the classes.
        """
        y = np.asarray(y)
        if not np.array_equal(np.unique(y), np.arange(self.classes)):
            raise ValueError(
                f"Expected labels of all classes 0 to {self.classes - 1}; received {np.unique(y).tolist()}."
            )
        x = x.astype(object) if isinstance(x, np.ndarray) and x.dtype.kind == "U" else x  # as Keras takes strings
        probe, scores = tuned_probe(self.encoder.predict(x, verbose=0), y, penalties=penalties)
        self.head.set_weights(probe_head(probe).get_weights())
        self.calibrated.assign(1.0)
        return scores

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns what is served, see `TransferModel.signatures`, once the head is set."""
        if not float(keras.ops.convert_to_numpy(self.calibrated)):
            raise ValueError("Expected `calibrate(x, y)` before an export: the head of SetFit does not train in `fit`.")
        return super().signatures(x, classes, prepare, input_name, outputs)
