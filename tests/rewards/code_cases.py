"""Programs and tests for the rule `code`: honest programs, and tests that come out true without asserting anything."""

GOOD = "def add(a, b):\n  return a + b\ndef odd(n):\n  return n % 2 == 1\n"
PROMPT = '''def encode(s: str):
    """returns encoded string by cycling groups of three characters."""
    groups = [s[(3 * i):min((3 * i + 3), len(s))] for i in range((len(s) + 2) // 3)]
    groups = [(group[1:] + group[0]) if len(group) == 3 else group for group in groups]
    return "".join(groups)


def decode(s: str):
    """takes as input string encoded with encode function. Returns decoded string."""
'''

# name: (program, tests)
HONEST = {
  "fraction": (
    """
from fractions import Fraction
def f(n): return Fraction(n, 3)
""",
    """
from fractions import Fraction
assert f(2) == Fraction(2, 3)
assert str(f(3)) == '1'
""",
  ),
  "decimal": (
    """
from decimal import Decimal
def f(x): return x * Decimal('1.5')
""",
    """
from decimal import Decimal
assert f(Decimal(2)) == Decimal('3.0')
""",
  ),
  "dates": (
    """
import datetime as d
def f(x): return x + d.timedelta(days=1)
def g(): return d.datetime(2024, 1, 2, 3, tzinfo=d.timezone.utc)
""",
    """
from datetime import *
assert f(date(2024, 2, 28)) == date(2024, 2, 29)
assert g() - timedelta(hours=3) == datetime(2024, 1, 2, tzinfo=timezone.utc)
assert f(datetime(2024, 1, 1)).year == 2024
""",
  ),
  "containers": (
    """
from collections import *
import enum
class C(str, enum.Enum): A = 'a'
def f(): return deque([1]), range(3), bytearray(b'x'), OrderedDict(a=1), C.A
P = namedtuple('P', 'x y')
""",
    """
from collections import deque
assert f() == (deque([1]), range(3), b'x', {'a': 1}, 'a')
assert P(1, y=2) == (1, 2) and P(1, 2).y == 2
""",
  ),
  "key=len": (
    """
def f(words, key): return sorted(words, key=key)
""",
    """
import operator
assert f(['aa', 'b'], key=len) == ['b', 'aa']
assert f(['B', 'a'], str.lower) == ['a', 'B']
assert f([(1, 2), (2, 1)], operator.itemgetter(1)) == [(2, 1), (1, 2)]
""",
  ),
  "lambda": (
    """
def apply(g, xs):
  return [g(x) for x in xs]
def deep(g): return g(deep_two)
def deep_two(x): return x + 1
""",
    """
assert apply(lambda x: -x, [1, 2]) == [-1, -2]
assert deep(lambda h: h(2) * 10) == 30
calls = []
apply(calls.append, [1, 2])
assert calls == [1, 2]
seen = []
def note(x): seen.append(x)
apply(note, [1, 2])
assert seen == [1, 2]
""",
  ),
  "objects of the tests": (
    """
def total(node):
  return node.value + (total(node.next) if node.next else 0)
def push(node, value): node.value = value; return node
""",
    """
class Node:
  def __init__(self, value, next=None): self.value, self.next = value, next
assert total(Node(1, Node(2))) == 3
n = Node(1)
assert push(n, 7) is n and n.value == 7
""",
  ),
  "objects of the program": (
    """
class V:
  def __init__(s, x): s.x = x
  def __add__(s, o): return V(s.x + o.x)
  def __str__(s): return f'V({s.x})'
""",
    """
v = V(1) + V(2)
assert v.x == 3
v.x = 5
assert str(v) == 'V(5)'
""",
  ),
  "unittest": (
    GOOD,
    """
import unittest
class T(unittest.TestCase):
  def setUp(self): self.one = 1
  def test_a(self):
    self.assertEqual(add(self.one, 2), 3)
  def test_b(self):
    with self.assertRaises(TypeError): add(1, 'x')
if __name__ == '__main__':
  unittest.main()
""",
  ),
  "pytest": (
    GOOD,
    """
import pytest
from solution import add
@pytest.mark.parametrize('a,b,c', [(1, 2, 3), (2, 2, 4)])
def test_add(a, b, c):
  assert add(a, b) == c
class TestIt:
  def test_raise(self):
    with pytest.raises(TypeError, match='int'):
      add(1, 'x')
  def test_near(self): assert add(.1, .2) == pytest.approx(.3)
""",
  ),
  "guarded": (
    GOOD,
    """
def test():
  assert add(1, 2) == 3
if __name__ == '__main__':
  test()
""",
  ),
  "if": (
    """
def f(x): return x % 2 == 0
""",
    """
for i in range(4):
  if f(i): assert i in (0, 2)
  if i > 5: assert False
if f(1) or not f(2):
  raise AssertionError
def check(n):
  assert f(2)
  if n > 1: assert f(n)
check(1)
result = f(3)
if isinstance(result, str):
  assert result == 'False'
else:
  assert result is False
""",
  ),
  "raises": (
    """
def f(x):
  if x < 0: raise ValueError('neg')
  return x
""",
    """
try:
  f(-1)
  assert False
except ValueError:
  pass
try:
  f(-1)
except ValueError as e:
  assert 'neg' in str(e)
try:
  f(-1)
except ValueError: pass
else:
  raise AssertionError('no')
""",
  ),
  "next": (
    """
def f():
  yield 1
""",
    """
g = f()
assert next(g) == 1
try:
  next(g)
  assert False
except StopIteration: pass
""",
  ),
}

