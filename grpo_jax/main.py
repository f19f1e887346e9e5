"""Trains: `python -m grpo_jax.main --config=configs/arithmetic.py [--workdir=…] [--config.key=value …]`.

The same command resumes where it was, bit for bit, or says that the run is done.
"""

import contextlib
import pathlib
import re
import sys
import traceback

from absl import app, flags
from ml_collections import config_flags

from grpo_jax.config.identity import identity
from grpo_jax.config.local_paths import check_local
from grpo_jax.config.mistakes import check_readable, check_result, config_file, told
from grpo_jax.config.stages import stages_of
from grpo_jax.quiet import quiet

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; fields can be replaced: --config.a.b=value.")
NOTHING_LEARNED_STATUS = 65  # no update was finite, or none had a signal: the same command would end so again
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default runs/NAME-HASH of the config.")
STRICT = flags.DEFINE_bool("strict", False, "Stop at the first finding of the doctor: --config.doctor.strict=True.")


def run(config, workdir: pathlib.Path) -> dict:
  """All stages of `config.task` in `workdir`, which is this process's until the end; returns the summary."""
  from grpo_jax.distributed.owner import released

  check_local({"workdir": str(workdir)} | config.to_dict())
  with released(workdir):
    return _run(config, workdir)


def _run(config, workdir: pathlib.Path) -> dict:
  import jax

  from grpo_jax.distributed.multihost import check_agreement, code_version, is_first
  from grpo_jax.rewards.combine import Rewards
  from grpo_jax.runs.claim import claim
  from grpo_jax.runs.evaluate import run_eval
  from grpo_jax.runs.export import write_export
  from grpo_jax.runs.inputs import read_inputs
  from grpo_jax.runs.report import files_made, write_report
  from grpo_jax.runs.rl import run_rl
  from grpo_jax.runs.setup import facts_of, make_setup
  from grpo_jax.runs.supervised import run_preference, run_sft

  check_agreement({"config": identity(config), "code": code_version(), "jax": jax.__version__})
  inputs = read_inputs(config) if is_first() else None  # before anything reads them
  setup = make_setup(config)
  check_agreement({"data": facts_of(setup)})
  r, stages = config.rewards, stages_of(config.task)
  if stages == ("eval",):
    claim(workdir, config, inputs)
    results = run_eval(setup, workdir)
    if is_first():
      print("files:", *files_made(workdir), sep="\n", flush=True)
    return results
  options = {"workers": r.workers, "deadline_seconds": r.deadline_seconds, "max_error_rate": r.max_error_rate}
  with Rewards(r.components.to_dict(), **options) if "rl" in stages else contextlib.nullcontext() as rewards:
    if rewards:
      rewards.try_rules(setup.heldout.examples[0])
    claim(workdir, config, inputs)
    if rewards and r.self_test:
      test = rewards.self_test(setup.heldout.examples, n=r.self_test, train=setup.train.source)
      shares = f"gold {test['gold']:.3f}, wrong {test['wrong']:.3f} (n {test['n']})"
      print(f"verifier self-test: {shares if test['n'] else 'skipped, no rule judges answers'}", flush=True)
    params = run_sft(setup, workdir) if "sft" in stages else None
    if stages[-1] == "rl":
      params = run_rl(setup, workdir, rewards, params)
    elif stages[-1] != "sft":
      params = run_preference(setup, workdir, stages[-1], params)
  if config.checkpoint.export:
    print("exported:", *write_export(setup, workdir, params))
  return write_report(workdir, config) if is_first() else {}


def parse(argv):
  """Flags, or one sentence: about a flag, the config file, an argument of it, or a key that the schema lacks.

  An error of the config file's own code keeps its traceback, below the sentence.
  """
  file = config_file(argv)
  try:
    if file:
      check_readable(file)
    rest = flags.FLAGS(argv)
    if file:
      check_result(CONFIG.value, file)
    return rest
  except ValueError as error:
    sys.exit(f"error: {error}")
  except flags.Error as error:  # what a config file raises comes with its traceback as text, the reason last
    last = str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
    if file and last.endswith("must have a value other than None."):
      last = f"get_config() of {file} returns None; end it with: return config"
    sys.exit(f"error: {told(error, file) or last}")
  except (AttributeError, KeyError) as error:
    if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
      _leave(error, file)  # the config file's own mistake, not a key that the schema lacks
    frames = [f for f in traceback.extract_tb(error.__traceback__) if file and f.filename.endswith(file)]
    text = str(error.args[0])
    if "attribute 'get_config'" in text:
      _leave(error, file)
    key = (re.findall(r"[\"'](\w+)[\"'\\]", text) or [text])[0]
    where = f"{file} line {frames[-1].lineno}" if frames else next((a for a in argv if key in a), "--config")
    hint = "".join(f"; did you mean {name!r}?" for name in re.findall(r'Did you mean "(\w+)"', text)[:1])
    sys.exit(f"error: {where}: {key!r} is not a key of the schema (grpo_jax/config/defaults.py){hint}")
  except Exception as error:
    _leave(error, file)


def _leave(error: Exception, file: str):
  """Exit with what the config file did wrong; an error that it has no part in is raised again."""
  text = told(error, file)
  if not text:
    raise error
  sys.exit(f"error: {text}")


def main(argv):
  """Runs the config of the flags in its workdir; bad input ends in one sentence and exit status 1.

  Exit status 143 (130 after Ctrl-C, 129 after SIGHUP) says that the run was asked to stop and has saved: the same
  command continues it. 70 says that other processes of the run are gone; the same command continues it too. 65 says
  that the run learned nothing; it would again.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments {argv[1:]}")
  from grpo_jax.distributed.multihost import LostPeers, initialize, leave_lost, peers_lost
  from grpo_jax.distributed.preemption import Preempted
  from grpo_jax.rewards.self_test import RewardError
  from grpo_jax.runs.faults import NotFinite, NothingLearned

  quiet()
  config = CONFIG.value
  config.doctor.strict = config.doctor.strict or STRICT.value
  try:
    initialize()
  except ValueError as error:
    sys.exit(f"error: {error}")
  except LostPeers as error:
    leave_lost(error)
  workdir = pathlib.Path(WORKDIR.value or f"runs/{config.name}-{identity(config)}")
  print(f"workdir: {workdir}", flush=True)
  try:
    run(config, workdir)
  except Preempted as stop:
    print(f"preempted: {stop}", flush=True)
    sys.exit(stop.status)
  except KeyboardInterrupt:
    print("stopped between steps; what was saved before is whole, and the same command continues", flush=True)
    sys.exit(130)
  except (NothingLearned, NotFinite) as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(NOTHING_LEARNED_STATUS)
  except Exception as error:
    if peers_lost(error):
      leave_lost(error)
    if isinstance(error, OSError):
      sys.exit(f"error: {error}; what was saved before is whole: make room or restore access, and run the same command")
    if not isinstance(error, ValueError | RewardError | MemoryError):
      raise
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  app.run(main, flags_parser=parse)
