"""What methods for several tasks share: losses of the labels that are there, their total, steps on weighed gradients.

A method has `heads`, `weighting`, `missing`; `represent(x, training, tasks)`, which returns a dict of what each task's
head reads; and `shared_variables`, those that more than one task trains.
"""

import keras
from keras import ops

from keras_transfer.gradients import gram, weighted_sum
from keras_transfer.networks import all_rows


def check_tasks(heads, weighting):
    """Raises an error unless there are heads; builds the weighting for them.

    Args:
        heads: dict of the tasks' names to networks.
        weighting: a `kt.weightings.Weighting`, or None.

    Raises:
        ValueError: if `heads` is no dict of at least 2 networks, or the weighting does not fit them.
    """
    if not isinstance(heads, dict) or len(heads) < 2:
        received = f"{len(heads)} of them" if isinstance(heads, dict) else type(heads).__name__
        raise ValueError(f"Expected `heads` to be a dict of at least 2 tasks to their heads; received {received}.")
    if weighting is not None and not weighting.built:
        weighting.build({task: () for task in heads})


def answers(model, features, training=False):
    """Returns each task's prediction from what its head reads; `features` is a dict, of some tasks or all."""
    return {task: model.heads[task](read, training=training) for task, read in features.items()}


def task_losses(model, y, predictions, sample_weight=None):
    """Returns each task's compiled loss as the mean over the rows that have its label.

    A row whose label is `model.missing`, or whose weight for the task is 0, has none. A batch without a label gives 0.

    Args:
        model: method with `heads`, `missing` and, once compiled, `loss`.
        y: dict of the tasks' names to labels `(batch, ...)`.
        predictions: dict of the tasks' names to predictions `(batch, ...)`.
        sample_weight: weights `(batch,)` for all tasks, a dict of such for each, or None.

    Returns:
        Dict of the tasks' names to scalars.

    Raises:
        ValueError: if labels, losses or weights are not those of the heads; each that is missing or too many is named.
    """
    losses = model.loss if isinstance(model.loss, dict) else dict.fromkeys(predictions, model.loss)
    check_names("a compiled loss", losses, list(predictions))
    labels, weights = _labels_and_weights(model, y, list(predictions), sample_weight)
    found = {}
    for task, prediction in predictions.items():
        rows = keras.losses.get(losses[task])
        values = (rows.call if isinstance(rows, keras.losses.Loss) else rows)(labels[task], prediction)
        values = ops.cast(values, "float32")
        values = ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)
        weight = ops.ones_like(values) if weights[task] is None else weights[task]
        present = weight != 0
        number = ops.sum(all_rows(ops.cast(present, "float32"))) / model._replicas
        weighted = ops.sum(ops.where(present, weight * values, 0.0))
        found[task] = weighted / ops.maximum(number, 1.0 / model._replicas)
    return found


def total(model, terms, training=True):
    """Returns the tasks' losses as `model.weighting` weighs them, and further terms by their own weights."""
    losses = {task: terms[task] for task in model.heads}
    weighed = sum(losses.values()) if model.weighting is None else model.weighting(losses, training=training)
    return weighed + _further(model, terms)


def _further(model, terms):
    return sum(model.now(model.term_weights[name]) * value for name, value in terms.items() if name not in model.heads)


def mark_missing(model, y, predictions, sample_weight=None):
    """Gives labels that are missing the weight 0, for metrics.

    Args:
        model: method with `missing`.
        y: dict of the tasks' names to labels `(batch, ...)`.
        predictions: dict of the tasks' names to predictions `(batch, ...)`.
        sample_weight: weights `(batch,)` for all tasks, a dict of such for each, or None.

    Returns:
        Labels, predictions and sample weights, dicts with the tasks in one order.

    Raises:
        ValueError: if metrics are compiled that take no weights, and labels may be missing.
    """
    metrics = model._compile_metrics
    if model.missing is not None and metrics is not None and metrics._user_metrics is not None:
        raise ValueError(
            f"Expected metrics of {type(model).__name__} as `weighted_metrics`, since labels may be missing, which "
            "`metrics` would count; received `metrics`."
        )
    labels, weights = _labels_and_weights(model, y, list(predictions), sample_weight)
    return labels, predictions, None if all(weight is None for weight in weights.values()) else weights


def check_names(what, given, tasks):
    """Raises an error unless `given` is a dict with one value for each of the tasks, a list."""
    if not isinstance(given, dict):
        raise ValueError(f"Expected {what} as a dict of the tasks {tasks}; received {type(given).__name__}.")
    lacking, unknown = [task for task in tasks if task not in given], [task for task in given if task not in tasks]
    if lacking or unknown:
        parts = [f"none for {lacking}"] * bool(lacking) + [f"some for {unknown}, which have no head"] * bool(unknown)
        raise ValueError(f"Expected {what} for each of the tasks {tasks}; received {' and '.join(parts)}.")


