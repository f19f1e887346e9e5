"""Units behind, and currency signs before, a number. Units are compared by name: nothing is converted."""

import re

_NAMES = {
  "$": "dollar dollars usd buck bucks", "cent": "cents ¢", "£": "pound pounds gbp", "€": "euro euros eur",
  "¥": "yen yuan cny jpy rmb", "₹": "rupee rupees rs inr", "%": "percent percentage",
  "m": "meter meters metre metres", "cm": "centimeter centimeters centimetre centimetres",
  "mm": "millimeter millimeters",
  "km": "kilometer kilometers kilometre kilometres", "in": "inch inches", "ft": "foot feet", "yd": "yard yards",
  "mi": "mile miles", "g": "gram grams", "kg": "kilogram kilograms", "mg": "milligram milligrams", "lb": "lbs",
  "oz": "ounce ounces", "L": "l liter liters litre litres", "ml": "mL milliliter milliliters millilitre millilitres",
  "s": "sec secs second seconds", "min": "mins minute minutes", "h": "hr hrs hour hours", "day": "days",
  "deg": "degree degrees", "rad": "radian radians", "N": "newton newtons", "J": "joule joules", "W": "watt watts",
  "V": "volt volts", "Hz": "hertz", "Pa": "", "A": "amp amps ampere amperes", "K": "kelvin", "mph": "",
  "C": "celsius", "F": "fahrenheit", "mol": "moles mole", "gal": "gallon gallons", "ton": "tons tonne tonnes",
}  # fmt: skip
_CANONICAL = {word: unit for unit, names in _NAMES.items() for word in (unit, *names.split())}
_SIGNS = "$£€¥₹"
_POWER = r"(?:\s*\^\s*\{?\s*-?\d\s*\}?)?"
_UNIT = re.compile(
  rf"^(.*?[\d)}}\]!])(\s*)([A-Za-zÅ°¢%][A-Za-z.'\-]*{_POWER}(?:[\s/*]+[A-Za-z0-9^{{}}.,\-']+|\s*\\cdot\s*[A-Za-z]+)*)$",
  re.DOTALL,
)
_DEGREES = re.compile(r"^(.*?)\s*\^\s*\{?\s*\\circ\s*\}?\s*([CF]?)$", re.DOTALL)


def canonical(unit: str) -> str:
  """One name for the spellings of a unit."""
  unit = re.sub(r"\b(?:square|sq\.?)\s+(\w+)", r"\1^2", unit.strip())
  unit = re.sub(r"\b(?:cubic|cu\.?)\s+(\w+)", r"\1^3", unit)
  unit = re.sub(r"\s+(?:per|an?)\s+", "/", re.sub(r"[{}]", "", unit))
  words = [_word(word) for word in re.findall(r"[A-Za-z]+|[^\sA-Za-z]+", unit)]
  return " ".join(words).replace(" ^", "^").replace(" / ", "/").rstrip(".")


def _word(word: str) -> str:
  known = _CANONICAL.get(word) or _CANONICAL.get(word.lower())
  return known or re.sub(r"s$", "", word.lower())


def split_unit(text: str) -> tuple[str, str]:
  """A number's text, and its unit ("" where there is none)."""
  text = text.strip()
  sign = ""
  if match := re.match(rf"([-+]?)\s*([{_SIGNS}]|(?:US)?\$|USD|EUR|GBP|Rs\.?)\s*(?=[-+]?[\d.\\(])", text):
    sign, text = canonical(match[2].removeprefix("US") or "$"), match[1] + text[match.end() :]
    sign = _CANONICAL.get(sign, sign)
  elif text and text[-1] in _SIGNS and re.search(r"\d", text):
    sign, text = text[-1], text[:-1].strip()
  elif text.startswith("$") and text.endswith("$"):
    text = text.strip("$")
  if text.endswith("%"):
    return text[:-1].strip(), "%"
  if match := _DEGREES.match(text):
    return match[1], match[2] or "deg"
  match = _UNIT.match(text)
  if match and _is_unit(match[1], bool(match[2]), match[3]):
    unit = canonical(match[3])
    return match[1], sign if sign and not _CANONICAL.get(
      unit
    ) else unit if not sign or unit == sign else f"{sign}/{unit}"
  return text, sign


def _is_unit(number: str, apart: bool, unit: str) -> bool:
  """Whether letters behind a number are a unit, not variables: a known name, or a word of three letters."""
  first = re.match(r"[A-Za-z°¢%]+", unit)
  if not first or re.search(r"\\(?:sqrt|frac|sin|cos|log)$", number):
    return False
  word = first[0]
  known = word in _CANONICAL or word.lower() in _CANONICAL
  if re.search(r"\b(?:or|and|but|maybe|not|no)\b", unit):
    return False
  return (known and (apart or len(word) > 1)) or (apart and len(word) >= 3) or len(word) >= 4
