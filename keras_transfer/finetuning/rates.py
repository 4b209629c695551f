"""Layer-wise learning rates: each group of variables learns at its own multiple of one base rate."""

import functools
import math
import re

import keras
from keras import ops

from keras_transfer.keras_internals import give_rate, given_rate

DIVIDE_BY_THE_RATE = (keras.optimizers.Ftrl, keras.optimizers.ScheduleFreeAdamW)


def discriminative_rates(groups, decay=1 / 2.6):
    """Returns rates that fall from the output to the input: `decay**depth`, where the last group has depth 0.

    Args:
        groups: list of patterns from the input to the output, or of lists of patterns that share a rate. See
            `LayerwiseOptimizer` for patterns.
        decay: float in (0, 1], the ratio of the rates of neighbouring groups.

    Returns:
        Dict of patterns to multipliers for `LayerwiseOptimizer`.

    Raises:
        ValueError: if `decay` is out of range.

    Example:

    ```python
    rates = discriminative_rates([".*stem/.*", ".*block_1/.*", ".*block_2/.*"])  # 0.148, 0.385, 1.0
    ```

    Reference:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, ACL 2018, arXiv:1801.06146.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"Expected `decay` in (0, 1]; received {decay}.")
    groups = [[group] if isinstance(group, str) else group for group in groups]
    return {pattern: decay ** (len(groups) - 1 - i) for i, group in enumerate(groups) for pattern in group}


@keras.saving.register_keras_serializable(package="keras_transfer")
class LayerwiseOptimizer(keras.optimizers.MultiOptimizer):
    """Gives groups of variables their own multiple of the learning rate of one optimizer.

    Each group has an optimizer of the same kind and settings. The update is scaled, not the gradient, so the multiplier
    means the same for Adam as for SGD, and weight decay is scaled with it. A group at 0 stays as it is, bit by bit,
    while its moments go on.

    - `learning_rate` reads and sets the base rate: `LearningRateScheduler`, `ReduceLROnPlateau` and the log of
      `TensorBoard` work, and a schedule may be passed to `optimizer`.
    - `multipliers` holds a `keras.Variable` for each pattern. Assign to it between epochs; nothing is compiled or
      traced again, and the values are saved with the optimizer. See `callbacks.GradualUnfreeze`.
    - Patterns are read when the optimizer is first built. A saved optimizer remembers which variable belongs to which,
      because Keras names variables of nested models otherwise after loading.
    - `clipnorm` and `clipvalue` clip each variable as ever; `global_clipnorm` takes the norm of each group by itself.

    Args:
        optimizer: new `keras.optimizers.Optimizer` with a float or a schedule as its learning rate, or its name. Not
            Ftrl or ScheduleFreeAdamW, which divide by the rate.
        rates: dict of patterns to multipliers, floats of at least 0. A pattern is a regular expression that matches the
            whole `path` of variables (`re.fullmatch`), such as `.*block_1/.*`; what matches none has multiplier 1.
        name: str.

    Raises:
        ValueError: if an argument is not as above; when it is built, if a pattern matches no trainable variable or
            two match the same one.

    Example:

    ```python
    rates = {".*block_1/.*": 0.1, ".*block_2/.*": 0.3}
    model.compile(LayerwiseOptimizer(keras.optimizers.Adam(1e-3), rates), loss)
    ```
    """

    learning_rate = keras.optimizers.Optimizer.learning_rate  # MultiOptimizer takes it away

    def __init__(self, optimizer, rates, name="layerwise_optimizer"):
        optimizer = keras.optimizers.get(optimizer)
        wrong = (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer, *DIVIDE_BY_THE_RATE)
        if isinstance(optimizer, wrong) or optimizer.built:
            kind = type(optimizer).__name__ + (" that has been used" if optimizer.built else "")
            names = ", ".join(cls.__name__ for cls in wrong)
            raise ValueError(f"Expected a new optimizer, and none of {names}; received {kind}.")
        for pattern, multiplier in rates.items():
            re.compile(pattern)
            if not 0 <= multiplier < math.inf:
                raise ValueError(f"Expected multipliers of at least 0; received {multiplier} for {pattern!r}.")
        super().__init__(self._optimizer_of, optimizer.loss_scale_factor, name)
        rate = given_rate(optimizer)
        if isinstance(rate, keras.Variable):
            self.learning_rate = float(rate.numpy())
        else:
            give_rate(self, rate)
        self.rates = dict(rates)
        self.multipliers = {
            pattern: self.add_variable(
                (),
                keras.initializers.Constant(multiplier),
                aggregation="only_first_replica",
                name=f"multiplier_{index}",
            )
            for index, (pattern, multiplier) in enumerate(rates.items())
        }
        self._base = keras.saving.serialize_keras_object(optimizer)
        self._patterns = []  # of each variable, in the order of building
        make = functools.partial(_with_rate, optimizer)
        self._rest = make(lambda: self.learning_rate)
        self._groups = {pattern: make(functools.partial(self._rate, pattern)) for pattern in rates}

    def build(self, variables):
        """Creates the state of the optimizer.

        Args:
            variables: list of the variables to train.
        """
        if self.built:
            return
        if len(self._patterns) != len(variables):
            self._patterns = self._match([variable.path for variable in variables])
        self._pattern_of = dict(zip(map(id, variables), self._patterns))
        super().build(variables)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Excludes variables from weight decay, as in Keras; before building, and again after loading."""
        for optimizer in (self._rest, *self._groups.values()):
            optimizer.exclude_from_weight_decay(var_list, var_names)

    @property
    def optimizers(self):
        """Hides the groups, since Keras's callbacks would set the rate of each instead of the base rate."""
        raise AttributeError("The rates of the groups follow `learning_rate` and `multipliers`.")

    def get_config(self):
        """Returns the constructor's arguments and which variable belongs to which pattern."""
        rate = given_rate(self)
        if isinstance(rate, keras.Variable):
            rate = float(rate.numpy())
        config = {**self._base["config"], "learning_rate": keras.saving.serialize_keras_object(rate)}
        optimizer = {**self._base, "config": config}
        return {
            "optimizer": optimizer,
            "rates": dict(self.rates),
            "name": self.name,
            "patterns": list(self._patterns),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the optimizer that `get_config` describes."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects=custom_objects)
        made = cls(optimizer, config["rates"], config["name"])
        made._patterns = config["patterns"]
        return made

    def _rate(self, pattern):
        return ops.multiply(self.learning_rate, self.multipliers[pattern])

    def _optimizer_of(self, variable):
        return self._groups.get(self._pattern_of[id(variable)], self._rest)

    def _match(self, paths):
        found = [[pattern for pattern in self.rates if re.fullmatch(pattern, path)] for path in paths]
        for path, patterns in zip(paths, found):
            if len(patterns) > 1:
                raise ValueError(
                    f"Expected at most one pattern of `rates` for a variable; received {patterns} for {path!r}."
                )
        lost = [pattern for pattern in self.rates if [pattern] not in found]
        if lost:
            raise ValueError(
                "Expected patterns of `rates` that match whole paths of trainable variables; received "
                f"{lost}, which match none of {len(paths)}, such as {paths[:8]}."
            )
        return [patterns[0] if patterns else None for patterns in found]


def _with_rate(optimizer, rate):
    return type(optimizer).from_config({**optimizer.get_config(), "learning_rate": rate})