def _labels_and_weights(model, y, tasks, sample_weight):
    """The labels of each task, 0 where one is missing, and their weights `(batch,)`; None where each counts 1."""
    given = sample_weight if isinstance(sample_weight, dict) else dict.fromkeys(tasks, sample_weight)
    check_names("labels", y, tasks)
    check_names("sample weights", given, tasks)
    labels, weights = {}, {}
    for task in tasks:
        label, weight = ops.convert_to_tensor(y[task]), given[task]
        if weight is not None:
            weight = ops.cast(ops.reshape(weight, (-1,)), "float32")
        if model.missing is not None:
            nan = model.missing != model.missing
            absent = ops.isnan(label) if nan else ops.equal(label, ops.cast(model.missing, label.dtype))
            label = ops.where(absent, ops.zeros_like(label), label)
            here = ops.logical_not(ops.any(ops.reshape(absent, (ops.shape(label)[0], -1)), axis=1))
            here = ops.cast(here, "float32")
            weight = here if weight is None else here * weight
        labels[task], weights[task] = label, weight
    return labels, weights


def train_step(model, plain_step, *args):
    """One step on the gradients of all tasks, weighed by `model.weighting`; TensorFlow.

    Shared variables take the weighed sum of the tasks' gradients, all others the plain sum; regularisers and further
    terms count once.

    Args:
        model: method.
        plain_step: Keras's step, which is taken where losses are weighed rather than gradients.
        *args: of a step: on TensorFlow the training batch `(x, y[, sample_weight])`.

    Returns:
        The logs.
    """
    weighting, optimizer, replicas = model.weighting, model.optimizer, model._replicas
    if weighting is None or weighting.on is None:
        return plain_step(*args)
    import tensorflow as tf

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(*args)
    by_features = weighting.on == "representation"
    if not model.built:  # networks may be; the model itself is not called
        model.build(keras.tree.map_structure(lambda part: part.shape, x))
    shared = list(model.shared_variables)
    own = [v for v in model.trainable_variables if not any(v is one for one in shared)]
    with tf.GradientTape(persistent=True) as tape:
        features = model.represent(x, training=True)
        predictions = answers(model, features, training=True)
        terms = model.measure_terms(x, y, predictions, sample_weight)
        scaled = {task: optimizer.scale_loss(terms[task] / replicas) for task in weighting.tasks}
        rest = sum(model.losses) + _further(model, terms)
        scaled_rest = optimizer.scale_loss(rest / replicas)
    watched = [v.value for v in shared]
    if by_features:  # each once, where several heads read the same
        watched = list({id(read): read for read in keras.tree.flatten(features)}.values())

    def gradient(loss, sources, **kwargs):
        found = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO, **kwargs)
        return [tf.convert_to_tensor(part) for part in found]

    by_task, own_gradient = [], None
    for task in weighting.tasks:
        parts = gradient(scaled[task], [*watched, *(v.value for v in own)])
        by_task.append(parts[: len(watched)])
        parts = parts[len(watched) :]
        own_gradient = parts if own_gradient is None else [a + b for a, b in zip(own_gradient, parts)]
    context = tf.distribute.get_replica_context()
    losses = ops.stack([terms[task] for task in weighting.tasks])
    if replicas > 1:
        losses = context.all_reduce("mean", losses)
        if not by_features:  # the whole batch's; each replica adds its share of the update
            by_task = [[context.all_reduce("sum", part) for part in parts] for parts in by_task]
    products = gram(by_task)
    if replicas > 1 and by_features:
        products = context.all_reduce("sum", products)
    update = weighted_sum(by_task, weighting.update(products, losses))
    if by_features:
        update = gradient(watched, [v.value for v in shared], output_gradients=update)
    elif replicas > 1:
        update = [part / replicas for part in update]
    found = [*update, *own_gradient]
    if tf.is_tensor(rest):
        found = [a + b for a, b in zip(found, gradient(scaled_rest, [v.value for v in (*shared, *own)]))]
    optimizer.apply_gradients(zip(found, [*shared, *own]))
    model.step.assign_add(1)
    model.advance()
    weighed = sum(terms[task] for task in weighting.tasks) + rest
    model._loss_tracker.update_state(weighed, sample_weight=tf.shape(keras.tree.flatten(x)[0])[0])
    return model.compute_metrics(x, y, predictions, sample_weight)
