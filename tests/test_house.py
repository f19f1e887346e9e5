"""The rules of the house: imports go one way, nothing happens at import, every config key is documented and read."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from grpo_jax.config.defaults import default_config
from grpo_jax.config.identity import flat

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "grpo_jax"
SOURCES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p.read_text() for p in sorted(PACKAGE.rglob("*.py"))}
LAYERS = (
  ("types", "reading", "config", "quiet"),
  ("checkpoint", "metrics", "wandb_run", "distributed", "text", "data", "models", "algorithms"),
  ("sampling", "rewards", "training"),
  ("evaluation", "runs", "reports"),
  ("sweeps", "tools", "main"),
)
LAYER = {part: level for level, parts in enumerate(LAYERS) for part in parts}
APART = [  # importer, imported
  ("algorithms", "models"), ("models", "algorithms"), ("rewards", "training"), ("sampling", "algorithms"),
]
DEFAULTS = (PACKAGE / "config" / "defaults.py").read_text()
KEYS = sorted(flat(default_config().to_dict()))


def imports(module: str, source: str) -> set[str]:
  """Modules of this package that a module imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "grpo_jax":
      whole = {f"{node.module}.{alias.name}" for alias in node.names}
      found |= (whole & SOURCES.keys()) or {node.module}
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "grpo_jax"}
  return found - {module}


GRAPH = {module.removesuffix(".__init__"): imports(module, source) for module, source in SOURCES.items()}


def part(module: str) -> str:
  """The layer entry a module belongs to: the name below grpo_jax."""
  return module.split(".")[1] if "." in module else ""


def cycle(graph) -> list:
  """One cycle of a graph, empty if there is none."""
  done, path = set(), []

  def visit(node):
    if node in path:
      return [*path[path.index(node):], node]
    if node in done:
      return []
    path.append(node)
    found = next(filter(None, map(visit, sorted(graph.get(node, ())))), [])
    path.pop()
    done.add(node)
    return found

  return next(filter(None, map(visit, sorted(graph))), [])


def test_a_cycle_is_found_where_there_is_one():
  assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
  assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_graph_is_not_empty():
  assert {"grpo_jax.training.policy_step", "grpo_jax.models.logps"} <= GRAPH.keys()
  assert "grpo_jax.models.rows" in GRAPH["grpo_jax.training.policy_step"]
  assert "grpo_jax.runs.rl" in GRAPH["grpo_jax.main"]


def test_imports_have_no_cycles():
  assert not cycle(GRAPH)


def test_packages_have_no_cycles():
  parts = {part(module): set() for module in GRAPH}
  for module, imported in GRAPH.items():
    parts[part(module)] |= {part(i) for i in imported} - {part(module), ""}
  assert not cycle(parts)


def test_every_module_has_a_layer():
  assert {part(module) for module in GRAPH} - {""} <= LAYER.keys()


def test_imports_go_down_the_layers():
  upward = [
    f"{module} imports {i}" for module, imported in GRAPH.items() for i in imported
    if part(module) and part(i) and LAYER[part(i)] > LAYER[part(module)]
  ]
  assert not upward


@pytest.mark.parametrize("importer, imported", APART)
def test_parts_that_do_not_know_each_other(importer, imported):
  known = [f"{module} imports {i}" for module, found in GRAPH.items() for i in found
           if (part(module), part(i)) == (importer, imported)]
  assert not known


def test_imports_are_absolute():
  relative = [module for module, source in SOURCES.items() for node in ast.walk(ast.parse(source))
              if isinstance(node, ast.ImportFrom) and node.level]
  assert not relative


def test_nothing_happens_at_import():
  """Every module imports where no device can be had, and leaves jax without a backend."""
  modules = [m for m in GRAPH if not m.endswith("__main__")]
  script = f"import importlib, jax\nfor m in {modules!r}: importlib.import_module(m)\n"
  script += "from jax._src import xla_bridge\nassert not xla_bridge._backends, 'a device was used'"
  environment = {**os.environ, "JAX_PLATFORMS": "nonexistent"}
  done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]


COMMANDS = sorted(m for m, s in SOURCES.items() if "__main__" in s and not m.startswith("grpo_jax.rewards"))


@pytest.mark.parametrize("module", COMMANDS)  # those of rewards are workers, which have no terminal
def test_a_command_is_silent_about_its_libraries_before_it_does_anything(module):
  (main,) = (n for n in ast.parse(SOURCES[module]).body if isinstance(n, ast.FunctionDef) and n.name == "main")
  calls = [n for n in ast.walk(main) if isinstance(n, ast.Call)]
  first = min((n for n in calls if ast.unparse(n) == "quiet()"), key=lambda n: n.lineno)
  allowed = {"len", "app.UsageError", "quiet"}
  assert {ast.unparse(n.func) for n in calls if n.lineno <= first.lineno} <= allowed


def test_no_module_imports_transformers_before_a_command_can_silence_it():
  early = [m for m, s in SOURCES.items() if re.search(r"^(import|from) transformers", s, re.MULTILINE)]
  assert len(COMMANDS) >= 8 and not early


def test_a_silenced_command_imports_transformers_and_warns_through_absl_without_a_word():
  script = ("from grpo_jax.quiet import quiet\nquiet()\nimport transformers\n"
            "from absl import logging\nlogging.warning('x')")
  done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def defining_lines(leaf: str) -> list[str]:
  """Lines of defaults.py that set a leaf of this name."""
  pattern = re.compile(rf'^\s*(?:"{leaf}":|(?:c\.)(?:\w+\.)*{leaf} =) ')
  return [line for line in DEFAULTS.splitlines() if pattern.match(line)]


@pytest.mark.parametrize("leaf", sorted({key.split(".")[-1] for key in KEYS}))
def test_every_config_leaf_has_an_end_of_line_comment(leaf):
  lines = [line for line in defining_lines(leaf) if not line.endswith(("_()", "ConfigDict({"))]
  assert lines, f"{leaf} is set in no line of its own"
  assert all(re.search(r"\S  # \S", line) for line in lines), lines


def names_read(source: str) -> set[str]:
  """Attributes, quoted names, and the fields and parameters that a whole section may be unpacked into."""
  nodes = list(ast.walk(ast.parse(source)))
  names = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
  names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
  names |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
  return names | {node.arg for node in nodes if isinstance(node, ast.arg)}


CHECKERS = ("grpo_jax.config.defaults", "grpo_jax.runs.validate")  # who only sets or checks a key does not use it
READ = set().union(*(names_read(source) for module, source in SOURCES.items() if module not in CHECKERS))


@pytest.mark.parametrize("key", KEYS)
def test_every_config_key_is_read(key):
  assert key.split(".")[-1] in READ, f"nothing outside {CHECKERS} reads {key}"
