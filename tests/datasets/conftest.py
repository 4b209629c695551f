import os
from pathlib import Path

import pytest


@pytest.fixture
def data():
    """The folder of public data, or a skip with the reason."""

    def folder(name):
        root = os.environ.get("KERAS_TRANSFER_DATA")
        if not root or not Path(root, name).is_dir():
            pytest.skip(f"KERAS_TRANSFER_DATA is not set or has no folder {name}")
        return Path(root, name)

    return folder
