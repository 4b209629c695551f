"""Signs of collapse in embeddings: how much of their space they use, and how."""

import numpy as np


def embedding_std(embeddings):
    """Returns the mean over dimensions of the standard deviation of rows scaled to length 1, times sqrt(dim).

    About 1 where directions are spread evenly, 0 where all rows are the same.

    Args:
        embeddings: array `(rows, dim)`, at least 2 rows.

    Returns:
        Float.

    Reference:
        Chen and He, Exploring Simple Siamese Representation Learning, CVPR 2021, arXiv:2011.10566, section 4.1.
    """
    rows = _unit(embeddings)
    return float(rows.std(axis=0).mean() * np.sqrt(rows.shape[1]))


def effective_rank(embeddings):
    """Returns the exponential of the entropy of the singular values of centred rows, as shares of their sum.

    It goes from 1, where all lie on a line, to min(rows - 1, dim).

    Args:
        embeddings: array `(rows, dim)`, at least 2 rows.

    Returns:
        Float; 0 where all rows are the same.

    Reference:
        Roy and Vetterli, The Effective Rank: A Measure of Effective Dimensionality, EUSIPCO 2007. Garrido et al.,
        RankMe, ICML 2023, arXiv:2210.02885.
    """
    rows = np.asarray(embeddings, "float64")
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-12 * max(1.0, np.abs(rows).max()):
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def alignment(view_1, view_2):
    """Returns the mean squared distance of the two views of an example, rows scaled to length 1: 0 to 4.

    Args:
        view_1: array `(rows, dim)`.
        view_2: array `(rows, dim)`, the same examples.

    Returns:
        Float.

    Reference:
        Wang and Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, ICML 2020, arXiv:2005.10242.
    """
    return float(np.square(_unit(view_1) - _unit(view_2)).sum(axis=1).mean())


def uniformity(embeddings):
    """Returns log of the mean of exp(-2 d^2) over pairs of rows scaled to length 1, d their distance.

    It goes from 0, where all rows are the same, down to -4, where they are spread evenly in many dimensions.

    Args:
        embeddings: array `(rows, dim)`, at least 2 rows.

    Returns:
        Float.

    Reference:
        Wang and Isola, see `alignment`.
    """
    rows = _unit(embeddings)
    squares = np.maximum(2.0 - 2.0 * rows @ rows.T, 0.0)
    return float(np.log(np.exp(-2.0 * squares[np.triu_indices(len(rows), 1)]).mean()))


def _unit(embeddings):
    rows = np.asarray(embeddings, "float64")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
