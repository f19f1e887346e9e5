"""Trains: `python -m grpo_jax.main --config=configs/arithmetic.py [--workdir=…] [--config.key=value …]`.

The same command resumes where it was, bit for bit, or says that the run is done.
"""

import os
import pathlib
import re
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

from grpo_jax.config.identity import identity

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; fields can be replaced: --config.a.b=value.")
NOTHING_LEARNED_STATUS = 65  # refused updates only: the same command would end so again
PREEMPTED_STATUS = 143  # as of a process that SIGTERM ended; schedulers requeue on it
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default runs/NAME-HASH of the config.")
STRICT = flags.DEFINE_bool("strict", False, "Stop at the first finding of the doctor: --config.doctor.strict=True.")


def run(config, workdir: pathlib.Path) -> dict:
  """All stages of `config.task` in `workdir`; returns the summary."""
  import jax

  from grpo_jax.distributed.multihost import check_agreement, code_version, is_first
  from grpo_jax.rewards.combine import Rewards
  from grpo_jax.runs.evaluate import run_eval
  from grpo_jax.runs.export import write_export
  from grpo_jax.runs.fused import run_fused
  from grpo_jax.runs.report import write_report
  from grpo_jax.runs.rl import run_rl
  from grpo_jax.runs.setup import facts_of, make_setup
  from grpo_jax.runs.stage import claim
  from grpo_jax.runs.supervised import run_preference, run_sft

  check_agreement({"config": identity(config), "code": code_version(), "jax": jax.__version__})
  setup = make_setup(config)
  check_agreement({"data": facts_of(setup)})
  r = config.rewards
  options = {"workers": r.workers, "deadline_seconds": r.deadline_seconds, "max_error_rate": r.max_error_rate}
  params = None
  if config.task == "eval":
    claim(workdir, config)
    return run_eval(setup, workdir)
  if not config.task.endswith("rl"):
    claim(workdir, config)
    params = run_sft(setup, workdir) if config.task.startswith("sft") else None
    if config.task != "sft":
      params = run_preference(setup, workdir, config.task.removeprefix("sft_then_"), params)
  else:
    with Rewards(r.components.to_dict(), **options) as rewards:
      claim(workdir, config)
      if r.self_test:
        test = rewards.self_test(setup.heldout.examples[: r.self_test])
        print(f"verifier self-test: gold {test['gold']:.3f}, wrong {test['wrong']:.3f} (n {test['n']})", flush=True)
      if config.task == "sft_then_rl":
        params = run_sft(setup, workdir)
      params = (run_fused if config.train.fused_iterations else run_rl)(setup, workdir, rewards, params)
  if config.checkpoint.export:
    print("exported:", *write_export(setup, workdir, params))
  return write_report(workdir, config) if is_first() else {}


def parse(argv):
  """Flags, or one sentence: about a flag, an argument of the config file, or a key that the schema does not have."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:  # what a config file raises comes with its traceback as text, the reason last
    sys.exit("error: " + str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: "))
  except (AttributeError, KeyError) as error:
    if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
      raise  # the config file's own mistake, not a key that the schema lacks
    file = next((a.split("=", 1)[1].split(":")[0] for a in argv if a.startswith("--config=")), "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if file and f.filename.endswith(file)]
    text = str(error.args[0])
    key = (re.findall(r"[\"'](\w+)[\"'\\]", text) or [text])[0]
    where = f"{file} line {frames[-1].lineno}" if frames else next((a for a in argv if key in a), "--config")
    hint = "".join(f"; did you mean {name!r}?" for name in re.findall(r'Did you mean "(\w+)"', text)[:1])
    sys.exit(f"error: {where}: {key!r} is not a key of the schema (grpo_jax/config/defaults.py){hint}")


def main(argv):
  """Runs the config of the flags in its workdir; bad input ends in one sentence and exit status 1.

  Exit status 143 says that the run was asked to stop (SIGTERM) and has saved: the same command continues it.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments {argv[1:]}")
  from grpo_jax.distributed.multihost import initialize
  from grpo_jax.distributed.preemption import Preempted
  from grpo_jax.rewards.self_test import RewardError
  from grpo_jax.runs.stage import NothingLearned

  logging.set_verbosity(logging.ERROR)
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  config = CONFIG.value
  config.doctor.strict = config.doctor.strict or STRICT.value
  initialize()
  workdir = pathlib.Path(WORKDIR.value or f"runs/{config.name}-{identity(config)}")
  print(f"workdir: {workdir}", flush=True)
  try:
    run(config, workdir)
  except Preempted as stop:
    print(f"preempted: {stop}", flush=True)
    sys.exit(PREEMPTED_STATUS)
  except NothingLearned as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(NOTHING_LEARNED_STATUS)
  except (ValueError, RewardError) as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    sys.exit(f"error: {error}; what was saved before is whole: make room or restore access, and run the same command")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  app.run(main, flags_parser=parse)
