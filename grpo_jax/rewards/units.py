"""Units behind numbers, in one spelling. Nothing is converted: 5 km is not 5000 m."""

import re

from grpo_jax.rewards.answer_text import FUNCTIONS

_UNITS = {
  "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
  "in": "inch", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram", "g": "gram gramme",
  "kg": "kilogram kilo", "lb": "pound", "oz": "ounce", "ml": "milliliter millilitre mL", "l": "liter litre L",
  "s": "second sec", "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "", "year": "yr",
  "°": "degree deg", "rad": "radian", "n": "newton N", "j": "joule J", "w": "watt W", "kw": "kilowatt kW", "v": "volt V",
  "a": "ampere amp A",
  "hz": "hertz Hz", "pa": "pascal Pa", "k": "kelvin K", "mol": "mole", "$": "dollar usd", "£": "gbp", "€": "euro eur",
  "¥": "yen", "₹": "rupee", "¢": "cent", "km/h": "kph kmh", "mi/h": "mph", "ton": "tonne",
}
SPELLINGS = {word: unit for unit, words in _UNITS.items() for word in (unit, *words.split())}
_HEDGES = re.compile(r"\b(or|and|not|maybe|perhaps|either|neither|if|when|unless|wait)\b", re.IGNORECASE)


def spelled(text: str) -> str:
  """A unit in one spelling: metres per second, m/s."""
  text = text.strip().rstrip(".").replace("squared", "^2").replace("cubed", "^3")
  text = re.sub(r"\b(?:square|sq\.?)\s+(\w+)", r"\1^2", text)
  text = re.sub(r"\b(?:cubic|cu\.?)\s+(\w+)", r"\1^3", text).replace("(", "").replace(")", "")
  text = re.sub(r"\s+per\s+|\s*/\s*", "/", text)

  def one(match):
    word = match[0]
    if word in SPELLINGS:
      return SPELLINGS[word]
    low = word.lower()
    single = {low, low.removesuffix("s"), low.removesuffix("es")}
    known = next((SPELLINGS[w] for w in single if len(w) > 1 and w in SPELLINGS), None)
    return known or (low.removesuffix("s") if len(low) > 3 else low)

  text = re.sub(r"[A-Za-z]+|[°$£€¥₹¢]", one, text)
  return " ".join(re.sub(r"\s*\^\s*", "^", text).split())


def is_unit(text: str, glued: bool) -> bool:
  """Whether what stands behind a number is a unit, no letter of an expression and no hedge."""
  words = re.findall(r"[A-Za-z]+|[°$£€¥₹¢%]", text)
  if not words or len(words) > 6 or _HEDGES.search(text):
    return False
  first = words[0]
  if first in SPELLINGS and (not glued or len(first) > 1 or not first.isalpha()):
    return not glued or first not in ("in", "a", "min")
  noun = len(first) > 2 and first not in FUNCTIONS
  return noun and re.fullmatch(r"[A-Za-z° /.^\-'\d()]+", text) is not None
