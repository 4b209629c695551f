"""Rows that stay where they are stored until they are asked for."""

import abc

import numpy as np


class StoredRows(abc.ABC):
    """What streams and `cached_features` take in place of an array `(rows, ...)` that does not fit in memory.

    `len(rows)` is the number of rows; `rows[places]`, for a slice or an integer array, reads them into an array.
    `kt.datasets.ImageFiles` is one; a subclass may read from anywhere else, from several threads at once.
    """

    dtype = np.dtype("uint8")
    """The `numpy.dtype` of what is read."""

    @property
    @abc.abstractmethod
    def shape(self):
        """The shape of all rows as one array; None where an axis is not known."""

    @abc.abstractmethod
    def __len__(self):
        """The number of rows."""

    @abc.abstractmethod
    def __getitem__(self, places):
        """Reads rows into an array of `dtype`."""

    @abc.abstractmethod
    def subset(self, places):
        """Returns the stored rows at these places, without reading them."""
