"""What libraries say about themselves stays off the terminal of every command."""

import os


def quiet() -> None:
  """Silences transformers' advice about PyTorch and absl's warnings; errors still show. Each `main` calls it first.

  transformers reads its variables when it is imported, so the package imports it inside functions.
  """
  from absl import logging

  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's and XLA's own log lines below errors
  logging.set_verbosity(logging.ERROR)
