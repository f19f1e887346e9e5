r"""One spelling for answers: Unicode and LaTeX to the plain LaTeX that the grammar of answers reads."""

import re
import unicodedata

LONGEST = 4000  # characters of one answer; a longer one is not read

_CHARACTERS = str.maketrans(
  {
    **dict.fromkeys("−–—‒﹣‐‑", "-"), "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ",
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ",
    "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "⌀": r"\emptyset ", "°": r"^\circ ",
    "√": r"\sqrt ", "∛": r"\sqrt[3] ", "ℝ": r"\mathbb{R}", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "⁄": "/", "∕": "/", "’": "'", "‘": "'", "“": '"', "”": '"', "。": ".", "，": ",", "：": ":", "∣": "|",
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " "),
    **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", None),
    "λ": r"\lambda ", "φ": r"\phi ", "σ": r"\sigma ", "μ": r"\mu ", "γ": r"\gamma ", "ω": r"\omega ", "´": "'",
  }
)  # fmt: skip
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SPACING = re.compile(
  r"(?<!\\)\\(?:[!,;: ]|quad\b|qquad\b|displaystyle\b|left(?![a-z])|right(?![a-z])|"
  r"bigl?\b|bigr\b|Bigl?\b|Bigr\b|hspace\{[^{}]*\}|phantom\{[^{}]*\})"
)
_WORDS = (
  (r"\\[dtc]frac(?![a-z])", r"\\frac"), (r"\\[dt]binom(?![a-z])", r"\\binom"),
  (r"\\(?:leq|leqslant)(?![a-z])", r"\\le"),
  (r"\\(?:geq|geqslant)(?![a-z])", r"\\ge"), (r"\\neq(?![a-z])", r"\\ne"),
  (r"\\(?:varnothing|O)(?![a-z])", r"\\emptyset"),
  (r"\\lt(?![a-z])", "<"), (r"\\gt(?![a-z])", ">"), (r"\\ast(?![a-z])", "*"),
  (r"\\(?:lvert|rvert|vert|mid)(?![a-z])", "|"),
  (r"\\(?:lbrace|\{)", r"\\{"), (r"\\(?:lbrack)(?![a-z])", "["), (r"\\(?:rbrack)(?![a-z])", "]"),
  (r"\\(?:degree|degrees)(?![a-z])", r"^\\circ "),
  (r"\\sim(?:eq)?(?![a-z])", r"\\approx "), (r"\\infin(?![a-z])", r"\\infty"), (r"\\backslash(?![a-z])", r"\\"),
  (r"\\R(?![a-z])", r"\\mathbb{R}"), (r"\\(?:ldots|dots|cdots)(?![a-z])", "…"),
  (r"\\(?:pounds|textsterling)(?![a-z])", "£"),
  (r"\\(?:euro|texteuro)(?![a-z])", "€"), (r"\\textdollar(?![a-z])", r"\\$"), (r"\\emptyset", r"\\emptyset "),
)  # fmt: skip
_WORD_PATTERNS = [(re.compile(pattern), new) for pattern, new in _WORDS]
_STYLE = re.compile(
  r"\\(?:mathbf|boldsymbol|bm|mathit|mathcal|overrightarrow|underline|mathsf|mathtt|displaystyle)\s*\{([^{}]*)\}"
)
_TEXT = re.compile(
  r"\\(?:text|textbf|textit|textrm|mathrm|mbox|textnormal|texttt|operatorname|emph|textsf)\s*\{([^{}]*)\}"
)
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:[ ']\d{3})+)(?![\d ]*\d)")
_MIXED = re.compile(r"(?<![\w.^}/])(\d+)\s*\\frac\s*(\{\d+\}|\d)\s*(\{\d+\}|\d)")
_MIXED_PLAIN = re.compile(r"(?<![\w.^}/,])(\d+)\s+(?:and\s+)?(\d+)\s*/\s*(\d+)(?!\w|\.\d)")


def characters(text: str, digits: bool = False) -> str:
  """Unicode signs, blanks, superscripts and fractions in the spelling of LaTeX; with `digits`, all scripts' digits."""
  if text.isascii():
    return text
  text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda match: "^{" + match[0].translate(_SUPERSCRIPT) + "}", text)
  text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda match: "_{" + match[0].translate(_SUBSCRIPT) + "}", text)
  text = re.sub("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒]", _vulgar, text)
  text = text.translate(_CHARACTERS)
  text = re.sub(r"[！-～]", lambda match: chr(ord(match[0]) - 0xFEE0), text)  # full width
  text = re.sub(r"[￥￡]", lambda match: {"￥": "¥", "￡": "£"}[match[0]], text)
  if digits:
    text = re.sub(r"[^\x00-\x7f]", lambda match: _ascii_digit(match[0]), text)
  return text


