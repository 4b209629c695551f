"""Powers of the gradients of single examples, summed over the examples without a loop over them.

The gradient of a Dense kernel for example n is a_n d_n', with a the input and d the gradient by what the layer computes
before its activation. So the sum of the squares of its entries over a batch is (A * A)' (D * D): two gradients of the
whole batch give what a loop over examples gives. Where a kernel is used at several places of one example, as in a
convolution, these are summed first, one small product for each example. What has no such form is looped over, compiled.
"""

import contextlib
import functools

import keras
import numpy as np

from keras_transfer.keras_internals import all_layers, own_parameters


def summed_powers(network, x, directions, y=None, power=2, batch_size=64):
    """Returns, for each trainable weight, the sum over examples of powers of its gradients' absolute values.

    sum_n sum_k  v_nk |d s_nk / d w|^power

    Each example has to pass through the network by itself: it runs in inference mode. float32 networks.

    Args:
        network: built network, from an input to an output `(batch, ...)`; TensorFlow.
        x: array or nested structure of arrays `(rows, ...)`, or a `tf.data.Dataset` of batches of `(x, y)`, or of x.
        directions: function of the output of a batch, its labels or None, and the number of the batch, an int64 scalar;
            it returns scalars s and what each counts v, two lists of tensors `(batch,)`.
        y: array `(rows,)` or None; a dataset brings its own.
        power: 1 or 2.
        batch_size: int, rows that are computed at a time; the result does not depend on it.

    Returns:
        List of float32 arrays, of the shapes and in the order of `network.trainable_variables`; and the number of rows.

    Raises:
        ValueError: if there are no rows, no weights that train, or layers compute in float16, where squares vanish.
        RuntimeError: on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Expected Keras on the TensorFlow backend for gradients of examples; received {keras.backend.backend()!r}."
        )
    import tensorflow as tf

    half = [layer.name for layer in all_layers(network) if layer.compute_dtype == "float16"]
    if half:
        raise ValueError(
            f"Expected layers that compute in float32, since squares of gradients vanish in float16; received "
            f"{half[:3]}. Give a network of the policy float32 the same weights."
        )
    variables = list(network.trainable_variables)
    if not variables:
        raise ValueError(f"Expected weights of {network.name!r} that train; received none: all are frozen.")
    totals = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables]

    @tf.function(reduce_retracing=True)
    def add(x, y, there, number):
        for total, part in zip(totals, _batch(network, x, y, there, number, directions, power, variables)):
            total.assign_add(tf.reshape(part, total.shape))

    rows = 0
    for number, (part, labels, count) in enumerate(_padded(x, y, batch_size)):
        there = np.arange(len(keras.tree.flatten(part)[0])) < count
        add(part, labels, tf.constant(there, "float32"), tf.constant(number, "int64"))
        rows += count
    if not rows:
        raise ValueError("Expected at least one row of `x`; received none.")
    return [total.numpy() for total in totals], rows


def _padded(x, y, batch_size):
    """Yields x, y and the number of rows of batches of one size, the last filled up with copies of a row."""
    import tensorflow as tf

    if isinstance(x, tf.data.Dataset):
        batches = (batch if isinstance(batch, tuple) else (batch, None) for batch in x.as_numpy_iterator())
    else:
        batches = [(x, y)]
    for part, *rest in batches:
        labels = rest[0] if rest else None
        rows = len(keras.tree.flatten(part)[0])
        for first in range(0, rows, batch_size):
            count = min(batch_size, rows - first)
            places = first + np.minimum(np.arange(batch_size), count - 1)
            taken = keras.tree.map_structure(lambda array, places=places: tf.constant(np.asarray(array)[places]), part)
            yield taken, None if labels is None else tf.constant(np.asarray(labels)[places]), count


def _batch(network, x, y, there, number, directions, power, variables):
    """Returns the sums of one batch, those rows alone that are there, in the order of the variables."""
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape, _recorded(network, tape) as calls:
        scalars, counts = directions(network(x, training=False), y, number)
    once = {layer: seen[0] for layer, seen in calls.items() if len(seen) == 1}
    outputs = [z for _, z in once.values()]
    sums, left = {}, [v.value for v in variables]
    by_scalar = [tape.gradient(s, outputs) if outputs else [] for s in scalars]
    for place, (layer, (inputs, _)) in enumerate(once.items()):
        gradients = [of[place] for of in by_scalar]
        if any(one is None for one in gradients):
            continue
        weights = [there * tf.cast(v, "float32") for v in counts]
        found = _FORMS[type(layer)](layer, tf.cast(inputs, "float32"), gradients, weights, power)
        sums.update({id(v): part for v, part in found})
    left = [v for v in variables if id(v) not in sums]
    if left:
        sums.update(zip(map(id, left), _looped(network, x, y, there, number, directions, power, left)))
    return [sums[id(v)] for v in variables]


def _looped(network, x, y, there, number, directions, power, variables):
    """The same by a compiled loop over the examples, for any weights."""
    import tensorflow as tf

    def of_row(row, totals):
        def one(part):
            return None if part is None else part[row : row + 1]

        with tf.GradientTape(persistent=True) as tape:
            output = network(keras.tree.map_structure(one, x), training=False)
            scalars, counts = directions(output, one(y), number)
        for s, v in zip(scalars, counts):
            gradients = tape.gradient(s, [w.value for w in variables], unconnected_gradients="zero")
            share = there[row] * tf.cast(v[0], "float32")
            totals = [
                total + share * tf.abs(tf.cast(tf.convert_to_tensor(g), "float32")) ** power
                for total, g in zip(totals, gradients)
            ]
        return row + 1, totals

    start = [tf.zeros(v.shape) for v in variables]
    return tf.while_loop(lambda row, _: row < tf.shape(there)[0], of_row, [tf.constant(0), start])[1]


@contextlib.contextmanager
def _recorded(network, tape):
    """Keeps what the layers that have a form of their own read, and compute before their activation."""
    layers = all_layers(network)
    owners = {}
    for layer in layers:
        for v in own_parameters(layer):
            owners.setdefault(id(v), []).append(layer)
    calls, changed = {}, []

    def record(layer, activation, inputs, *args, **kwargs):
        z = type(layer).call(layer, inputs, *args, **kwargs)
        tape.watch(z)
        calls.setdefault(layer, []).append((inputs, z))
        return z if activation is None else activation(z)

    try:
        for layer in layers:
            if not _has_form(layer) or any(len(owners[id(v)]) > 1 for v in own_parameters(layer)):
                continue
            activation = getattr(layer, "activation", None)
            changed.append((layer, activation))
            if activation is not None:
                layer.activation = keras.activations.linear
            layer.call = functools.partial(record, layer, activation)
        yield calls
    finally:
        for layer, activation in changed:
            del layer.call
            if activation is not None:
                layer.activation = activation


def _has_form(layer):
    """Whether the gradients of all weights of a layer have one of the forms below."""
    if type(layer) not in _FORMS or not own_parameters(layer) or not layer.trainable:
        return False
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.axis in (-1, layer.input_spec.ndim - 1)
    if isinstance(layer, keras.layers.Dense):
        return True
    plain = layer.data_format == "channels_last" and layer.padding in ("same", "valid")
    return plain and getattr(layer, "groups", 1) == getattr(layer, "depth_multiplier", 1) == 1


def _places(tensor):
    """A tensor `(batch, ..., dim)` as `(batch, places, dim)`."""
    import tensorflow as tf

    return tf.reshape(tensor, (tf.shape(tensor)[0], -1, tensor.shape[-1]))


def _raised(gradients, weights, power):
    """The sum over examples of one weight's gradients `(batch, ...)`, raised to a power and weighted."""
    import tensorflow as tf

    def one(g, w):
        g = tf.abs(g) if power == 1 else tf.square(g)
        return tf.tensordot(w, g, 1)

    return tf.add_n([one(g, w) for g, w in zip(gradients, weights)])


