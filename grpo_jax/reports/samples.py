"""The page of samples: prompts and completions of the kept rollouts, token by token, one file that needs no network."""

import base64
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jinja2
import numpy as np

from grpo_jax.reports.rollouts import KeptRollout

LEVELS = 32767  # of an int16; numbers are stored as whole shares of the largest
FAR = 95.0  # percentile of the magnitudes at which a colour is full


class Quantity(NamedTuple):
  """One number per token that colours may show."""

  key: str
  name: str
  signed: bool  # two colours around zero
  about: str
  shown: str = "number"  # how the page writes it: number | share | exp | minus_exp


QUANTITIES = (
  Quantity("advantage", "advantage", True, "as the updates of this iteration took it"),
  Quantity("share", "gradient share", True, "of the sum of |dL/dlog p| over the rollout, when the updates began; "
           "positive: the token is pushed up", "share"),
  Quantity("log_ratio", "ratio", True, "probability after the updates of this iteration / before; colour: its log",
           "exp"),
  Quantity("clip", "clip side", True, "+1 or -1 where the row's ratio had left the clip range on that side after the "
           "updates, so that no gradient was left"),
  Quantity("kl", "KL", True, "to the reference, the row's estimate, nats, after the updates of this iteration"),
  Quantity("entropy", "entropy", False, "of the next token, nats, after the updates of this iteration"),
  Quantity("surprise", "probability", False, "when it was sampled; colour: -log", "minus_exp"),
)


class Piece(NamedTuple):
  """A token as it is shown."""

  text: str
  special: bool


def _packed(a: np.ndarray, dtype) -> str:
  return base64.b64encode(np.ascontiguousarray(a, np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def quantities_of(kept: KeptRollout, rows: int) -> dict[str, np.ndarray]:
  """Numbers of the tokens of the first prompts, flat, in the order of prompts, members, tokens."""
  mask = kept.mask_BGT[:rows]
  arrays = {"advantage": np.broadcast_to(kept.advantages_BGT, kept.mask_BGT.shape), **kept.looks,
            "surprise": -kept.behavior_logps_BGT}
  return {name: a[:rows][mask].astype(np.float32) for name, a in arrays.items()}


def prompts_within(rollouts: list[KeptRollout], tokens: int) -> int:
  """The most prompts of each iteration, at least one, whose completions and prompts have so many tokens in all."""
  each = sum(np.cumsum(r.lengths_BG.sum(1) + r.prompt_lengths_B) for r in rollouts)
  return max(1, int((each <= tokens).sum()))


def _text(ids: Iterable[int], pieces: dict[int, Piece], decode: Callable) -> str:
  """What a search has to know besides the pieces: the text where characters are cut into several tokens."""
  ids = [int(i) for i in ids]
  joined = "".join(pieces[i].text for i in ids)
  return decode(ids) if "\ufffd" in joined else ""


def _prompts(kept: KeptRollout, rows: int, index: dict[int, int], pieces, decode) -> list[dict]:
  rewards, found = kept.signals["rewards_BG"], []
  for b in range(rows):
    ids = kept.prompts_BP[b][kept.prompt_mask_BP[b]]
    members = []
    for g in range(kept.lengths_BG.shape[1]):
      parts = {name: round(float(a[b, g]), 4) for name, a in kept.components.items() if g < a.shape[1]}
      own = kept.tokens_BGT[b, g, : kept.lengths_BG[b, g]]
      members.append({"reward": round(float(rewards[b, g]), 4), "parts": parts, "length": len(own),
                      "cut": bool(kept.truncated_BG[b, g]), "text": _text(own, pieces, decode)})
    found.append({"uid": int(kept.uids_B[b]), "source": str(kept.sources_B[b]), "ids": [index[int(i)] for i in ids],
                  "text": _text(ids, pieces, decode), "members": members})
  return found


def page_data(rollouts: list[KeptRollout], rows: int, piece: Callable[[int], Piece], decode: Callable) -> dict:
  """All that the page knows. `piece` spells one id, `decode` several."""
  present = [name for name in (q.key for q in QUANTITIES) if all(name in quantities_of(r, 0) for r in rollouts)]
  used = [np.concatenate([r.prompts_BP[:rows][r.prompt_mask_BP[:rows]], r.tokens_BGT[:rows][r.mask_BGT[:rows]]])
          for r in rollouts]
  ids = np.unique(np.concatenate(used)).tolist()
  index, pieces = {v: i for i, v in enumerate(ids)}, {v: piece(v) for v in ids}
  numbers = [quantities_of(r, rows) for r in rollouts]
  scales, shown = {}, []
  for q in QUANTITIES:
    if q.key in present:
      values = np.abs(np.concatenate([n[q.key] for n in numbers]))
      values = values[np.isfinite(values)]
      scales[q.key] = float(values.max(initial=0)) / LEVELS or 1.0
      some = values[values > 0]
      full = float(np.percentile(some, FAR)) if len(some) else 1.0
      shown.append({**q._asdict(), "scale": scales[q.key], "full": full})
  steps = []
  for kept, own in zip(rollouts, numbers, strict=True):
    tokens = kept.tokens_BGT[:rows][kept.mask_BGT[:rows]]
    places = np.searchsorted(np.asarray(ids), tokens)
    packed = {k: _packed(np.clip(np.rint(np.nan_to_num(own[k]) / scales[k]), -LEVELS, LEVELS), "int16")
              for k in present}
    steps.append({"step": kept.step, "prompts": _prompts(kept, min(rows, len(kept.uids_B)), index, pieces, decode),
                  "tokens": _packed(places, "uint32" if len(ids) > 65536 else "uint16"), "numbers": packed,
                  "of": len(kept.uids_B)})
  return {"pieces": [[pieces[v].text, int(pieces[v].special), v] for v in ids], "wide": len(ids) > 65536,
          "quantities": shown, "steps": steps}


def write_samples(out: pathlib.Path, title: str, about: str, data: dict) -> pathlib.Path:
  """Writes the page and returns its path; whatever a model says in it is text, never markup."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("grpo_jax.reports", "."), autoescape=True, undefined=jinja2.StrictUndefined)
  embedded = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
  out.write_text(environment.get_template("samples.html").render(title=title, about=about, data=embedded))
  return out
