"""How a problem is put to the model, whatever its source: text around it, chat messages, worked examples first."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from grpo_jax.data.contamination import normalized
from grpo_jax.data.example import Example

ROLES = ("system", "user")


@dataclasses.dataclass(frozen=True)
class Template:
  """Options of every source; each "" or empty is off.

  A worked example is a (problem, solution); as text it is `shot_template`, in a chat a user's and an assistant's turn.
  """

  prompt_template: str = ""  # text around the problem, with {prompt} in it
  chat_template: Mapping[str, str] = dataclasses.field(default_factory=dict)  # {"system": …, "user": … {prompt} …}
  shots: int | Sequence[Mapping[str, str]] = 0  # so many of the training split, or [{"prompt": …, "solution": …}, …]
  shot_template: str = "{prompt} {solution}\n\n"  # {prompt} is the example as `prompt_template` has it

  def __post_init__(self):
    if self.prompt_template and self.chat_template:
      raise ValueError(
        f"prompt_template={self.prompt_template!r} must be '' with a chat_template; write it in chat_template.user."
      )
    if self.chat_template and (set(self.chat_template) - set(ROLES) or "user" not in self.chat_template):
      raise ValueError(
        f"chat_template={dict(self.chat_template)!r} must have user, may have system, nothing else; change its keys."
      )
    for key, text, words in (
      ("prompt_template", self.prompt_template, ("{prompt}",)),
      ("chat_template.user", self.chat_template.get("user", ""), ("{prompt}",)),
      ("shot_template", self.shot_template, ("{prompt}", "{solution}")),
    ):
      for word in words:
        if text and word not in text:
          raise ValueError(f"{key}={text!r} must contain {word}; add it.")
    if isinstance(self.shots, int):
      if self.shots < 0:
        raise ValueError(f"shots={self.shots} must not be negative; give a number of worked examples or a list.")
    elif not all(isinstance(shot, Mapping) and set(shot) == {"prompt", "solution"} for shot in self.shots):
      raise ValueError(f"shots={self.shots!r} must each have prompt and solution and nothing else; correct them.")

  def __bool__(self) -> bool:
    return bool(self.prompt_template or self.chat_template or self.shots)

  def ask(self, problem: str, shots: Sequence[tuple[str, str]]) -> str | tuple[dict, ...]:
    """The prompt of a problem behind (problem, solution) pairs."""
    if not self.chat_template:
      before = "".join(_fill(self.shot_template, prompt=self._said(p), solution=s) for p, s in shots)
      return before + self._said(problem)
    turns = [("system", self.chat_template["system"])] if self.chat_template.get("system") else []
    for shot, solution in shots:
      turns += [("user", self._said(shot)), ("assistant", solution)]
    turns.append(("user", self._said(problem)))
    return tuple({"role": role, "content": content} for role, content in turns)

  def _said(self, problem: str) -> str:
    around = self.chat_template.get("user", "") or self.prompt_template
    return _fill(around, prompt=problem) if around else problem


def _fill(template: str, **texts: str) -> str:
  """The template with {prompt} and {solution} replaced, in one pass: braces of the texts mean nothing."""
  return re.sub(r"\{(prompt|solution)\}", lambda match: texts.get(match[1], match[0]), template)


class TemplatedSource:
  """A source whose problems are put by a template; `bare` is the source without it.

  Shots from the training split are the same for every problem; a problem that is one of them gets another in its
  place, so none ever sees its own solution. One that is among given shots does without that one.
  """

  def __init__(self, bare: Any, template: Template, train: Any):
    self.bare, self.template = bare, template
    if isinstance(template.shots, int):
      self._shots, self._count = _drawn(train, template.shots), template.shots
    else:
      self._shots = [(shot["prompt"], shot["solution"].strip()) for shot in template.shots]
      self._count = len(self._shots)
    self[0]  # chat messages are refused now

  def __len__(self) -> int:
    return len(self.bare)

  def __getitem__(self, i: int) -> Example:
    example = self.bare[i]
    problem = _plain(example)
    others = [shot for shot in self._shots if normalized(shot[0]) != normalized(problem)]
    return dataclasses.replace(example, prompt=self.template.ask(problem, others[: self._count]))


def _plain(example: Example) -> str:
  if not isinstance(example.prompt, str):
    raise ValueError(
      f"{example.source}: the prompt {str(example.prompt)[:80]!r} is chat messages already, must be text for a"
      " prompt_template, chat_template or shots; leave these out."
    )
  return example.prompt


def _drawn(train: Any, count: int) -> list[tuple[str, str]]:
  """`count` + 1 distinct training problems with right solutions, spread over the rows: one to spare."""
  shots: dict[str, tuple[str, str]] = {}
  n = len(train)
  step = next(step for step in range(int(0.618 * n) or 1, n + 2) if math.gcd(step, n) == 1)  # so every row comes once
  for i in range(n if count else 0):
    example = train[i * step % n]
    solution = example.chosen or example.solution or example.answer
    shots.setdefault(normalized(_plain(example)), (example.prompt, solution.strip()))
    if len(shots) > count:
      return list(shots.values())
  if count:
    raise ValueError(
      f"shots={count} must be fewer than the distinct training problems, of which there are {len(shots)}; lower it."
    )
  return []
