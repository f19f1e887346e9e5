"""Finds the program in a completion, and in a prompt the code that it gives."""

import ast
import functools
import re
import warnings
from collections.abc import Collection

_FENCE = re.compile(r"([ \t>]*+)(`{3,}+|~{3,}+)[ \t]*+([^`\n]*+)$")  # possessive, so linear
_MOST_FENCES = 64  # the last ones
_PYTHON = re.compile(r"(?i)(python|py)[\d.]*\b|$")
_CODE_LINE = re.compile(r"(?m)^(?:from|import|def|class|async def|@)\b|^@")
_MOST_CODE = 50_000  # characters of a prompt that are looked at
_MOST_CUTS = 10  # tries to leave out the words behind code that has no fence


def parse(source: str) -> ast.Module | None:
  """The program's tree; None where it is no Python at all."""
  try:
    with warnings.catch_warnings(action="ignore"):
      return ast.parse(source)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None


def _fence(line: str) -> tuple[str, str, str] | None:
  """(what stands before, marks, word behind) of a line with a fence, which models also put behind words."""
  if found := _FENCE.match(line):
    return found[1], found[2], found[3].strip()
  before, mark, word = line.rpartition("```")
  if not mark or len(word) > 20 or not re.fullmatch(r"[\w+#.-]*", word := word.strip()):
    return None
  words = before.rstrip("`")
  return words, "`" * (3 + len(before) - len(words)), word


def fences(text: str) -> list[tuple[str, str]]:
  """(word behind the opening marks, text) of each ``` or ~~~ block; the last need not be closed. Linear in the text."""
  blocks, mark, word, lines = [], "", "", []
  for line in text.split("\n"):
    found = _fence(line)
    if not mark:
      if found:
        (_, mark, word), lines = found, []
    elif found and found[1].startswith(mark) and not found[2]:
      blocks.append((word, "\n".join([*lines, found[0]] if found[0].strip(" \t>") else lines)))
      mark = ""
    else:
      lines.append(line)
  return [*blocks, (word, "\n".join(lines))] if mark else blocks


def _unindented(source: str) -> str:
  """Without the blanks that all lines begin with, as in a list item; textwrap.dedent would be slow on long lines."""
  lines = source.split("\n")
  full = [line for line in lines if line.strip()]
  margin = min((len(line) - len(line.lstrip(" ")) for line in full), default=0)
  return "\n".join(line[margin:] for line in lines) if margin else source


def _binds(tree: ast.Module) -> set[str]:
  """Names that a program's top level binds."""
  names = set()
  for s in tree.body:
    if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
      names.add(s.name)
    elif isinstance(s, ast.Import | ast.ImportFrom):
      names |= {(alias.asname or alias.name).partition(".")[0] for alias in s.names}
    else:
      names |= {n.id for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
  return names


def _speaks(tree: ast.Module) -> int:
  """2 where it reads input and writes, 1 where it only writes, else 0."""
  names = {getattr(n, "attr", None) or getattr(n, "id", None) for n in ast.walk(tree)}
  return bool(names & {"print", "write"}) * (1 + bool(names & {"input", "stdin", "open"}))


def find_program(text: str, wanted: Collection[str] | None) -> str:
  """The program in a text: of its fences the last that defines a name of `wanted`, or that reads and prints where that
  is None; with the earlier ones that define what it uses. Without a fence, all text, or its code between words. ""
  where there is no Python.
  """
  blocks = fences(text)[-_MOST_FENCES:]
  if not blocks and "```" in text:
    blocks = [("", part) for part in text.split("```")[1::2][-_MOST_FENCES:]]
  blocks = [block for block in blocks if _PYTHON.match(block[0])] or blocks
  sources = [_unindented(source) for _, source in blocks] if blocks else [_without_prose(text)]
  trees = [(source, tree) for source in sources if source.strip() and (tree := parse(source)) is not None]
  if not trees:
    return ""
  if wanted is None:
    ranks = [_speaks(tree) for _, tree in trees]
  else:
    ranks = [bool(_binds(tree) & set(wanted)) for _, tree in trees]
  last = max(range(len(trees)), key=lambda i: (ranks[i], i))
  program, tree = trees[last]
  bound = _binds(tree)
  loads = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  missing = (loads | set(wanted or ())) - bound
  for source, earlier in reversed(trees[:last]):  # a helper, or imports, in a fence of its own
    if _binds(earlier) & missing and not _binds(earlier) & bound:
      program, bound = source + "\n" + program, bound | _binds(earlier)
  return program


def _without_prose(text: str) -> str:
  """A text without fences, cut to its code where there are words before or behind it."""
  if parse(text) is not None or not (begin := _CODE_LINE.search(text)):
    return text
  lines = text[begin.start() :].split("\n")
  for _ in range(_MOST_CUTS):
    try:
      ast.parse("\n".join(lines))
      break
    except SyntaxError as error:
      lines = lines[: max(0, min(len(lines), error.lineno or 1) - 1)]
    except (ValueError, RecursionError, MemoryError):
      break
  return "\n".join(lines)


def _is_stub(node: ast.AST) -> bool:
  """Whether a function, or a method of a class, is left to be written."""
  if isinstance(node, ast.ClassDef):
    return any(_is_stub(part) for part in node.body) or all(_is_filler(part) for part in node.body)
  return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and all(_is_filler(part) for part in node.body)


def _is_filler(statement: ast.stmt) -> bool:
  """A docstring, `...`, `pass` or NotImplementedError."""
  if isinstance(statement, ast.Raise):
    return "NotImplemented" in ast.dump(statement)
  is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
  return is_constant or isinstance(statement, ast.Pass)


def _code_of(text: str) -> list[ast.stmt]:
  """The statements of a prompt's code: in fences, or from its first line of code on."""
  statements = []
  for source in [source for word, source in fences(text) if _PYTHON.match(word)] or [text]:
    if begin := _CODE_LINE.search(source):
      code = source[begin.start() :].rstrip()
      tree = parse(code) or parse(code + "\n    pass") or parse(_without_prose(code))
      statements += tree.body if tree else []
  return statements


@functools.lru_cache(maxsize=1024)  # a group shares its prompt
def given_code(prompt: str, wanted: frozenset[str]) -> tuple[str, str]:
  """What a prompt gives: (code that the program may rely on, code that the tests use in place of the program's).

  `wanted` are the names that the tests need. The prompt gives its imports, constants, and complete functions and
  classes. Where it gives all that is wanted, it shows a program to be changed, and the tests take nothing from it.
  """
  kept = []
  for statement in _code_of(prompt[:_MOST_CODE]):
    is_definition = isinstance(statement, ast.FunctionDef | ast.ClassDef)
    is_constant = isinstance(statement, ast.Assign) and not any(isinstance(n, ast.Call) for n in ast.walk(statement))
    if isinstance(statement, ast.Import | ast.ImportFrom) or is_constant or (is_definition and not _is_stub(statement)):
      kept.append(statement)
  shown = _binds(ast.Module(kept, []))
  if wanted <= shown:  # none is left for the program
    return _text([s for s in kept if not _binds(ast.Module([s], [])) & wanted]), ""
  return _text(kept), _text(kept) if shown & wanted else ""


def _text(statements: list[ast.stmt]) -> str:
  return ast.unparse(ast.Module(statements, []))
