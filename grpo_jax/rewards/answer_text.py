"""Answers as people and models write them, LaTeX or not, in one plain notation that answers.py reads.

`\\dfrac{1}{2}` and ½ become ((1)/(2)), `x^{2}` x^(2), `\\{1\\}` ⦃1⦄, `5\\text{ cm}` 5 cm, `1\\frac{1}{2}`
1⊕((1)/(2)), a matrix ⟦1¦2¶3¦4⟧. A command that is not known stays as it is, so that nothing reads it as mathematics.
"""

import re

from grpo_jax.rewards.calls import Bounded

DEEPEST, LONGEST = 40, 20_000  # nested groups, and characters, that are read
_DIGITS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
           "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8)}
_CHARS = str.maketrans(
  {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)}  # full width
  | dict.fromkeys("−–—‐‑‒﹣", "-") | dict.fromkeys("×⋅·∙∗", "*") | dict.fromkeys("÷∕⁄", "/")
  | dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
  | dict.fromkeys("⩽≦", "≤") | dict.fromkeys("⩾≧", "≥") | dict.fromkeys("“”„", '"') | dict.fromkeys("‘’", "'")
  | dict.fromkeys("≃≅∼", "≈") | dict.fromkeys("\u200b\u2060\ufeff", "")
  | {"。": ". ", "、": ",", "√": "\\sqrt ", "∛": "\\sqrt[3] ", "º": "°", "ø": "∅", "Ø": "∅", "…": "…"}
  | {c: f"^{n}" for n, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {c: f"_{n}" for n, c in enumerate("₀₁₂₃₄₅₆₇₈₉")}
  | {c: f"\\frac{{{a}}}{{{b}}}" for c, (a, b) in _DIGITS.items()})
FUNCTIONS = ("sqrt", "root", "binom", "log", "ln", "lg", "exp", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin",
             "arccos", "arctan", "sinh", "cosh", "tanh", "gcd", "lcm", "max", "min")
_SYMBOLS = {
  "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "±", "mp": "±", "le": "≤", "leq": "≤", "leqslant": "≤",
  "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠", "neq": "≠", "lt": "<", "gt": ">", "approx": "≈", "simeq": "≈",
  "infty": "∞", "pi": "π", "cup": "∪", "emptyset": "∅", "varnothing": "∅", "in": "∈", "circ": "°", "degree": "°",
  "ldots": "…", "dots": "…", "cdots": "…",
  "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "colon": ":", "neg": "-",
  "lbrace": "⦃", "rbrace": "⦄", "lbrack": "[", "rbrack": "]", "quad": " ", "qquad": " ", "land": " and ", "lor": " or ",
  "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ", "phi": "φ", "rho": "ρ",
  "sigma": "σ", "tau": "τ", "omega": "ω", "epsilon": "ε", "varepsilon": "ε", "varphi": "φ", "pounds": "£",
  "euro": "€",
  "%": "%", "$": "$", "#": "#", "&": "&", "_": " ", "{": "⦃", "}": "⦄", ",": " ", ";": " ", ":": " ", " ": " ", "!": "",
  "|": "|", "\\": " ", "textdollar": "$", "textdegree": "°", "textpercent": "%", "percent": "%",
}
_WORDS = {"text", "mathrm", "textbf", "mathbf", "textit", "mathit", "mbox", "operatorname", "textrm", "mathsf",
          "mathbb", "mathcal", "emph", "textsf", "texttt", "boldsymbol", "bm", "underline", "hbox", "unit", "boxed", "fbox",
          "framebox", "mathtt",
          "bold", "cancel", "phantom"}
_NOTHING = {"left", "right", "displaystyle", "textstyle", "limits", "nolimits", "rm", "bf", "it", "big", "Big",
            "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "mathstrut", "hfill", "middle"}


def group(text: str, start: int) -> tuple[str, int]:
  """The argument of a command at `start`: what is between braces, else one command or character; and where it ends."""
  while start < len(text) and text[start] == " ":
    start += 1
  if start >= len(text):
    return "", start
  if text[start] == "{":
    end = closing(text, start)
    return text[start + 1 : end], end + 1
  if text[start] == "\\":
    name = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL).match(text, start)
    return (name[0], name.end()) if name else ("", start + 1)
  return text[start], start + 1


def closing(text: str, start: int) -> int:
  """Where the brace that opens at `start` closes; the end of the text where it does not."""
  depth, i = 0, start
  while i < len(text):
    if text[i] == "\\":
      i += 2
      continue
    depth += (text[i] == "{") - (text[i] == "}")
    if depth == 0:
      return i
    i += 1
  return len(text)