def _dense(layer, inputs, gradients, weights, power):
    import tensorflow as tf

    gradients = [tf.cast(g, "float32") for g in gradients]
    bias = [(layer.bias, _raised([tf.reduce_sum(_places(g), 1) for g in gradients], weights, power))]
    if inputs.shape.rank == 2:
        raised = tf.abs if power == 1 else tf.square
        of_outputs = tf.add_n([w[:, None] * raised(g) for g, w in zip(gradients, weights)])
        kernel = tf.matmul(raised(inputs), of_outputs, transpose_a=True)
    else:
        each = [tf.matmul(_places(inputs), _places(g), transpose_a=True) for g in gradients]
        kernel = _raised(each, weights, power)
    return [(layer.kernel, kernel)] + (bias if layer.use_bias else [])


def _patches(layer, inputs):
    """What each place of a convolution's output sees, `(batch, places, kernel's places, channels)`."""
    import tensorflow as tf

    sizes, strides, rates = layer.kernel_size, layer.strides, layer.dilation_rate
    if len(sizes) == 1:
        inputs, sizes, strides, rates = inputs[:, None], (1, *sizes), (1, *strides), (1, *rates)
    seen = tf.image.extract_patches(
        inputs, (1, *sizes, 1), (1, *strides, 1), (1, *rates, 1), padding=layer.padding.upper()
    )
    return tf.reshape(seen, (tf.shape(seen)[0], -1, sizes[0] * sizes[1], inputs.shape[-1]))


def _convolution(layer, inputs, gradients, weights, power):
    import tensorflow as tf

    seen, gradients = _patches(layer, inputs), [_places(tf.cast(g, "float32")) for g in gradients]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        each = [tf.einsum("npkc,npc->nkc", seen, g) for g in gradients]
    else:
        seen = tf.reshape(seen, (tf.shape(seen)[0], -1, seen.shape[2] * seen.shape[3]))
        each = [tf.matmul(seen, g, transpose_a=True) for g in gradients]
    found = [(layer.kernel, _raised(each, weights, power))]
    bias = _raised([tf.reduce_sum(g, 1) for g in gradients], weights, power)
    return found + ([(layer.bias, bias)] if layer.use_bias else [])


def _normalization(layer, inputs, gradients, weights, power):
    import tensorflow as tf

    scale = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
    normalised = _places((inputs - tf.convert_to_tensor(layer.moving_mean)) * scale)
    gradients, found = [_places(tf.cast(g, "float32")) for g in gradients], []
    if layer.scale:
        each = [tf.reduce_sum(g * normalised, 1) for g in gradients]
        found.append((layer.gamma, _raised(each, weights, power)))
    if layer.center:
        found.append((layer.beta, _raised([tf.reduce_sum(g, 1) for g in gradients], weights, power)))
    return found


_FORMS = {
    keras.layers.Dense: _dense,
    keras.layers.Conv1D: _convolution,
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _convolution,
    keras.layers.BatchNormalization: _normalization,
}
