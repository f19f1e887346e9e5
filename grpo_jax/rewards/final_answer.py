r"""Where a completion states its final answer. Every function here is linear in the text, or bounded.

The strongest statement counts: <answer> tags, then \boxed{…}, then ####, then words such as "the answer is", then
formulas between dollars in the last sentence, then the last sentence. Statements of the same strength must agree,
so all are returned.
"""

import re

LONGEST = 200_000  # characters of a completion; a longer one is judged by its end
MOST = 64  # statements

_ANSWER = re.compile(
  r"(?:final\s+(?:answer|result)|(?:the|my|our|correct|right)\s+(?:\w+\s+)?answer|\banswer"
  r"|\bans\b|答案|réponse|respuesta|antwort|ответ)"
  r"[\s*_]*(?:\([^()]{0,40}\)\s*)?(?:(?:ist\b|is|are|was|should\s+be|must\s+be|would\s+be|equals|="
  r"|:|：|是|为|為|est\b|es\b|lautet)[\s*_]*)+",
  re.IGNORECASE,
)  # fmt: skip
_REASON = re.compile(
  r"(?<=[\w})\]$%])(?:\*\*)?,?\s+(?:as|because|since|so|which|by|given|when|if|hence|therefore|thus)\b.*$", re.DOTALL
)
_FINAL = re.compile(r"final\s+(?:answer|result)", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"(?:^|\s)(?:Q|Question|Problem|Human|User|Exercise)\s*\d*\s*:", re.IGNORECASE)
_NOT = re.compile(
  r"(?:\bnot|n't|\bnever|\bcannot be|\bisn't|不是)(?:\s+(?:equal(?:\s+to)?|simply|just|exactly))?[\s:$*({\[\\]*$",
  re.IGNORECASE,
)
_DENIED = re.compile(r"\bnot\s+(?:the\s+case|true|correct|right)\s+that\s*$|\bnot\s*$", re.IGNORECASE)
_HEDGE = re.compile(
  r"^[\s.,;:!?)\]}$*\-]*(?:or\b|but\s+(?:no|wait|maybe|it|could|actually|perhaps|not|i)"
  r"|wait\b|hmm|no[,.!: ]|actually|maybe|perhaps|possibly|unless|"
  r"i\s+am\s+not\s+sure|i'm\s+not\s+sure|not\s+sure|on\s+second|scratch\s+that|is\s+(?:wrong|incorrect|not))",
  re.IGNORECASE,
)  # fmt: skip
_HEDGED = re.compile(
  r"\b(?:or\s+maybe|maybe|perhaps|possibly|probably\s+not|either|neither|not\b(?!\s+"
  r"(?:needed|required))|n't\b|could\s+also|or\s+(?:it|else)|might\s+be|unsure|i\s+guess|between)|\bor\b\s*\S*$",
  re.IGNORECASE,
)  # fmt: skip
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{|[0-9A-Za-z])")
_MATH = re.compile(
  r"\$\$(.+?)\$\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)(?<!\\)\$(?!\d)", re.DOTALL
)
_SENTENCE = re.compile(r"(?<=[^\d\s][.!?])\s+(?=[A-Z(\\$*])|(?<=\d[.!?])\s+(?=[A-Z(])|(?<=[。！？])|\n+")


class NoAnswer(ValueError):
  """The completion states no answer that can count: none, a hedged one, or a denied one."""


def stated(completion: str) -> list[str]:
  """The final answers that a completion states; more than one only where several are of the same strength.

  Raises:
    NoAnswer: there is none that counts.
  """
  text = completion[-LONGEST:]
  text = _spoken(text)
  for find in (_tagged, _boxed, _hashed, _announced, _formulas, _last):
    found = find(text)
    if found:
      if len(found) > MOST:
        raise NoAnswer("too many answers")
      return found
  raise NoAnswer("no answer")


