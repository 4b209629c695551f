"""What methods share that align the features of two domains."""

from keras_transfer.networks import check_features, run_pair


def encode_domains(encoder, head, x, passes, training):
    """Runs an encoder on both domains, and the head on the source.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction.
        x: dict of the streams `source` and `target`.
        passes: `"joint"` or `"separate"`, see `kt.networks.run_pair`.
        training: bool, whether this is a training step.

    Returns:
        Dict of the source's `prediction`, and the features `source` and `target`, `(batch, dim)`.

    Raises:
        ValueError: if the encoder does not return `(batch, dim)`.
    """
    source, target = run_pair(encoder, x["source"], x["target"], passes, training, ("source", "target"))
    check_features(source, encoder)
    return {"prediction": head(source, training=training), "source": source, "target": target}
