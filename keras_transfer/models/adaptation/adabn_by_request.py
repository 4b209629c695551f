"""AdaBN on the server: a signature that normalises by the request's own rows."""

import keras

from keras_transfer.keras_internals import all_layers
from keras_transfer.model import TransferModel, stated_outputs
from keras_transfer.networks import check_networks, follower, frozen
from keras_transfer.signatures import Signature, named, predicted, reader


def adabn_by_request(model):
    """Returns a copy of a trained network that is exported with one signature more, `adapt_and_predict`.

    There BatchNormalization normalises by the mean and variance of the request's own rows, where clients send whole
    batches of one domain that nobody has seen before: another camera, another laboratory. The answer to a row depends
    on the rows beside it, so that a request wants some dozens of them, of all classes, and a server must not join those
    of several clients. `serving_default` answers row by row as before. Neither changes the model.

    Args:
        model: built and trained network with BatchNormalization; it stays as it is.

    Returns:
        A `keras.Model`, not compiled, that predicts what `model` does.

    Raises:
        ValueError: if the network is not built, or has no BatchNormalization but what is frozen.

    Example:

    ```python
    kt.export(kt.models.adabn_by_request(classifier), "saved_models/digits", x_test, classes=names)
    ```

    Reference:
        Nado et al., Evaluating Prediction-Time Batch Normalization for Robustness under Covariate Shift, 2020,
        arXiv:2006.10963.
    """
    check_networks(model=model)
    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    if not any(layer.trainable for layer in norms):  # what is frozen normalises by its own statistics, whatever comes
        raise ValueError(
            f"Expected a network with BatchNormalization that is not frozen; received {model.name!r}, which has "
            f"{len(norms)} layers of it, frozen."
        )
    return AdaBNByRequest(follower(model))


@keras.saving.register_keras_serializable(package="keras_transfer")
class AdaBNByRequest(TransferModel):
    """What is exported: a network that draws nothing, by its own statistics and by those of the request."""

    def __init__(self, network, **kwargs):
        super().__init__({}, **kwargs)
        self.network = network

    def infer(self, x, training=False):
        """Returns the prediction by the network's own statistics."""
        return self.network(x, training=False)

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `serving_default` and `adapt_and_predict`; arguments as in `kt.TransferModel.signatures`."""
        request = named(x, input_name)
        read, stated = reader(x, request, prepare), stated_outputs(self.network, "network", classes, outputs)

        def adapt_and_predict(inputs):
            return predicted(frozen(self.network, read(inputs), training=True), classes, stated)

        served = super().signatures(x, classes, prepare, input_name, outputs)
        return {**served, "adapt_and_predict": Signature(adapt_and_predict, request, rowwise=False)}