def _spoken(text: str) -> str:
  """What stands behind the thinking; an unfinished thought answers nothing."""
  for open_tag, close_tag in (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<scratchpad>", "</scratchpad>"),
  ):
    if close_tag in text:
      text = text.rpartition(close_tag)[2]
    if open_tag in text:
      raise NoAnswer("a thought without an end")
  return text


def _tagged(text: str) -> list[str]:
  if "<answer>" not in text:
    return []
  parts = text.split("<answer>")[1:]
  answers = [part.partition("</answer>")[0] for part in parts]
  inner = [found for answer in answers for found in (_boxed(answer) or _announced(answer) or [answer])]
  return inner if all(answer.strip() for answer in inner) else _nothing("an empty answer")


def _nothing(why: str):
  raise NoAnswer(why)


def _boxed(text: str) -> list[str]:
  found, end = [], 0
  for match in _BOX.finditer(text):
    if match.start() < end:
      _nothing("a box within a box")
    start = match.end()
    content, end = _group(text, start)
    if "\\boxed" in content or "\\fbox" in content:
      if len(_BOX.findall(content)) and not _BOX.sub("", content, count=1).strip("{} $"):
        _nothing("a box within a box")
      inner = _BOX.match(content.strip())
      if not inner or _group(content.strip(), inner.end())[1] != len(content.strip()):
        _nothing("a box within a box")
      content = _group(content.strip(), inner.end())[0]
    if not content.strip():
      _nothing("an empty box")
    if _NOT.search(text[max(0, match.start() - 30) : match.start()]):
      _nothing("a denied answer")
    found.append(content)
    if len(found) > MOST:
      _nothing("too many boxes")
  if not found:
    return []
  rest = text[end : end + 2000]
  if _HEDGE.match(rest[:80]) or _NEXT_QUESTION.search(rest):
    _nothing("an answer that is taken back or goes on")
  equation = re.match(r"\s*\$*\s*(=|\\neq?|≠)\s*\$*\s*([^\s$.,;\\][^\s$,;]*)", rest)
  if equation and not equation[2].startswith("\\boxed"):
    found.append(equation[2].rstrip("."))
  return found


def _group(text: str, start: int) -> tuple[str, int]:
  """The content of the braces that open at `start`, or the one character there, and where it ends."""
  if text[start] != "{":
    return text[start], start + 1
  depth, escaped = 0, False
  for i in range(start, len(text)):
    character = text[i]
    if escaped:
      escaped = False
    elif character == "\\":
      escaped = True
    elif character == "{":
      depth += 1
    elif character == "}":
      depth -= 1
      if not depth:
        return text[start + 1 : i], i + 1
  raise NoAnswer("a box without an end")


def _hashed(text: str) -> list[str]:
  parts = re.split(r"(?m)####", text)[1:]
  if not parts:
    return []
  found = [part.strip().partition("\n")[0].strip() for part in parts]
  return _clean(found)


def _clean(found: list[str]) -> list[str]:
  cleaned = []
  for text in found:
    text = text.strip().strip("*_ ").strip()
    if not text:
      _nothing("an empty answer")
    if _HEDGED.search(text) and not re.fullmatch(r"[\w\s.,$\\{}=+\-/^()]*\bor\b[\w\s.,$\\{}=+\-/^()]*", text):
      _nothing("a hedged or denied answer")
    if re.search(r"\b(?:not|n't|maybe|perhaps|possibly|either|neither)\b|n't\b", text, re.IGNORECASE):
      _nothing("a hedged or denied answer")
    cleaned.append(text)
  return cleaned