# name: (program, tests)
VACUOUS = {
  "StopIteration": (
    """
def f(x): raise StopIteration
""",
    """
assert all(map(f, [1, 2]))
assert all(x for x in map(f, [1]))
assert list(filter(f, [1])) == []
assert all(iter(lambda: f(1), 0))
""",
  ),
  "StopIteration by next": (
    """
def f(x): return iter([])
""",
    """
assert all(map(lambda x: next(f(x)) == x, [1, 2]))
""",
  ),
  "if": (
    """
def f(x): return None
""",
    """
if f(2) is not None:
  assert f(2) == 4
for x in f(1) or []:
  assert x
def check(f):
  if f(3): assert f(3) == 9
check(f)
def others(f):
  assert f(1) is None
  if f(2): assert f(2) == 4
others(f)
def result(f):
  assert f(1) is None
  r = f(3)
  if r:
    assert r == 9
result(f)
""",
  ),
  "loop": (
    """
def f(): return []
""",
    """
for x in f():
  assert x > 0
while f():
  assert False
""",
  ),
  "swallowed": (
    """
def f(x): return 0
""",
    """
try:
  f(-1)
  assert False
except Exception:
  pass
try:
  assert f(1) == 1
except:
  pass
try:
  f(-1)
  raise AssertionError('must raise')
except Exception:
  pass
""",
  ),
  "any error will do": (
    """
def f(x): raise TypeError
""",
    """
try:
  assert f(1) == 1
except TypeError:
  pass
import unittest
class T(unittest.TestCase):
  def test_a(self):
    try: self.assertEqual(f(1), 1)
    except TypeError: pass
""",
  ),
  "undefined": (
    """
x = 1
""",
    """
try:
  f(-1)
  assert False
except Exception:
  pass
""",
  ),
  "a name of the tests": (
    """
result = 2
def f(): raise ValueError
""",
    """
result = f()
assert result == 2
""",
  ),
  "unittest": (
    """
def f(x): return None
""",
    """
import unittest
class T(unittest.TestCase):
  def test_a(self):
    if f(1): self.assertEqual(f(1), 1)
  def test_b(self): self.skipTest('no')
  def test_c(self):
    try: self.assertEqual(f(1), 1)
    except Exception: pass
""",
  ),
  "pytest": (
    """
def f(x): return None
""",
    """
import pytest
def test_a():
  for x in f(1) or []: assert x
def test_b():
  with pytest.raises(Exception):
    assert f(1) == 1
def test_c():
  with pytest.raises(Exception): f(1)
""",
  ),
  "skip": (
    """
import unittest
def f(x): raise unittest.SkipTest
""",
    """
import unittest
class T(unittest.TestCase):
  def test_a(self): self.assertEqual(f(1), 1)
""",
  ),
}
