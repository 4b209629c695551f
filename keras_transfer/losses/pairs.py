"""Contrastive losses of pairs from two towers: each row finds its partner among those of the batch."""

from keras import ops

from keras_transfer.losses.checks import check_views
from keras_transfer.losses.contrastive import unit_rows


def info_nce(first, second, scale):
    """Returns the symmetric cross-entropy of pairs, InfoNCE in both directions, as in CLIP.

    With s_ij = scale z_i . z'_j, rows scaled to length 1:

    1/2 mean over i of  log sum over j of exp(s_ij) + log sum over j of exp(s_ji) - 2 s_ii

    Args:
        first: tensor `(n, dim)`, at least 2 rows.
        second: tensor `(n, dim)`, the partners in the same order.
        scale: scalar, the inverse temperature.

    Returns:
        Scalar, float32, at least 0.

    Raises:
        ValueError: if the two differ in shape, are not `(rows, dim)` or have fewer than 2 rows.

    Reference:
        Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
        arXiv:2103.00020, figure 3.
    """
    scores = _scores(first, second, scale)
    both = ops.logsumexp(scores, axis=0) + ops.logsumexp(scores, axis=1)
    return 0.5 * ops.mean(both - 2.0 * ops.diagonal(scores))


def sig_lip(first, second, scale, bias):
    """Returns the pairwise sigmoid loss: whether two rows are partners is asked of each pair by itself, as in SigLIP.

    With s_ij = scale z_i . z'_j + bias, rows scaled to length 1:

    mean over i of  sum over j of  log(1 + exp(-s_ij if i = j else s_ij))

    Args:
        first: tensor `(n, dim)`, at least 2 rows.
        second: tensor `(n, dim)`, the partners in the same order.
        scale: scalar, the inverse temperature.
        bias: scalar; -10 at first, since most pairs are no partners.

    Returns:
        Scalar, float32, at least 0.

    Raises:
        ValueError: if the two differ in shape, are not `(rows, dim)` or have fewer than 2 rows.

    Reference:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343, algorithm 1.
    """
    scores = _scores(first, second, scale) + bias
    partners = 2.0 * ops.eye(ops.shape(scores)[0]) - 1.0
    return -ops.mean(ops.sum(ops.log_sigmoid(partners * scores), axis=1))


def _scores(first, second, scale):
    check_views(first, second, "contrast")
    return scale * ops.matmul(unit_rows(first), ops.transpose(unit_rows(second)))
