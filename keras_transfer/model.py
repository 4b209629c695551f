"""The one base class: a Keras model whose training loss is a weighted sum of named terms."""

import inspect

import keras
from keras import ops

from keras_transfer import keras_internals
from keras_transfer.batches import check_inputs, check_labels, check_shape
from keras_transfer.metrics.named_means import NamedMeans
from keras_transfer.networks import all_rows, check_loss, check_network, final_activation, number_of_outputs
from keras_transfer.signatures import KINDS, Signature, embedded, named, own_prediction, predicted, reader

COUNTS = "counts"
PREDICTION = "prediction"
REPRESENTATION = "representation"


class TransferModel(keras_internals.Trainer):
    """A Keras model that trains on named streams of data and minimises a weighted sum of named loss terms.

    Keras owns the loop: `compile`, `fit`, `evaluate`, `predict` and `save` are Keras's own. A method states the
    `streams` it trains on, what it computes from them (`forward`) and the terms it minimises (`loss_terms`).

    - A training batch is `(x, y[, sample_weight])`, where `x` is a dict with one entry per stream, or that dict alone
      where nothing is labelled. `streams = ()` means plain batches.
    - Whatever is not that dict is an ordinary input: `model(x)` is the path that is served, and `evaluate` and
      `predict` take plain data.
    - Every constructor argument is an attribute of the same name; saving follows from that. Networks, dicts and
      lists of networks, schedules, registered functions and None can be saved so; tuples come back as lists. One
      network passed as two arguments is two networks after loading.
    - `step` counts training batches. It is saved with the model, so schedules go on after loading. A batch whose step
      the optimizer skips, as it does under float16 where a gradient overflows, counts too.

    Example:

    ```python
    @keras.saving.register_keras_serializable(package="my_package")
    class EntropyMinimization(kt.TransferModel):
        streams = ("source", "target")

        def __init__(self, encoder, head, entropy_weight=0.1, **kwargs):
            super().__init__({"task": 1.0, "entropy": entropy_weight}, **kwargs)
            self.encoder, self.head, self.entropy_weight = encoder, head, entropy_weight

        def forward(self, x, training=False):
            return {name: self.infer(x[stream], training=training)
                    for name, stream in (("prediction", "source"), ("target", "target"))}

        def loss_terms(self, x, y, outputs, sample_weight=None):
            p = keras.ops.softmax(outputs["target"])
            entropy = -keras.ops.mean(keras.ops.sum(p * keras.ops.log(p + 1e-7), axis=-1))
            return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "entropy": entropy}
    ```

    Args:
        terms: dict of the names of the loss terms to their weights. A weight is a float; a
            `keras.optimizers.schedules.LearningRateSchedule` of `step`; or a `kt.weightings.Weighting`, which weighs
            all terms that name it together. A float is fixed once `fit` has traced it.
        **kwargs: `name`, `dtype` and the other arguments of `keras.Model`.
    """

    streams: tuple[str, ...] = ()
    combine = None
    """None, or a method `combine(gradients)`: what becomes of the terms' gradients (TensorFlow).

    Args:
        gradients: `{term: list of tensors}`, float32: the gradients of each term by its weight, of the global batch,
            by the variables in `shared_variables`. Where `forward` returns an output named `representation`, a tensor
            or a structure of tensors `(batch, ...)`, they are those by it instead, for which one pass backwards
            through these variables is enough; terms that do not depend on it count as they are.

    Returns:
        List of tensors, in place of the sum. The gradients of regularisers are added to it.
    """
    shared_variables = None
    """The variables whose gradients `combine` gets, or on which the representation depends; None: all that train.

    All others take the plain sum.
    """

    def __init__(self, terms, **kwargs):
        super().__init__(**kwargs)
        self.term_weights = dict(terms)
        self._means = NamedMeans([f"{name}_term" for name in terms], name="means")
        # Not `optimizer.iterations`, which is invisible inside a JAX step and not saved without the optimizer.
        self.step = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            aggregation="only_first_replica",
            name="step",
        )

    # What a method writes.

    @property
    def served(self):
        """The pair of the encoder and the head that `infer`, `embed` and the export read; a method without one: None.

        A method that serves other networks than it trains, such as a teacher, overrides this.
        """
        return getattr(self, "encoder", None), getattr(self, "head", None)

    def infer(self, x, training=False):
        """Computes what is served from a plain input: the head's prediction, or where there is none the features."""
        encoder, head = self.served
        features = encoder(x, training=training)
        return features if head is None else head(features, training=training)

    def forward(self, x, training=False):
        """Computes the outputs that the loss terms need, as a dict; compiled losses and metrics see `prediction`."""
        if self.streams:
            raise NotImplementedError(f"{type(self).__name__} has streams and must define `forward`.")
        return {PREDICTION: self.infer(x, training=training)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns a dict with one scalar per term: plain means over the local batch, not weighted.

        Logs are means over batches by their rows. Where a term is a mean over something else, such as the labels that
        are there, their number goes into `outputs["counts"]`, a dict of terms to scalars: those of the global batch,
        divided by the number of replicas. Its log, and its part of the logged `loss`, are means by these.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `loss_terms`.")

    def advance(self, outputs):
        """Moves what does not learn by gradient, such as a teacher or a threshold; once in a training step.

        It moves in a step that the optimizer skips under float16 too, where weights stay as they are, so that a teacher
        comes a little nearer. Numbers of the batch that it keeps may have overflowed then: do not keep those that are
        not finite. What layers keep, such as the averages of BatchNormalization, moves in the forward pass, before
        anything is known of gradients.

        Args:
            outputs: what `forward` returned in this step, in which the weights have not moved yet.
        """

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns what a server answers.

        By default `serving_default` serves `infer`, and `embed` the features of the encoder that `infer` reads. Where
        a method overrides `infer` itself, only that is served: `served` is what both read.

        Args:
            x: real inputs as clients will send them: an array `(rows, ...)`, or a dict or tuple of arrays.
            classes: class names in the order of the logits, or None.
            prepare: function from `x` to the model's input, or None.
            input_name: name of the one input; a tuple of inputs is named `<input_name>_0`, `<input_name>_1`, ...
            outputs: what the output is, see `stated_outputs`; None: logits where `classes` are given,
                otherwise no classification.

        Returns:
            `{name: kt.signatures.Signature}`.
        """
        request = named(x, input_name)
        read, (encoder, head) = reader(x, request, prepare), self.served
        features_alone = encoder is not None and head is None and classes is None and outputs is None
        own_infer = type(self).infer is not TransferModel.infer
        network = self if own_infer or encoder is None else encoder if head is None else head
        stated = stated_outputs(network, "encoder" if network is encoder else "head", classes, outputs)

        def told(output):
            return embedded(output) if features_alone else predicted(output, classes, stated)

        def serving_default(inputs):
            return told(self(read(inputs), training=False))

        def expected(inputs):
            return told(own_prediction(self, read(inputs)))

        def embed(inputs):
            return embedded(encoder(read(inputs), training=False))

        served = {"serving_default": Signature(serving_default, request, expected=expected)}
        if encoder is not None and not own_infer:
            served["embed"] = Signature(embed, request)
        return served

    # What a method calls.

    def task_loss(self, y, y_pred, sample_weight=None):
        """Returns the compiled loss as a plain mean over the local batch."""
        loss = keras_internals.compiled_loss(self)
        if loss is None:
            raise ValueError(f"Expected `{type(self).__name__}.compile` to be called with a `loss`; received None.")
        check_loss(self.loss, self.served[1])
        check_shape(y, y_pred, self.loss)
        if self.run_eagerly:  # labels of datasets, which nothing has seen before
            check_labels(y, whole=keras_internals.reads_class_numbers(self.loss))
        return loss(y, y_pred, sample_weight) * self._replicas

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit`, `evaluate` and the like are called with; datasets pass.

        A method whose labels are no one array, or lie elsewhere too, overrides this.

        Args:
            x: what `fit` gets.
            y: what `fit` gets.

        Raises:
            ValueError: if numbers are not finite, or labels no numbers or none of classes that are there.
        """
        check_inputs(x, self.layers)
        whole, classes = keras_internals.reads_class_numbers(self.loss), number_of_outputs(self.served[1])
        check_labels(y, whole=whole, classes=classes)

    def now(self, value):
        """Returns a weight or strength at this step: a schedule's value, or the float itself."""
        return value(self.step) if isinstance(value, keras.optimizers.schedules.LearningRateSchedule) else value

    def log(self, name, value):
        """Logs a scalar under a name as its mean over the epoch, where and when it is computed.

        Call it in `loss_terms`, `combine` or `advance`, which see what `forward` returns; JAX's `forward` knows no
        metrics. Under several replicas it is the mean of theirs.
        """
        self._means.update_state({name: value})

    def is_streams(self, x):
        """Whether `x` is a training batch: a dict of exactly this method's streams."""
        names, streams = set(x) if isinstance(x, dict) else set(), set(self.streams)
        if len(streams) > 1 and names & streams and names != streams:
            raise self._expected_streams(x)
        return bool(streams) and names == streams

    # What Keras calls.

    def build(self, input_shape):
        """Builds every network, those that only training reaches too.

        Args:
            input_shape: shape of a plain input with its batch axis, such as `(None, 28, 28, 1)`, or a dict of such
                shapes, one for each stream. Inputs that are not numbers: call the networks once instead.
        """
        lost = [name for name in self._config_names() if not hasattr(self, name)]
        if lost:
            raise ValueError(
                f"Expected every constructor argument of {type(self).__name__} to be kept as an attribute of the same "
                f"name, since saving follows from that; received no attribute {', '.join(map(repr, lost))}."
            )
        for name in self._config_names():
            check_network(getattr(self, name), name)
        if not all(layer.built for layer in self.layers):
            shapes = input_shape
            if self.streams and not self.is_streams(shapes):
                shapes = {stream: input_shape for stream in self.streams}
            self.compute_output_spec(keras.tree.map_shape_structure(keras.KerasTensor, shapes))
        self.built = True

    def call(self, x, training=False):
        """Computes the dict of outputs of a training batch, or the prediction of a plain input."""
        return (self.forward if self.is_streams(x) else self.infer)(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Weighs the terms, adds the networks' regularisers, divides by the number of replicas."""
        if self.streams and not self.is_streams(x):
            if training:
                raise self._expected_streams(x)
            check_shape(y, y_pred, self.loss)
            return super().compute_loss(None, y, y_pred, sample_weight)
        outputs = y_pred if self.streams else {PREDICTION: y_pred}
        terms = self._measured(x, y, outputs, sample_weight)
        total = self._total(terms, training)
        if training:
            self._end_step(outputs)
        total = total + sum(self.losses)
        self._keep_loss(total, terms, outputs, x, training)
        return total / self._replicas

    def train_step(self, *args):
        """Trains on a batch: by Keras's own step, or by one that asks `combine` what becomes of the gradients."""
        self._means.start()
        return super().train_step(*args) if self.combine is None else self._combined_step(*args)

    def test_step(self, *args):
        """Evaluates a batch, of streams or plain."""
        self._means.start()
        return super().test_step(*args)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the compiled metrics and returns the logs of this kind of batch."""
        metrics = keras_internals.compiled_metrics(self)
        if metrics is not None:
            y_pred = y_pred.get(PREDICTION) if self.is_streams(x) else y_pred
            if y is None or y_pred is None:
                raise ValueError(
                    f"Expected labels and an output named {PREDICTION!r} for the compiled metrics; "
                    f"received batches of {type(self).__name__} without them."
                )
            metrics.update_state(y, y_pred, sample_weight)
        return self._results(self._means.updated)

    def get_metrics_result(self):
        """Returns the logs; terms and what else was logged only where they were computed: no rows of zeros."""
        return self._results(self._means.counted())

    def save_own_variables(self, store):
        """Saves the state of random seeds (Dropout) too, which Keras leaves out, so that training goes on as before."""
        super().save_own_variables(store)
        for index, seed in enumerate(self._seeds()):
            store[f"seed_{index}"] = seed

    def load_own_variables(self, store):
        """Loads what `save_own_variables` saved."""
        names = list(store.keys())
        super().load_own_variables({name: store[name] for name in names if not name.startswith("seed_")})
        for index, seed in enumerate(self._seeds()):
            if f"seed_{index}" in names:
                seed.assign(store[f"seed_{index}"])

    def get_config(self):
        """Returns the constructor's arguments, read from the attributes of the same names."""
        own = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self._config_names()}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        """Makes the model that `get_config` describes."""
        own = {name: keras.saving.deserialize_keras_object(config[name]) for name in cls._config_names()}
        return cls(**{**config, **own})

    @classmethod
    def _config_names(cls):
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]

    def _seeds(self):
        weights = {id(weight) for weight in self.weights}
        return [variable for variable in self.variables if id(variable) not in weights]

    def _expected_streams(self, x):
        received = f"a dict of {tuple(x)}" if isinstance(x, dict) else f"plain input ({type(x).__name__})"
        return ValueError(
            f"Expected {type(self).__name__} to train on batches whose `x` is a dict with the streams {self.streams}; "
            f"received {received}."
        )

    def _results(self, shown):
        hidden, total = set(self._means.places) - set(shown), self._means.total("loss")
        logs = {name: value for name, value in super().get_metrics_result().items() if name not in hidden}
        if total is not None:  # it may have been kept in training alone, or in evaluation
            logs["loss"] = ops.where(total[1] > 0, total[0], logs["loss"])
        return logs

    def _measured(self, x, y, outputs, sample_weight):
        """The terms as float32, logged after a check that they are those declared."""
        terms = self.loss_terms(x, y, outputs, sample_weight)
        if set(terms) != set(self.term_weights):
            raise ValueError(
                f"Expected {type(self).__name__}.loss_terms to return the declared terms "
                f"{sorted(self.term_weights)}; received {sorted(terms)}."
            )
        terms = {name: ops.cast(value, "float32") for name, value in terms.items()}  # float16 networks give float16
        weights = rows = _rows(x)
        if COUNTS in outputs:
            weights = {f"{name}_term": outputs[COUNTS].get(name, rows) for name in terms}
        self._means.update_state({f"{name}_term": value for name, value in terms.items()}, weights)
        return self._scaled(terms)

    def _scaled(self, terms):
        """The terms as they are minimised, where that is not as they are logged."""
        return terms

    def _keep_loss(self, total, terms, outputs, x, training):
        """Keeps the mean of what is minimised, where terms are means over other numbers than the rows.

        Keras's mean of batches by their rows would depend on how the labels fall into them. Here each such term's part
        of the loss counts by its number, the rest by the rows; the logged `loss` is the sum of these means.
        """
        counts = outputs.get(COUNTS)
        if not counts:
            return
        weights = {name: self.term_weights[name] for name in counts}
        layers = {id(w): w for w in weights.values() if isinstance(w, keras.Layer)}
        slopes = {key: weighting.slopes(training) for key, weighting in layers.items()}
        parts = {
            name: terms[name] * (slopes[id(w)][name] if id(w) in slopes else self.now(w)) for name, w in weights.items()
        }
        known = sum(parts.values())
        parts[None] = ops.where(ops.isfinite(known), total - known, 0.0)
        self._means.update_state(parts, {**counts, None: _rows(x)}, total="loss")

    def _total(self, terms, training):
        """The weighted sum of the terms. A layer weighs all terms that name it as their weight."""
        together, total = {}, 0.0
        for name, value in terms.items():
            weight = self.term_weights[name]
            if isinstance(weight, keras.Layer):
                together.setdefault(id(weight), (weight, {}))[1][name] = value
            else:
                total += self.now(weight) * value
        return total + sum(weighting(losses, training=training) for weighting, losses in together.values())

    def _end_step(self, outputs):
        self.step.assign_add(1)
        self.advance(outputs)

    def _combined_step(self, *args):
        """A training step that takes the gradient of each term, and the update that `combine` makes of them."""
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(
                f"Expected Keras on the TensorFlow backend, where {type(self).__name__} combines gradients; received "
                f"{keras.backend.backend()!r}."
            )
        import tensorflow as tf

        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(*args)
        if not self.built:  # networks may be; where there are no streams the model itself is not called
            self.build(keras.tree.map_structure(lambda part: part.shape, x))
        optimizer, replicas = self.optimizer, self._replicas
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        scale = optimizer.scale_loss(ops.ones(())) if scaled else 1.0  # of float16
        shared = self.trainable_variables if self.shared_variables is None else list(self.shared_variables)
        own = [v for v in self.trainable_variables if not any(v is one for one in shared)]
        if not shared and not own:
            raise ValueError(f"Expected variables of {type(self).__name__} that train; received none: all are frozen.")
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(x, training=True) if self.streams else self.forward(x, training=True)
            terms = self._measured(x, y, outputs, sample_weight)
            total = self._total(terms, training=True)
            regularisers = sum(self.losses, ops.zeros(()))
            parts = {name: scale / replicas * self._alone(name) * value for name, value in terms.items()}
            as_they_are = [scale / replicas * regularisers] if self.losses else []
        # Each once, where several heads read the same.
        representation = {id(part): part for part in keras.tree.flatten(outputs.get(REPRESENTATION, ()))}
        watched = list(representation.values()) or [v.value for v in shared]

        def dense(gradients, sources):
            return [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in zip(gradients, sources)]

        def whole(part):
            """The gradient of the global batch, unscaled."""
            part = ops.cast(part, "float32") / scale if scaled else ops.cast(part, "float32")
            if representation:
                return all_rows(part)
            return tf.distribute.get_replica_context().all_reduce("sum", part) if replicas > 1 else part

        def share(part, like):
            """What of an update is this replica's to apply."""
            if not representation:
                return scale / replicas * part if scaled or replicas > 1 else part
            rows = tf.shape(like)[0]
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * rows
            return ops.cast(scale * part[first : first + rows], like.dtype)

        sources = [*watched, *(v.value for v in own)]
        by_term, plain = {}, [tf.zeros_like(v.value) for v in own]
        for name, part in parts.items():
            gradients = tape.gradient(part, sources)
            if representation and all(one is None for one in gradients[: len(watched)]):
                as_they_are.append(part)
                continue
            gradients = dense(gradients, sources)
            by_term[name] = [whole(one) for one in gradients[: len(watched)]]
            plain = [a + b for a, b in zip(plain, gradients[len(watched) :])]
        update = self.combine(by_term)
        if len(update) != len(watched):
            raise ValueError(
                f"Expected {type(self).__name__}.combine to return a list of as many tensors as it gets for each term, "
                f"{len(watched)}; received {len(update)}."
            )
        update = [share(part, like) for part, like in zip(update, watched)]
        variables, values = [*shared, *own], [v.value for v in (*shared, *own)]
        if representation:
            update = dense(tape.gradient(watched, values[: len(shared)], output_gradients=update), values)
        found = [*update, *plain]
        if as_they_are:
            found = [a + b for a, b in zip(found, dense(tape.gradient(as_they_are, values), values))]
        self._end_step(outputs)
        optimizer.apply_gradients(zip(found, variables))
        keras_internals.loss_tracker(self).update_state(total + regularisers, sample_weight=_rows(x))
        self._keep_loss(total + regularisers, terms, outputs, x, training=True)
        return self.compute_metrics(x, y, outputs if self.streams else outputs[PREDICTION], sample_weight)

    def _alone(self, name):
        """The weight of a term whose gradient is taken alone, where a layer weighs gradients rather than terms."""
        weight = self.term_weights[name]
        return 1.0 if isinstance(weight, keras.Layer) else self.now(weight)

    @property
    def _replicas(self):
        return self.distribute_strategy.num_replicas_in_sync if keras.backend.backend() == "tensorflow" else 1


