"""What the tests of whole runs share."""

import functools

import jax
import pytest

from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.runs import setup


@pytest.fixture(scope="module")
def one_device():
  """Batches of a tiny run need not divide by the eight fake devices."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(setup, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:1]))
    yield