def _command(name: str, text: str, at: int, depth: int) -> tuple[str, int]:
  """What a LaTeX command becomes, and where its arguments end."""
  if name in ("frac", "dfrac", "tfrac", "cfrac"):
    (a, at), (b, at) = (one := group(text, at)), group(text, one[1])
    return f"(({_latex(a, depth)})/({_latex(b, depth)}))", at
  if name in ("binom", "dbinom", "tbinom"):
    (a, at), (b, at) = (one := group(text, at)), group(text, one[1])
    return f" binom({_latex(a, depth)},{_latex(b, depth)})", at
  if name == "sqrt":
    index = re.compile(r"\s*\[([^\]]*)\]").match(text, at)
    inner, end = group(text, index.end() if index else at)
    if not inner.strip().isalnum() and "{" not in text[at:end] and inner and inner != "(":
      return f" sqrt({_latex(inner, depth)})", end
    if inner == "(":  # √(x+1)
      return " sqrt(", end
    if inner.isdigit() and text[at:end].strip() == inner:  # √12 beside \sqrt12, which LaTeX reads as √1·2
      more = re.compile(r"\d*").match(text, end)
      inner, end = inner + more[0], more.end()
    inner = _latex(inner, depth)
    return (f" root({_latex(index[1], depth)},{inner})" if index else f" sqrt({inner})"), end
  if name in ("overline", "dot", "bar", "vec", "hat", "widehat", "tilde", "overrightarrow"):
    inner, end = group(text, at)
    return (f"‾({_latex(inner, depth)})" if name in ("overline", "dot", "bar") else f" {_latex(inner, depth)} "), end
  if name in _WORDS:
    inner, end = group(text, at)
    return f" {_latex(inner, depth)} ", end
  if name == "begin":
    kind, start = group(text, at)
    close = text.find(f"\\end{{{kind}}}", start)
    end = len(text) if close < 0 else close + len(kind) + 6
    inner = text[start : len(text) if close < 0 else close]
    if kind == "array":
      inner = group(inner, 0)[1] and inner[group(inner, 0)[1] :]
    rows = [[_latex(cell, depth) for cell in row.split("&")] for row in inner.split("\\\\") if row.strip()]
    body = "¶".join("¦".join(row) for row in rows)
    return (f"⟦{body}⟧" if kind.endswith("matrix") or kind == "array" else body.replace("¶", ",").replace("¦", "")), end
  if name in FUNCTIONS:
    return f" {name} ", at
  if name in _NOTHING:
    return "", at + (text[at : at + 1] == "." and name == "right")
  return _SYMBOLS.get(name, f" \\{name} "), at


def _latex(text: str, depth: int = 0) -> str:
  if depth > DEEPEST:
    raise Bounded(f"an answer is nested deeper than {DEEPEST} groups")
  out, i = [], 0
  while i < len(text):
    c = text[i]
    if c == "\\":
      name = re.compile(r"[A-Za-z]+|.", re.DOTALL).match(text, i + 1)
      if not name:
        break
      piece, i = _command(name[0], text, name.end(), depth + 1)
    elif c in "^_" and i + 1 < len(text):
      inner, i = group(text, i + 1)
      inner = _latex(inner, depth + 1).strip() if inner else ""
      piece = "°" if inner == "°" else f"{c}{inner}" if inner.isalnum() else f"{c}({inner})"
    elif c == "{":
      end = closing(text, i)
      piece, i = _latex(text[i + 1 : end], depth + 1), end + 1
    else:
      piece, i = ("" if c == "}" else c), i + 1
    out.append(piece)
  return "".join(out)


_MIXED = re.compile(r"(?<![\d./^_])(\d+) ?(?:(?<= )(\d+)/(\d+)(?![\d.])|\(\((\d+)\)/\((\d+)\)\))")
_RECURRING = re.compile(r"(?<![\d.])(\d*)\.(\d*)(?:‾\((\d+)\)|\((\d+)\))")
_COMMAS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]|\.\d*,)")
_SPACES = re.compile(r"(?<![\d.,] )(?<![\d.,])\d{1,3}(?: \d{3})+(?! ?\d)")


def _recurring(match: re.Match) -> str:
  """0.1(6) as a fraction: the digits less those that do not repeat, over 9…90…0."""
  whole, fixed, cycle = match[1], match[2], match[3] or match[4]
  if len(fixed) + len(cycle) > 50:
    return match[0]
  top = int((whole + fixed + cycle) or 0) - int((whole + fixed) or 0)
  return f"(({top})/({int('9' * len(cycle)) * 10 ** len(fixed)}))"


def plain(text: str) -> str:
  """One answer in plain notation, without what surrounds it: dollars, stars, quotes, a full stop.

  Raises:
    Bounded: it is too long or nested too deep to be read.
  """
  if len(text) > LONGEST:
    raise Bounded(f"an answer has more than {LONGEST} characters")
  text = text.translate(_CHARS).replace("{,}", ",")
  text = _latex(text)
  text = text.replace("^°", "°").replace("^(°)", "°")
  text = " ".join(text.split())
  before = None
  while before != text:  # from the outside in
    before = text
    text = text.strip().strip('"`').removeprefix("**").removesuffix("**").strip()
    text = text.rstrip(".,;:!?" if not re.search(r"\d!$", text) else ".,;:?").lstrip(":,;").strip()
    if len(text) > 1 and text[0] == text[-1] == "$":
      text = text[1:-1]
  text = _SPACES.sub(lambda m: m[0].replace(" ", ""), text)
  text = _COMMAS.sub(lambda m: m[0].replace(",", ""), text)
  text = _RECURRING.sub(_recurring, text)
  return _MIXED.sub(lambda m: f"{m[1]}⊕(({m[2] or m[4]})/({m[3] or m[5]}))", text)
