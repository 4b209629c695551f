"""scikit-learn, which is loaded where it is used."""

import importlib


def sklearn(name):
    """Returns a module of scikit-learn by its name, such as `"linear_model"`.

    Raises:
        ImportError: if the package is missing, with the line that installs it.
    """
    return _module(f"sklearn.{name}")


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
