"""scikit-learn, which is loaded where it is used."""

import importlib


def sklearn(name):
    """Returns a module of scikit-learn by its name, such as `"linear_model"`.

    Raises:
        ImportError: if the package is missing, with the line that installs it.
    """
    return _module(f"sklearn.{name}")


def feature_scaler(**kwargs):
    """Returns a `StandardScaler` that leaves features as they are whose spread is the rounding of all others.

    A dead unit of a network varies by some 1e-33. Divided by that it means nothing while the network stays, and becomes
    infinite as soon as it trains on.

    Args:
        **kwargs: those of `StandardScaler`.
    """

    class FeatureScaler(sklearn("preprocessing").StandardScaler):
        def partial_fit(self, X, y=None, sample_weight=None):  # noqa: N803, as scikit-learn names it
            super().partial_fit(X, y, sample_weight)
            if self.scale_ is not None:
                self.scale_[self.scale_ < 1e-7 * self.scale_.max()] = 1.0
            return self

    return FeatureScaler(**kwargs)


def one_thread():
    """Returns a context in which the linear algebra of NumPy and SciPy takes one thread.

    The products of a small regression are tiny and many: threads that wait for one another on busy cores cost more
    than they save.
    """
    return _module("threadpoolctl").threadpool_limits(1)  # which scikit-learn needs


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError("This metric needs scikit-learn: pip install 'keras_transfer[recipes]'.") from error
