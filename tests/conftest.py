"""Eight fake CPU devices and a persistent compile cache, set before jax is imported; rank promotion is an error.

Programs run once or twice here, so XLA compiles them without LLVM's optimizations and with its plainer code
generator: that takes a fifth of the time.
"""

import importlib.metadata
import os
import pathlib

CACHE = pathlib.Path(__file__).parents[1] / ".cache" / "xla-tests"
FLAGS = ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA refuses to start with a flag it does not know
  FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS]).strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)

import jax  # noqa: E402
import pytest  # noqa: E402
import tiny  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


LONGEST = ("test_resume", "test_sweep_runs", "test_vmapped", "test_whole_runs", "test_resume_rows", "test_fused",
           "test_claim", "test_doctor", "test_lora_runs", "test_replay")


def pytest_collection_modifyitems(items):
  """The longest files first: a worker that begins one when the others have ended makes all wait."""
  items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture
def x64():
  """64-bit types for the duration of a test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def cfg():
  """The default tiny model."""
  return tiny.config()


@pytest.fixture(scope="session")
def params(cfg):
  """Its parameters, float32, large enough that every one of them matters."""
  return tiny.params(cfg)


@pytest.fixture(scope="session")
def prompts():
  """Four ragged prompts."""
  return tiny.prompts()
