"""ESZSL: bilinear compatibility in closed form, in seconds on features of any backbone."""

import itertools

import keras
import numpy as np

from keras_transfer.models.zeroshot.shared import DescribedClasses, solved

PENALTIES = tuple(10.0**power for power in range(-3, 4))


@keras.saving.register_keras_serializable(package="keras_transfer")
class ESZSL(DescribedClasses):
    """Tells classes never seen by their attributes, with a matrix that `solve` computes; nothing is trained.

    V       = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1
    logit_c = encoder(x)^T V m_c - penalty [c is seen]

    where X are the features of the rows, Y is 1 at the class of a row and -1 elsewhere, and S are the descriptions m_c
    of the seen classes. Features with a common offset want to be standardised first.
    `model = ESZSL.solve(...)`; the constructor is for loading. `fit` trains on from there.

    Args:
        encoder: built network from an input to features `(batch, features)`.
        projector: `Dense` of V, without bias.
        descriptions: dict of the names of the classes to vectors `(dim,)`, or to lists of what the describer takes.
        seen: names of the classes that training shows; None: all.
        describer: built network from descriptions to vectors `(batch, dim)`, or None.
        centred: bool, whether the mean over the seen classes is subtracted from the vectors of descriptions.

    Raises:
        ValueError: see `kt.models.BilinearCompatibility`.

    Example:

    ```python
    features = kt.backbones.cached_features(backbone, images)
    model = kt.models.ESZSL.solve(features, labels, attributes)  # {class: vector}, of unseen classes too
    kt.export(model, "saved_models/animals", features, input_name="features")
    ```

    Departs: both penalties are multiples of the mean eigenvalue of what they are added to, so that one grid fits
    features of any scale and any number of rows.

    Reference:
        Romera-Paredes and Torr, An Embarrassingly Simple Approach to Zero-Shot Learning, ICML 2015.
    """

    cosine = False

    @classmethod
    def solve(
        cls,
        x,
        y,
        descriptions,
        encoder=None,
        feature_penalties=PENALTIES,
        class_penalties=PENALTIES,
        describer=None,
        centred=False,
        folds=5,
        seed=0,
    ):
        """Returns the model whose matrix is solved for, at the penalties that tell held-out classes best.

        Args:
            x: inputs of the encoder; without one, features `(rows, features)`, which are then what the model takes.
            y: integer labels `(rows,)`, places among the descriptions. The classes they name are the seen ones.
            descriptions: see the class; those of unseen classes too.
            encoder: built network to features, or None.
            feature_penalties: positive floats g to choose from, in mean eigenvalues of X^T X.
            class_penalties: positive floats l to choose from, in mean eigenvalues of S^T S.
            describer: see the class.
            centred: see the class.
            folds: int, parts of the seen classes, each of which is held out once to choose the pair (g, l).
            seed: int, draws the parts.

        Raises:
            ValueError: if labels are no places among the descriptions, or there are too few seen classes to choose.
        """
        grid = list(itertools.product(feature_penalties, class_penalties))
        return solved(cls, _solver, grid, x, y, descriptions, encoder, describer, centred, folds, seed)


def _solver(moments):
    """The eigenvectors of X^T X, and V in their terms as a function of the penalties."""
    of_features, basis = np.linalg.eigh(moments.gram)
    of_classes, turn = np.linalg.eigh(moments.vectors.T @ moments.vectors)
    both = 2.0 * moments.sums - moments.sums.sum(0)  # Y^T X
    middle = basis.T @ (both.T @ (moments.vectors @ turn))

    def matrix_at(penalties):
        g, l = (p * values.mean() for p, values in zip(penalties, (of_features, of_classes)))  # noqa: E741
        return (middle / (of_features + g)[:, None] / (of_classes + l)) @ turn.T

    return basis, matrix_at
