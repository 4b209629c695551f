"""What self-supervised methods share: projections of two views, their contrast, in chunks too, and checks."""

from keras import ops

from keras_transfer.chunks import run_in_chunks, sum_chunks
from keras_transfer.losses.contrastive import all_places, both_views, contrast_rows, partners, positive_means
from keras_transfer.networks import all_rows, check_features, run_pair


def project_views(encoder, projector, x, training=False, chunk_size=None):
    """Runs an encoder and a projector on both views, in one pass.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`.
        x: dict of `view_1` and `view_2`.
        training: bool, whether this is a training step.
        chunk_size: int, examples that go through the networks at once; None: all.

    Returns:
        Dict of the projections `view_1` and `view_2`, `(batch, projected)` each.

    Raises:
        ValueError: if the views differ in shape, the encoder does not return `(batch, dim)`, or the batch does not
            divide into chunks.
    """
    shapes = tuple(tuple(x[view].shape) for view in ("view_1", "view_2"))
    if shapes[0] != shapes[1]:
        raise ValueError(f"Expected `view_1` and `view_2` of one shape; received {shapes[0]} and {shapes[1]}.")

    def project(view, training):
        features = check_features(encoder(view, training=training), encoder)
        return projector(features, training=training)

    def both(x):
        return run_pair(project, x["view_1"], x["view_2"], training=training)

    if chunk_size is None:
        projected = both(x)
    else:
        chunks = run_in_chunks(lambda chunk: ops.stack(both(chunk)), [encoder, projector], x, chunk_size)
        projected = (ops.reshape(chunks[:, view], (-1, chunks.shape[-1])) for view in (0, 1))
    return dict(zip(("view_1", "view_2"), projected))


def contrast(view_1, view_2, temperature, labels=None, chunk_size=None):
    """Returns the contrastive loss of the rows of all replicas: NT-Xent, or with labels the supervised one.

    Args:
        view_1: tensor `(n, dim)`.
        view_2: tensor `(n, dim)`.
        temperature: positive float.
        labels: integer tensor `(n,)`, or None.
        chunk_size: int, examples whose similarities to all others are in memory at once; None: all.

    Returns:
        Scalar, float32.
    """
    features = both_views(all_rows(view_1), all_rows(view_2), "contrast")
    if labels is None:
        positives, counted = partners(features)
    else:
        positives, counted = positive_means(features, ops.tile(all_rows(labels), 2))
    if chunk_size is None:
        return ops.mean(contrast_rows(features, positives, counted, all_places(features), temperature))
    chunks = ops.reshape(all_places(features), (-1, 2 * chunk_size))
    total = sum_chunks(
        lambda tensors, rows: ops.sum(contrast_rows(*tensors, counted, rows, temperature)),
        [features, positives],
        chunks,
    )
    return total / ops.cast(ops.shape(features)[0], "float32")
