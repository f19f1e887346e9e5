"""The page of samples in a real browser: found by text, filtered, coloured, no errors, no network; and its parts."""

import json

import numpy as np
import pytest
from browser import needs_browser, opened, probed

from grpo_jax.config.defaults import default_config
from grpo_jax.models.load import resolve_model_path
from grpo_jax.reports.rollouts import KeptRollout, read_rollout, rollout_file, write_rollout
from grpo_jax.text.tokenizer import character_tokenizer, load_tokenizer
from grpo_jax.tools import view

B, G, P, T, STEPS = 32, 8, 6, 40, range(5, 205, 5)
ALPHABET = "0123456789+-=[]abcdefghijklmnopqrstuvwxyz <>/().\n"
HOSTILE = "</script><script>boom()</script>"
PROBE = """
  const at = (id) => document.getElementById(id);
  const set = (id, value) => { const e = at(id); e[e.type === "checkbox" ? "checked" : "value"] = value;
    e.dispatchEvent(new Event("input")); return at("shown").textContent; };
  const lines = () => [...document.querySelectorAll(".one .text")].map((e) => e.textContent);
  found.all = at("shown").textContent;
  found.needle = set("search", "NEEDLE");
  found.lines = lines();
  found.everywhere = set("everywhere", true);
  set("everywhere", false); set("search", "");
  found.high = set("low", "0.5");
  found.rewards = [...document.querySelectorAll(".facts b")].map((e) => e.textContent);
  set("low", "");
  found.cut = set("cut", "cut");
  set("cut", "");
  found.mixed = set("mixed", true);
  set("mixed", false);
  found.source = set("source", "b");
  at("clear").click();
  const spans = () => [...document.querySelectorAll(".one .text > span")];
  const backgrounds = () => spans().slice(0, 8).map((e) => e.style.background);
  found.advantage = backgrounds();
  set("quantity", "entropy");
  found.entropy = backgrounds();
  const key = (k) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key: k, bubbles: true}));
  found.at = at("at").textContent;
  key("ArrowLeft");
  found.before = at("at").textContent;
  key("j");
  found.focus = document.activeElement.querySelector("h2").textContent;
  const span = spans()[0];
  span.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  found.title = span.title;
  found.special = [...new Set([...document.querySelectorAll(".special")].map((e) => e.textContent))];
  set("step", 0); set("search", "script");
  found.hostile = lines();
  found.prompt = document.querySelector(".prompt").textContent;
"""


