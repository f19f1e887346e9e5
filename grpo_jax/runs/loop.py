"""The loop of every stage: resume, evaluate, step, log, save."""

from collections.abc import Callable


def loop(stage, state, compiled: Callable, step: Callable, evaluate: Callable | None = None, every: int = 0):
  """From wherever the stage is to its end; the last state.

  Args:
    state: of a run that begins; a checkpoint's takes its place.
    compiled: called with it before the first step of a start, to compile all that comes after; not for a stage that is
      done.
    step: `(state, i) -> (state, [(numbers, line) of iteration i + 1, i + 2, …])`, at least one.
    evaluate: `(i, state) -> number of the checkpoint`, before the first step, every `every` iterations and at the end.
  """
  stage.warm_up(state)
  if not stage.done:
    compiled(state)
  state, i = stage.resume(state), stage.start
  if evaluate and i == 0:
    evaluate(0, state)
  while i < stage.total:
    state, told = step(state, i)
    for numbers, line in told:
      i += 1
      stage.log(i, "train", numbers, line)
    due = evaluate and (i == stage.total or (every and i % every == 0))
    stage.maybe_save(i, state, evaluate(i, state) if due else None)
  return state
