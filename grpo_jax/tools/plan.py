"""Plan before paying: compiles an RL run for a TPU topology on a machine without a TPU, and prints what it would take.

  pip install libtpu==0.0.42.1
  python -m grpo_jax.tools.plan --config=configs/pods/qwen2_5_7b.py --topology=v5e:16x16 [--config.key=value …]

The table goes to stdout, progress to stderr. Where the run does not fit, knobs are tried in the order of
`plan_fit.KNOBS` and the page is of the run with them; `--search` tries the splits of the mesh instead. Exit status 1:
nothing was found that fits. JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 compiles several times faster into other executables.
"""

import json
import os
import pathlib
import shlex
import sys

from absl import app, flags

from grpo_jax.main import CONFIG, parse
from grpo_jax.quiet import quiet

TOPOLOGY = flags.DEFINE_string("topology", None, "[SLICESx]CHIP:AxB[xC], e.g. v5e:16x16 or 2xv5e:16x16.")
SEARCH = flags.DEFINE_bool("search", False, "Try every split of the mesh and plan the best by the estimate.")
FIX = flags.DEFINE_bool("fix", True, "Where the run does not fit, look for the knob that brings it in.")
JSON = flags.DEFINE_string("json", None, "File that gets everything as JSON too.")


def say(*words):
  """Progress, beside the page."""
  print(*words, file=sys.stderr, flush=True)


def said(program) -> None:
  """One line as soon as a program is compiled."""
  sizes = f"{program.peak / 2**30:.2f} GiB, {program.beside / 2**30:.2f} beside it"
  say(f"{program.name}: {'refused, wanted' if program.error else 'peak'} {sizes}, {program.seconds_to_compile:.0f} s")


def planned(config, topology):
  """The plan to show, and remarks on how it was arrived at."""
  from grpo_jax.tools.plan_chips import topology_devices
  from grpo_jax.tools.plan_estimate import fits
  from grpo_jax.tools.plan_fit import bring_in, changed, search
  from grpo_jax.tools.plan_programs import compile_plan

  devices, chip, remarks = topology_devices(topology), topology.chip, []

  def note(line):
    say(line)
    remarks.append(f"- {line}")

  if SEARCH.value:
    found = search(config, devices, chip, note)
    if not found:
      raise ValueError(f"no split of {len(devices)} devices fits; lower train.micro_prompts, or take more chips.")
    config = changed(config, found[0][1])
    note(f"best by the estimate: {found[0][1]}")
  plan = compile_plan(config, devices, report=said)
  if not fits(plan, chip) and FIX.value:
    note("As configured it does not fit. Tried, in this order:")
    changes, better = bring_in(plan, devices, chip, note)
    arguments = " ".join(f"--config.{key}={value}" for key, value in changes.items())
    note(f"brought in by `{arguments}`" if better else "nothing brought it in; take more or larger chips.")
    plan = better or plan
  return plan, remarks


def main(argv):
  """Plans the config of the flags; bad input ends in one sentence and exit status 1."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments {argv[1:]}")
  os.environ["JAX_PLATFORMS"] = "cpu"  # the machine's own devices are not asked
  quiet()
  try:
    from grpo_jax.tools.plan_chips import parse_topology

    topology = parse_topology(TOPOLOGY.value)
    plan, remarks = planned(CONFIG.value, topology)
  except ValueError as error:
    sys.exit(f"error: {error}")
  from grpo_jax.tools.plan_estimate import fits
  from grpo_jax.tools.plan_table import as_dict, markdown

  command = shlex.join(["python", "-m", "grpo_jax.tools.plan", *sys.argv[1:]])
  print(markdown(plan, topology, f"{CONFIG.value.name} on {TOPOLOGY.value}", command, remarks), end="")
  if JSON.value:
    pathlib.Path(JSON.value).write_text(json.dumps(as_dict(plan, topology), indent=1) + "\n")
  sys.exit(0 if fits(plan, topology.chip) else 1)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  app.run(main, flags_parser=parse)