def rollout(tokenizer, step: int) -> KeptRollout:
  """A rollout of known texts: prompt b is `b+1=`; member 0 of prompt 0 says "needle" at the last step only."""
  rng, eos = np.random.default_rng(step), tokenizer.backend.eos_token_id
  tokens, lengths = np.zeros((B, G, T), np.int32), np.zeros((B, G), np.int32)
  prompts, prompt_lengths = np.zeros((B, P), np.int32), np.zeros(B, np.int32)
  for b in range(B):
    ids = tokenizer.encode(f"{b}+1=")
    prompts[b, P - len(ids):], prompt_lengths[b] = ids, len(ids)
    for g in range(G):
      text = HOSTILE if (step, b, g) == (STEPS[0], 1, 1) else "a needle" if (step, b, g) == (STEPS[-1], 0, 0) else ""
      ids = tokenizer.encode(text or "".join(rng.choice(list("0123456789"), rng.integers(2, 8))))
      ids = ids if b == 2 else [*ids, eos]
      tokens[b, g, : len(ids)], lengths[b, g] = ids, len(ids)
  rewards = np.zeros((B, G), np.float32)
  rewards[:4, ::2] = 1.0  # four mixed groups
  normal = lambda *shape: rng.normal(0, 1, shape).astype(np.float32)  # noqa: E731
  truncated = np.zeros((B, G), bool)
  truncated[2] = True
  looks = {name: normal(B, G, T) for name in ("log_ratio", "entropy", "kl", "share")}
  looks["clip"] = np.sign(normal(B, G, T))
  return KeptRollout(
    step, prompts, prompt_lengths, np.arange(B), np.array(["a", "b"] * (B // 2)), tokens, lengths, truncated,
    -np.abs(normal(B, G, T)), rewards[..., None] - 0.5, {"rewards_BG": rewards}, {"correct": rewards}, looks,
    np.zeros((3, 2), np.uint32), {"code": "x"})


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A run of forty kept iterations of 32 × 8 completions."""
  folder, config = tmp_path_factory.mktemp("run"), default_config()
  config.name, config.tokenizer.alphabet = "by <hand>", ALPHABET
  (folder / "config.json").write_text(json.dumps({"identity": {}, "config": config.to_dict()}))
  tokenizer = character_tokenizer(ALPHABET)
  for step in STEPS:
    write_rollout(rollout_file(folder, step), rollout(tokenizer, step))
  return folder


@needs_browser
def test_samples_are_found_filtered_and_coloured_without_errors_or_network(workdir, tmp_path):
  page = view.write_view(workdir)
  size = page.stat().st_size
  assert size < 5e6
  document, console = opened(page, tmp_path / "profile")
  assert not console and "by &lt;hand&gt;: samples" in document and "NaN" not in document.split("<script")[0]
  found, console = probed(page, tmp_path / "profile", PROBE)
  assert not console and found["fetched"] == []
  assert found["all"] == "256 completions of 32 prompts"
  assert found["needle"] == found["everywhere"] == "1 completion of 1 prompt" and found["lines"] == ["a needle<eos>"]
  assert found["high"] == "16 completions of 4 prompts" and set(found["rewards"]) == {"1"}
  assert found["cut"] == "8 completions of 1 prompt" and found["mixed"] == "32 completions of 4 prompts"
  assert found["source"] == "128 completions of 16 prompts"
  assert all(c.startswith("rgb(var(--up)") for c in found["advantage"]) and found["entropy"] != found["advantage"]
  assert found["at"].startswith("200 · reward 0.0625") and found["before"].startswith("195 · ")
  assert found["focus"].startswith("iteration 195 · prompt 0 · a · mean reward 0.5 · mixed")
  assert "gradient share" in found["title"] and "KL" in found["title"] and found["special"] == ["<eos>"]
  assert found["hostile"] == [HOSTILE + "<eos>"] and found["prompt"] == "1+1="
  print(f"page of 40 × 32 × 8 completions: {size / 1e6:.2f} MB, loaded in {found['milliseconds']:.0f} ms")


def test_a_kept_rollout_is_read_as_it_was_written(workdir):
  made, back = rollout(character_tokenizer(ALPHABET), STEPS[0]), read_rollout(rollout_file(workdir, STEPS[0]))
  for name, values in made.compared().items():
    np.testing.assert_array_equal(values, back.compared()[name])
  np.testing.assert_array_equal(np.where(made.mask_BGT, made.looks["clip"], 0), back.looks["clip"])
  np.testing.assert_allclose(np.where(made.mask_BGT, made.looks["share"], 0), back.looks["share"], rtol=1e-3)
  assert rollout_file(workdir, STEPS[0]).stat().st_size < 16 * made.lengths_BG.sum() + 8000


def test_long_pages_take_fewer_prompts(workdir, monkeypatch):
  monkeypatch.setattr(view, "TOKENS", 10_000)
  data = json.loads(view.write_view(workdir).read_text().split('id="data">')[1].split("</script>")[0])
  prompts = {len(step["prompts"]) for step in data["steps"]}
  assert len(prompts) == 1 and 1 <= prompts.pop() < B
  told = sum(m["length"] for s in data["steps"] for p in s["prompts"] for m in p["members"])
  assert told <= 10_000


def test_pieces_joined_are_the_text():
  """Spaces that begin a word stay, special tokens are their names, parts of a character are found in `text`."""
  tokenizer = load_tokenizer(str(resolve_model_path("tests/data/stories260k")))
  spell, text = view.speller(tokenizer), "Once upon a time, a dog"
  ids = tokenizer.encode(text)
  assert "".join(spell(i).text for i in ids).strip() == text and not any(spell(i).special for i in ids)
  eos = tokenizer.backend.eos_token_id
  assert spell(eos) == (tokenizer.backend.convert_ids_to_tokens(eos), True)


def test_what_is_not_there_is_said_in_one_sentence(workdir, tmp_path, capsys):
  for text, words in (("7", "iteration 7 was not kept"), ("a-b", "must be iterations and ranges")):
    assert view.main(["--workdir", str(workdir), f"--steps={text}"]) == 1
    assert words in capsys.readouterr().err
  assert view.main(["--workdir", str(tmp_path)]) == 1 and "not the folder of a run" in capsys.readouterr().err
  (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
  assert view.main(["--workdir", str(tmp_path)]) == 1 and "log.rollouts=10" in capsys.readouterr().err
