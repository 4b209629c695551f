"""What methods of adaptation share: both domains through encoder and head, and terms of the target's predictions."""

from keras import ops

from keras_transfer.checks import check_weight, received
from keras_transfer.model import TransferModel
from keras_transfer.networks import all_rows, check_features, check_logits, run_pair


def run_domains(encoder, head, x, passes, training, tell=None, name="domain"):
    """Runs an encoder and a head on both domains, and where there is one an adversary, in the same passes.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction.
        x: dict of the streams `source` and `target`.
        passes: `"joint"` or `"separate"`, see `kt.networks.run_pair`.
        training: bool, whether this is a training step.
        tell: function of features and prediction that returns what an adversary says of them; or None.
        name: str, what is said is the output `source_<name>` and `target_<name>`.

    Returns:
        Dict of the predictions, `prediction` of the source and `target_prediction`, and the features `source` and
        `target`, `(batch, dim)`.

    Raises:
        ValueError: if the encoder does not return `(batch, dim)`.
    """

    def run(batch, training):
        features, prediction = classify(encoder, head, batch, training)
        found = {"": features, "prediction": prediction}
        return found if tell is None else {**found, name: tell(features, prediction)}

    source, target = run_pair(run, x["source"], x["target"], passes, training, ("source", "target"))
    outputs = {"prediction": source["prediction"], "target_prediction": target["prediction"]}
    outputs |= {"source": source[""], "target": target[""]}
    return outputs if tell is None else {**outputs, f"source_{name}": source[name], f"target_{name}": target[name]}


def classify(encoder, head, batch, training):
    """Returns an encoder's features of a batch, checked to be `(batch, dim)`, and the head's prediction."""
    features = check_features(encoder(batch, training=training), encoder)
    return features, head(features, training=training)


def check_target_terms(target_terms, head, own=()):
    """Checks terms of the target's predictions.

    Args:
        target_terms: dict of names to pairs (loss, weight): a function, registered with Keras, or an object with
            `get_config`, of logits `(rows, classes)`; a float or a schedule. Or None.
        head: network that returns the logits.
        own: names of the method's own terms.

    Returns:
        `{name: [loss, weight]}`, as a config holds it.

    Raises:
        ValueError: if it is no such dict, a name is taken, or the head ends in a softmax or a sigmoid.
    """
    target_terms = target_terms or {}
    if not isinstance(target_terms, dict):
        raise ValueError(
            "Expected `target_terms` to be a dict of names to pairs (loss, weight), such as "
            f"{{'mcc': (kt.losses.MCC(), 1.0)}}; received {received(target_terms)}."
        )
    checked = {}
    for name, pair in target_terms.items():
        if not isinstance(name, str) or name in (*own, "task", "loss"):
            raise ValueError(f"Expected a new name for each of `target_terms`; received {received(name)}.")
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not callable(pair[0]) or isinstance(pair[0], type):
            raise ValueError(
                f"Expected `target_terms[{name!r}]` to be a pair of a function of logits and its weight; received "
                f"{received(pair)}."
            )
        checked[name] = [pair[0], check_weight(pair[1], f"the weight of {name}")]
    if checked:
        check_logits(head, "head")
    return checked


def weights(target_terms):
    """Returns `{name: weight}` of checked terms of the target's predictions."""
    return {name: weight for name, (_, weight) in target_terms.items()}


def target_losses(target_terms, outputs):
    """Returns `{name: scalar}`: terms of the target's predictions, those of the global batch.

    Args:
        target_terms: checked terms.
        outputs: dict with `target_prediction`.
    """
    if not target_terms:
        return {}
    logits = all_rows(outputs["target_prediction"])
    return {name: loss(logits) for name, (loss, _) in target_terms.items()}


def check_one_logit(logits, network, name="discriminator"):
    """Raises an error unless a network returned one logit for each row; returns it."""
    if logits.shape[1:] != (1,):
        raise ValueError(
            f"Expected the {name} {network.name!r} to return one logit, shape (batch, 1); received shape "
            f"{tuple(logits.shape)}."
        )
    return logits


def domain_loss(source, target, source_weight=1.0, target_weight=1.0):
    """Returns the cross-entropy of a discriminator, the mean of that of either domain: source is 0, target is 1.

    Args:
        source: its logits of the source `(rows, 1)`.
        target: its logits of the target `(rows, 1)`.
        source_weight: what each row of the source counts, `(rows, 1)` with a mean of 1.
        target_weight: the same of the target.
    """
    source, target = ops.cast(source, "float32"), ops.cast(target, "float32")
    called_target, called_source = source_weight * ops.softplus(source), target_weight * ops.softplus(-target)
    return 0.5 * (ops.mean(called_target) + ops.mean(called_source))


def source_networks(model):
    """Returns the encoder and the head that a trained method serves.

    Args:
        model: trained method of this package.

    Raises:
        ValueError: if it is none, or serves no encoder or no head.
    """
    if not isinstance(model, TransferModel) or None in model.served:
        raise ValueError(f"Expected a trained method with an encoder and a head; received {type(model).__name__}.")
    return model.served
