"""The one base class: a Keras model whose training loss is a weighted sum of named terms."""

import inspect

import keras
from keras import ops

from keras_transfer.networks import check_network

PREDICTION = "prediction"


class TransferModel(keras.Model):
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
    - `step` counts training batches. It is saved with the model, so schedules go on after loading.

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
        terms: dict of the names of the loss terms to their weights. A weight is a float, or a
            `keras.optimizers.schedules.LearningRateSchedule` of `step`. A float is fixed once `fit` has traced it.
        **kwargs: `name`, `dtype` and the other arguments of `keras.Model`.
    """

    streams: tuple[str, ...] = ()

    def __init__(self, terms, **kwargs):
        super().__init__(**kwargs)
        self.term_weights = dict(terms)
        self._term_means = {name: keras.metrics.Mean(name=f"{name}_term") for name in terms}
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

    def infer(self, x, training=False):
        """Computes what is served from a plain input: the head's prediction, or where there is none the features."""
        features = self.encoder(x, training=training)
        return self.head(features, training=training) if hasattr(self, "head") else features

    def forward(self, x, training=False):
        """Computes the outputs that the loss terms need, as a dict; compiled losses and metrics see `prediction`."""
        if self.streams:
            raise NotImplementedError(f"{type(self).__name__} has streams and must define `forward`.")
        return {PREDICTION: self.infer(x, training=training)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns a dict with one scalar per term: plain means over the local batch, not weighted."""
        raise NotImplementedError(f"{type(self).__name__} must define `loss_terms`.")

    def advance(self):
        """Moves what does not learn by gradient, such as a teacher; once in a training step, before its update."""

    def total(self, terms, training=True):
        """Returns the weighted sum of the terms, which is minimised."""
        return sum(self.now(self.term_weights[name]) * value for name, value in terms.items())

    # What a method calls.

    def task_loss(self, y, y_pred, sample_weight=None):
        """Returns the compiled loss as a plain mean over the local batch."""
        if self._compile_loss is None:
            raise ValueError(f"Expected `{type(self).__name__}.compile` to be called with a `loss`; received None.")
        return self._compile_loss(y, y_pred, sample_weight) * self._replicas

    def now(self, value):
        """Returns a weight or strength at this step: a schedule's value, or the float itself."""
        return value(self.step) if isinstance(value, keras.optimizers.schedules.LearningRateSchedule) else value

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
            return super().compute_loss(None, y, y_pred, sample_weight)
        terms = self.measure_terms(x, y, y_pred, sample_weight)
        total = self.total(terms, training)
        if training:
            self.step.assign_add(1)
            self.advance()
        return (total + sum(self.losses)) / self._replicas

    def measure_terms(self, x, y, y_pred, sample_weight=None):
        """Returns the terms as float32 and logs them, after a check that they are those declared."""
        terms = self.loss_terms(x, y, y_pred if self.streams else {PREDICTION: y_pred}, sample_weight)
        if set(terms) != set(self.term_weights):
            raise ValueError(
                f"Expected {type(self).__name__}.loss_terms to return the declared terms "
                f"{sorted(self.term_weights)}; received {sorted(terms)}."
            )
        rows = ops.shape(keras.tree.flatten(x)[0])[0]
        terms = {name: ops.cast(value, "float32") for name, value in terms.items()}  # float16 networks give float16
        for name, value in terms.items():
            self._term_means[name].update_state(value, sample_weight=rows)
        return terms

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the compiled metrics and returns the logs of this kind of batch."""
        streams = self.is_streams(x)
        if self._compile_metrics is not None:
            y_pred = y_pred.get(PREDICTION) if streams else y_pred
            if y is None or y_pred is None:
                raise ValueError(
                    f"Expected labels and an output named {PREDICTION!r} for the compiled metrics; "
                    f"received batches of {type(self).__name__} without them."
                )
            self._compile_metrics.update_state(y, y_pred, sample_weight)
        return self._results(with_terms=streams or not self.streams)

    def get_metrics_result(self):
        """Returns the logs; the terms only where they were computed, so that plain data shows no rows of zeros."""
        counted = any(float(mean.count.numpy()) for mean in self._term_means.values())
        return self._results(with_terms=counted)

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

    def _results(self, with_terms):
        terms = set() if with_terms else {mean.name for mean in self._term_means.values()}
        results = super().get_metrics_result()
        return {name: value for name, value in results.items() if name not in terms}

    @property
    def _replicas(self):
        return self.distribute_strategy.num_replicas_in_sync if keras.backend.backend() == "tensorflow" else 1

    # Keras's `fit` fails under MultiWorkerMirroredStrategy (keras#20585) in two places, both mended below: building
    # from a batch of another worker's values, and averaging logs that have no axis to average over.

    @property
    def _multi_worker(self):
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        return isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self._multi_worker:
            return super()._maybe_symbolic_build(iterator, data_batch)
        if not all(layer.built for layer in self.layers):
            raise ValueError(
                "Expected built networks under MultiWorkerMirroredStrategy; received some that are not. "
                "Call `model.build(input_shape)` inside the strategy's scope."
            )
        self.build(None)
        with self.distribute_strategy.scope():
            if self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)

    def _make_function(self, step_function, **kwargs):
        if keras.backend.backend() != "tensorflow":
            return super()._make_function(step_function, **kwargs)
        import tensorflow as tf

        def create(next_creator, **kwargs):
            with tf.control_dependencies(None):  # XLA cannot create variables that wait
                return next_creator(**kwargs)

        def one_step(data):
            # Where the length of a dataset is unknown, a last step finds no data. What reads none (counters, teachers,
            # the row counts of metrics, Keras's own too) would move all the same, so that all of the step waits for it.
            found = [part for part in tf.nest.flatten(data, expand_composites=True) if part is not None]
            with tf.variable_creator_scope(create), tf.control_dependencies(found):
                logs = step_function(data)
            return {name: ops.reshape(value, (1,)) for name, value in logs.items()} if self._multi_worker else logs

        return super()._make_function(one_step, **kwargs)
