"""SAE: an autoencoder through the attributes, in closed form."""

import keras
import numpy as np

from keras_transfer.models.zeroshot.shared import DescribedClasses, solved

PENALTIES = tuple(10.0**power for power in range(-3, 4))


@keras.saving.register_keras_serializable(package="keras_transfer")
class SAE(DescribedClasses):
    """Tells classes never seen by their attributes, which features are mapped to and come back from.

    minimises |X - S W|^2 + l |X W^T - S|^2 over W:  S^T S W + l W X^T X = (1 + l) S^T X
    logit_c = cosine of W encoder(x) with m_c - penalty [c is seen]

    where X are the features of the rows and S the descriptions of their classes, of length 1. Features with a common
    offset want to be standardised first. `model = SAE.solve(...)`; the constructor is for loading.

    Args:
        encoder: built network from an input to features `(batch, features)`.
        projector: `Dense` of W, without bias.
        descriptions: dict of the names of the classes to vectors `(dim,)`, or to lists of what the describer takes.
        seen: names of the classes that training shows; None: all.
        describer: built network from descriptions to vectors `(batch, dim)`, or None.
        centred: bool, whether the mean over the seen classes is subtracted from the vectors of descriptions.

    Raises:
        ValueError: see `kt.models.BilinearCompatibility`.

    Example:

    ```python
    model = kt.models.SAE.solve(features, labels, attributes)  # {class: vector}, of unseen classes too
    ```

    Departs: classes are told in the space of descriptions alone, not in that of features; the penalty is a multiple of
    the ratio of the mean eigenvalues of S^T S and X^T X.

    Reference:
        Kodirov et al., Semantic Autoencoder for Zero-Shot Learning, CVPR 2017, arXiv:1704.08345.
    """

    @classmethod
    def solve(
        cls, x, y, descriptions, encoder=None, penalties=PENALTIES, describer=None, centred=False, folds=5, seed=0
    ):
        """Returns the model whose matrix is solved for, at the penalty that tells held-out classes best.

        Args:
            x: inputs of the encoder; without one, features `(rows, features)`, which are then what the model takes.
            y: integer labels `(rows,)`, places among the descriptions. The classes they name are the seen ones.
            descriptions: see the class; those of unseen classes too.
            encoder: built network to features, or None.
            penalties: positive floats l to choose from.
            describer: see the class.
            centred: see the class.
            folds: int, parts of the seen classes, each of which is held out once to choose the penalty.
            seed: int, draws the parts.

        Raises:
            ValueError: if labels are no places among the descriptions, or there are too few seen classes to choose.
        """
        return solved(cls, _solver, list(penalties), x, y, descriptions, encoder, describer, centred, folds, seed)


def _solver(moments):
    """The eigenvectors of X^T X, and W in their terms as a function of the penalty: a Sylvester equation."""
    of_features, basis = np.linalg.eigh(moments.gram)
    of_classes, turn = np.linalg.eigh(moments.vectors.T * moments.counts @ moments.vectors)
    middle = basis.T @ (moments.sums.T @ moments.vectors) @ turn

    def matrix_at(penalty):
        l = penalty * of_classes.mean() / of_features.mean()  # noqa: E741
        sums = of_classes + l * of_features[:, None]
        return ((1.0 + l) * middle / np.maximum(sums, 1e-9 * sums.max())) @ turn.T

    return basis, matrix_at