def signatures_of(model, x, classes=None, prepare=None, input_name="images", outputs=None):
    """Returns the signatures of a method, or of any other Keras model.

    Those of the latter are one, `serving_default`: one output (batch, ...) is served as `prediction`, or as the classes
    that it is stated to be; a dict of outputs each under its own key.

    Args:
        model: built `keras.Model`.
        x: see `TransferModel.signatures`, as are the others.
        classes: class names in the order of the logits, or None.
        prepare: function from `x` to the model's input, or None.
        input_name: name of the one input.
        outputs: what the output is, or None.

    Returns:
        `{name: kt.signatures.Signature}`.
    """
    if isinstance(model, TransferModel):
        stated = {} if outputs is None else {"outputs": outputs}  # methods may say nothing of `outputs`
        return model.signatures(x, classes, prepare, input_name, **stated)
    request = named(x, input_name)
    read, stated = reader(x, request, prepare), stated_outputs(model, "model", classes, outputs)

    def serving_default(inputs):
        return predicted(model(read(inputs), training=False), classes, stated)

    def expected(inputs):
        return predicted(own_prediction(model, read(inputs)), classes, stated)

    return {"serving_default": Signature(serving_default, request, expected=expected)}


def stated_outputs(network, name, classes=None, outputs=None):
    """Returns what the output of a network is, as its user states it, after a check that the network agrees.

    Args:
        network: the network that makes the output; or a dict of one for each task.
        name: str, what it is called in errors.
        classes: list of class names, or a dict of the names of those tasks that are classifications; or None.
        outputs: what the output is, or a dict of that for each task that is a classification. `"logits"`, of classes
            that exclude one another, which is also what `classes` alone say; `"probabilities"`, those of a softmax or,
            of one column, of a sigmoid; `"multi_label"`, one logit for each label, or where the network ends in a
            sigmoid one probability; `"multi_label_probabilities"`, for a sigmoid that the network hides. None: it is
            no classification, unless `classes` say so.

    Returns:
        One of `KINDS`, or None for a prediction that is served as it is; of several tasks a dict of those that are
        classifications.

    Raises:
        ValueError: if a network that is said to return logits ends in a softmax, a sigmoid or the like; if `outputs`
            is none of those above, or not a dict of tasks that are there.
    """
    tasks = _tasks(network)
    if tasks is None and not isinstance(classes, dict) and not isinstance(outputs, dict):
        return _stated(network, name, classes, outputs)
    for argument, value in (("classes", classes), ("outputs", outputs)):
        one_for_all = value is None or (argument == "outputs" and isinstance(value, str))
        if not one_for_all and not (isinstance(value, dict) and set(value) <= set(tasks or value)):
            among = f" among {list(tasks)}" if tasks else ""
            received = list(value) if argument == "classes" else value
            raise ValueError(f"Expected `{argument}` as a dict of tasks{among}; received {received}.")
    stated = outputs if isinstance(outputs, dict) else {}
    if isinstance(outputs, str):
        stated = dict.fromkeys((tasks or ()) if classes is None else classes, outputs)
    chosen = [task for task in tasks or {**(classes or {}), **stated} if task in stated or task in (classes or {})]
    parts = tasks or dict.fromkeys(chosen, network)
    kinds = {
        task: _stated(parts[task], f"{name}[{task!r}]", (classes or {}).get(task), stated.get(task)) for task in chosen
    }
    return {task: kind for task, kind in kinds.items() if kind is not None}


def _tasks(network):
    """The network of each task, of a dict of networks or of a functional model that returns a dict; else None."""
    if isinstance(network, dict):
        return network
    output = getattr(network, "output", None) if getattr(network, "outputs", None) else None
    if not isinstance(output, dict):
        return None
    return {task: keras.Model(network.inputs, part) for task, part in output.items()}


def _stated(network, name, classes, outputs):
    kind = "logits" if outputs is None and classes is not None else outputs
    if kind is not None and kind not in KINDS:
        raise ValueError(f"Expected `outputs` to be one of {KINDS}; received {outputs!r}.")
    layer = final_activation(network) if kind in ("logits", "multi_label") else None
    if layer is None:
        return kind
    if kind == "multi_label":
        return "multi_label_probabilities"
    activation = getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__)
    raise ValueError(
        f"Expected `{name}` to return logits, as where `classes` are given and nothing else is said; received "
        f"{network.name!r}, whose layer {layer.name!r} ({activation}) makes probabilities. Pass "
        '`outputs="probabilities"` for one class among several, `outputs="multi_label"` for labels that are '
        "independent of one another, or leave that layer out."
    )


def _rows(x):
    return ops.shape(keras.tree.flatten(x)[0])[0]
