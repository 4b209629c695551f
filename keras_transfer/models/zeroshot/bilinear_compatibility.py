"""Bilinear compatibility: features of inputs meet attributes of classes in a matrix that is trained."""

import keras
import numpy as np
from keras import ops

from keras_transfer.models.zeroshot.shared import DescribedClasses


@keras.saving.register_keras_serializable(package="keras_transfer")
class BilinearCompatibility(DescribedClasses):
    """Learns from seen classes which attributes an input has, so that classes never seen are told by theirs.

    logit_c = W encoder(x) . m_c - penalty [c is seen],  m_c: the description of class c
    task    = loss(y, logits of the seen classes)

    The loss is the one that is compiled: cross-entropy (a softmax over the seen classes), or `kt.losses.DeViSE`,
    `kt.losses.SJE` and `kt.losses.ALE`, which rank. Works end to end, and on frozen or cached features. Labels number
    the classes in the order of the descriptions; `fit` refuses those of unseen ones in arrays, and in a dataset such a
    label makes the loss 1e9. Do not smooth labels: unseen classes would get their part.

    What no seen class has, such as an attribute of unseen ones alone, tells nothing: its part of W has no gradient and
    would stay as it was drawn, so it counts 0.

    A model favours what it was trained on: `calibrate(penalty=...)` with what `kt.metrics.seen_unseen` finds on classes
    held out of training corrects that, where seen and unseen classes are told from one another.

    Args:
        encoder: built network from an input to features `(batch, features)`.
        projector: layer or network W from features to `(batch, dim)`, such as `keras.layers.Dense(dim)`.
        descriptions: dict of the names of the classes to vectors `(dim,)`, such as attributes, or to lists of what the
            describer takes, in the order of the logits.
        seen: names of the classes that training shows; None: all.
        describer: built network from descriptions to vectors `(batch, dim)`, such as `kt.backbones.minilm()`; it does
            not train. None: the descriptions are vectors.
        centred: bool, whether the mean over the seen classes is subtracted from the vectors of descriptions.

    Raises:
        ValueError: if a network is not built, widths differ, there are fewer than two classes, one has no description,
            an empty one or zeros alone, two have the same ones, or a seen class has none; in training of arrays if a
            label is of an unseen class.

    Example:

    ```python
    animals = {"zebra": [1, 0, 1], "horse": [0, 0, 1], "tiger": [1, 1, 0]}  # stripes, hunts, hooves
    model = kt.models.BilinearCompatibility(encoder, keras.layers.Dense(3), animals, seen=["horse", "tiger"])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, epochs=10)
    kt.export(model, "saved_models/animals", images)
    ```

    Reference:
        Akata et al., Label-Embedding for Image Classification, TPAMI 2016, arXiv:1503.08677; Xian et al., Zero-Shot
        Learning - A Comprehensive Evaluation of the Good, the Bad and the Ugly, TPAMI 2018, arXiv:1707.00600.
    """

    cosine = False

    def __init__(self, encoder, projector, descriptions, seen=None, describer=None, centred=False, **kwargs):
        super().__init__(encoder, projector, descriptions, seen, describer, centred, **kwargs)
        if describer is not None:
            describer.trainable = False
        of_seen = np.asarray(self.class_matrix)[np.asarray(self.seen_mask) > 0]
        self.learned = self.kept("learned", of_seen.any(0))

    def represent(self, x, training=False):
        """Computes features in the space of the descriptions `(batch, dim)`, 0 where nothing is learned."""
        features = super().represent(x, training)
        return features * ops.cast(self.learned, features.dtype)