def _ascii_digit(character: str) -> str:
  value = unicodedata.decimal(character, None)
  return character if value is None else str(value)


def _vulgar(match: re.Match) -> str:
  top, _, bottom = unicodedata.normalize("NFKC", match[0]).partition("\N{FRACTION SLASH}")
  return rf"\frac{{{top}}}{{{bottom}}}"


def plain(text: str) -> str:
  """An answer without delimiters, markup and spacing commands, with mixed and grouped numbers as LaTeX says them."""
  text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", characters(text)).strip()
  text = (
    re.sub(r"\*\*|(?<!\w)__|__(?!\w)|`", "", text) if "^**" not in text and not re.search(r"\w\*\*\w", text) else text
  )
  text = re.sub(r"(?<!\\)~", " ", text)
  text = text.replace(r"\$", "$").replace(r"\%", "%").replace(r"\#", "#").replace(r"\&", " and ")
  text = (
    re.sub(r"\\\(|\\\)|\\\[(?!\d+(?:\.\d+)?(?:pt|em|ex))|\\\]|\$\$", " ", text)
    if "$$" in text or r"\(" in text or r"\[" in text
    else text
  )
  text = re.sub(r"^\$(?!\s*\d[\d,.]*$)([^$]*)\$(.*)$", r"\1\2", text.strip(), flags=re.DOTALL)
  text = re.sub(r"(\d)\{,\}(?=\d{3})", r"\1", text)
  text = re.sub(r"(?<=\d)\\[,!;: ](?=\d{3}(?!\d))", "", text)
  text = re.sub(r"(?<=\d),\\!(?=\d{3})", "", text)
  for pattern, new in _WORD_PATTERNS:
    text = pattern.sub(new, text)
  text = _SPACING.sub(lambda match: "" if match[0][1:] in ("!", "left", "right") else " ", text)
  text = re.sub(r"\\(?:frac)\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}", text)
  text = _STYLE.sub(r"\1", text)
  text = re.sub(r"\\(?:b?box|fbox|boxed)\s*\{([^{}]*)\}", r"\1", text)
  text = _THOUSANDS.sub(lambda match: match[1] + re.sub(r"[ ']", "", match[2]), text)
  text = _MIXED.sub(lambda match: rf"({match[1]}+\frac{_braced(match[2])}{_braced(match[3])})", text)
  text = _MIXED_PLAIN.sub(r"(\1+\\frac{\2}{\3})", text)
  text = _recurring(text)
  text = re.sub(r"(?<=\d)\s*[eE]\s*([-+]?\d+)(?![\w.])", r"\\times 10^{\1}", text)
  text = re.sub(r"(?<=\d)\s*[xX*]\s*10\s*(?:\^|\*\*)", r"\\times 10^", text)
  text = text.strip()
  while text and text[-1] in ".;,!" and not (text[-1] == "!" and re.search(r"[\d)n]!+$", text)):
    text = text[:-1].rstrip()
  return one_bracket(text)


def _braced(part: str) -> str:
  return part if part.startswith("{") else "{" + part + "}"


def _recurring(text: str) -> str:
  """Recurring decimals as fractions."""

  def fraction(match: re.Match) -> str:
    whole, fixed, cycle = match[1] or "0", match[2], match[3]
    if len(fixed) + len(cycle) > 200 or len(whole) > 200:
      return match[0]
    scale, nines = 10 ** len(fixed), 10 ** len(cycle) - 1
    top = (int(whole) * scale + int(fixed or 0)) * nines + int(cycle)
    return rf"\frac{{{top}}}{{{scale * nines}}}"

  text = re.sub(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{\s*(\d+)\s*\}", fraction, text)
  text = re.sub(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(\d)", fraction, text)
  return re.sub(r"(\d*)\.(\d*)\((\d+)\)(?!\d)", fraction, text)


def one_bracket(text: str) -> str:
  """Many brackets around the same thing as one pair."""
  match = re.fullmatch(r"(\(+)([^()]*)(\)+)", text)
  return f"({match[2]})" if match and len(match[1]) == len(match[3]) > 1 else text


def texts(text: str) -> str:
  r"""With what stands in \text{…} as words between blanks."""
  for _ in range(3):
    text = _TEXT.sub(r" \1 ", text)
  return " ".join(text.split())