def _announced(text: str) -> list[str]:
  matches = list(_ANSWER.finditer(text))[-MOST - 1 :]
  if not matches:
    bare = re.match(r"(?s).*(?:^|\n)\s*A:\s*(\S.*)$", text)
    return _clean([_sentence(bare[1])]) if bare and not _NEXT_QUESTION.search(bare[1]) else []
  if any(_FINAL.match(match[0]) for match in matches):
    matches = [match for match in matches if _FINAL.match(match[0])]
  ends = [match.start() for match in matches[1:]] + [len(text)]
  segments = [text[match.end() : end] for match, end in zip(matches, ends, strict=True)]
  if any(_DENIED.search(text[max(0, match.start() - 40) : match.start()]) for match in matches):
    _nothing("a denied answer")
  if _NEXT_QUESTION.search(segments[-1]):
    _nothing("the completion goes on to another question")
  sentences = [_sentence(segment).rstrip(" ,;") for segment in segments]
  if len(sentences) == 1:  # what follows is a reason
    sentences = [(_REASON.sub("", sentences[0]) or sentences[0]).rstrip("!")]
  rest = segments[-1].lstrip(" *")[len(sentences[-1]) :]
  if _HEDGE.match(rest[:80]):
    _nothing("an answer that is taken back")
  return _clean([_formula(sentence) for sentence in sentences])


def _sentence(text: str) -> str:
  """The first sentence of a text."""
  text = text.strip()
  if text.startswith("$$") or text.startswith(r"\["):
    match = _MATH.match(text)
    if match:
      return next(filter(None, match.groups()))
  return _SENTENCE.split(text, maxsplit=1)[0].strip().strip("*").strip()


def _formula(sentence: str) -> str:
  """A sentence that is words and one formula, as the formula."""
  if _HEDGED.search(sentence):
    return sentence
  formulas = [next(filter(None, match.groups())) for match in _MATH.finditer(sentence)]
  if len(formulas) == 1 and not re.search(r"\d", _MATH.sub("", sentence)):
    rest = _MATH.sub(" ", sentence).strip(" .*")
    return formulas[0] + (
      rf"\text{{ {rest}}}" if re.fullmatch(r"[A-Za-z/ ]{1,30}", rest) and _MATH.match(sentence) else ""
    )
  return _MATH.sub(lambda match: " " + next(filter(None, match.groups())) + " ", sentence)


def _last_sentence(text: str) -> str:
  sentences = [sentence.strip() for sentence in _SENTENCE.split(text[-4000:]) if sentence and sentence.strip(" .*$")]
  return sentences[-1] if sentences else ""


def _formulas(text: str) -> list[str]:
  sentence = _last_sentence(text)
  formulas = [next(filter(None, match.groups())) for match in _MATH.finditer(sentence)]
  formulas = [formula for formula in formulas if not re.search(r"(?<![\\A-Za-z])[A-Za-z]{3,} [A-Za-z]{2,}", formula)]
  if not formulas:
    return []
  if _NOT.search(sentence[: sentence.find(formulas[-1])]):
    _nothing("a denied answer")
  return _clean([*formulas, *([] if not _HEDGED.search(sentence) else [sentence])])


def _last(text: str) -> list[str]:
  """The last sentence: what stands behind its last "is" or "=", or its one number, or all of it."""
  sentence = _last_sentence(text)
  if not sentence:
    return []
  says = re.search(r"\b(?:is|are|equals)\b|=|[A-Za-z]{3,}\s+[$£€¥₹]?[-\d]", sentence)
  if len(sentence) <= 40 and not says:
    return _clean([sentence])
  _clean([sentence])
  if "=" in sentence and re.search(r"=\s*[-+$\\\d(]", sentence) and not re.match(r"[A-Za-z\\]\S*\s*=[^=]*$", sentence):
    return [sentence.rpartition("=")[2]]
  said = re.split(r"\b(?:is|are|equals|get|gives|was|have|be)\b|:", sentence)[-1].strip()
  if (
    said
    and re.match(r"[-+$£€¥₹\\(\[{.]*\s*[\d\\a-zA-Z]", said)
    and len(said) < 200
    and (re.match(r"[-+$£€¥₹(\[{\\.]*\s*[\d\\]", said) or len(said) <= 20)
  ):
    return [said]
  numbers = re.findall(r"(?<![\w.])[-+]?[$£€¥₹]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?", sentence)
  return [numbers[0].rstrip(",")] if len(numbers) == 1 else [sentence]
