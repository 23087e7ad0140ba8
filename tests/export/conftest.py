"""Frozen models that nothing was trained for."""

from collections.abc import Callable

import pytest
from random_model import random_model

from fusion_ln.frozen.load import FrozenModel


@pytest.fixture(scope="session")
def make_model() -> Callable[..., FrozenModel]:
    """Build models: see `random_model`."""
    return random_model
