"""A batch in chunks: the gradient of all of its rows, with the activations of one chunk in memory."""

import keras
from keras import ops


def map_chunks(function, weights, state, chunks):
    """Applies a function to one chunk after the other and keeps the results alone.

    For the gradient each chunk is computed a second time, so that memory does not grow with the number of chunks: Gao
    et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021, arXiv:2101.06983.

    Args:
        function: function of `(weights, state, chunk)` that returns a float32 tensor and the next state. What else it
            uses counts as constant.
        weights: list of tensors, which the gradient is taken by.
        state: list of tensors, passed from chunk to chunk, as moving averages are; without a gradient.
        chunks: nested structure of tensors `(number, ...)`; without a gradient.

    Returns:
        Tensor `(number, ...)` of the results, and the last state.
    """
    if keras.backend.backend() == "jax":
        import jax

        def body(state, chunk):
            result, state = function(weights, state, chunk)
            return state, result

        state, results = jax.lax.scan(jax.checkpoint(body), state, chunks)
        return results, state
    import tensorflow as tf

    @tf.custom_gradient
    def run(*weights):
        weights = list(weights)

        def forward(i, chunk, state, results):
            result, state = function(weights, state, chunk)
            return state, results.write(i, result)

        number = tf.shape(keras.tree.flatten(chunks)[0])[0]
        last, results = _loop(forward, chunks, (state, tf.TensorArray("float32", number)))

        def backward(upstream, *_):
            def once_more(i, chunk, state, gradients):
                with tf.GradientTape() as tape:
                    tape.watch(weights)
                    result, state = function(weights, state, chunk)
                found = tape.gradient(result, weights, upstream[i], tf.UnconnectedGradients.ZERO)
                return state, [total + tf.convert_to_tensor(new) for total, new in zip(gradients, found)]

            return _loop(once_more, chunks, (state, [tf.zeros_like(w) for w in weights]))[1]

        return (results.stack(), *last), backward

    results, *last = run(*weights)  # not `state`, with which the second pass begins
    return results, last


def sum_chunks(function, tensors, chunks):
    """Sums a function over chunks; the gradient comes from the same pass, one chunk's activations in memory.

    Args:
        function: function of `(tensors, chunk)` that returns a float32 scalar. What else it uses counts as constant.
        tensors: list of float32 tensors, which the gradient is taken by, once.
        chunks: nested structure of tensors `(number, ...)`; without a gradient.

    Returns:
        Scalar.
    """
    at = [ops.stop_gradient(tensor) for tensor in tensors]
    start = (ops.zeros(()), [ops.zeros_like(tensor) for tensor in at])
    if keras.backend.backend() == "jax":
        import jax

        def body(sums, chunk):
            return jax.tree.map(ops.add, sums, jax.value_and_grad(function)(at, chunk)), None

        (total, slopes), _ = jax.lax.scan(body, start, chunks)
    else:
        import tensorflow as tf

        def add(i, chunk, total, slopes):
            with tf.GradientTape() as tape:
                tape.watch(at)
                value = function(at, chunk)
            found = tape.gradient(value, at, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return total + value, [slope + tf.convert_to_tensor(new) for slope, new in zip(slopes, found)]

        total, slopes = _loop(add, chunks, start)
    # The value is the total, since each difference is zero; the gradient by a tensor is its slope.
    return ops.stop_gradient(total) + sum(
        ops.sum(ops.stop_gradient(slope) * (tensor - value)) for slope, tensor, value in zip(slopes, tensors, at)
    )


def _loop(body, chunks, start):
    import tensorflow as tf

    number = tf.shape(keras.tree.flatten(chunks)[0])[0]

    def step(i, *values):
        return i + 1, *body(i, keras.tree.map_structure(lambda rows: rows[i], chunks), *values)

    return tf.while_loop(lambda i, *_: i < number, step, (0, *start), parallel_iterations=1)[1:]


def run_in_chunks(run, networks, x, size):
    """Runs networks on one chunk of a batch after the other.

    BatchNormalization in training mode normalises each chunk by its own statistics.

    Args:
        run: function of a chunk that runs the networks and returns a tensor.
        networks: list of the networks that it runs, built.
        x: nested structure of tensors `(rows, ...)`.
        size: int, rows of a chunk; it divides their number.

    Returns:
        Tensor `(rows / size, ...)`, the results of the chunks, float32.

    Raises:
        ValueError: if the rows are known not to divide by `size`.
    """
    rows = keras.tree.flatten(x)[0].shape[0]
    if rows is not None and rows % size:
        raise ValueError(f"Expected a batch that divides into chunks of {size} rows; received {rows} rows.")
    trainable = [v for network in networks for v in network.trainable_variables]
    others = [v for network in networks for v in network.non_trainable_variables]

    def function(weights, state, chunk):
        with keras.StatelessScope(zip(trainable + others, weights + state)) as scope:
            result = run(chunk)
        return ops.cast(result, "float32"), [ops.convert_to_tensor(scope.get_current_value(v)) for v in others]

    chunks = keras.tree.map_structure(lambda part: ops.reshape(part, (-1, size, *part.shape[1:])), x)
    weights, state = ([ops.copy(v.value) for v in variables] for variables in (trainable, others))
    results, state = map_chunks(function, weights, state, chunks)
    for variable, value in zip(others, state):
        variable.assign(value)
    return results
