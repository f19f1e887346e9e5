r"""Answers of every kind as people and models write them: gold, what counts, what does not (fields split by " ~ ")."""

import json
import pathlib

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, RuleContext

CASES = [json.loads(line) for line in (pathlib.Path(__file__).parent / "answers.jsonl").read_text("utf-8").splitlines()]
EXCEPTIONS = {("10", r"\boxed{10\%}")}  # docs/rewards.md says why

# gold | right boxes | wrong boxes
KINDS = r"""
7 | 7 ~ +7 ~ 7.0 ~ 7.00 ~ \text{7} ~ \mathbf{7} ~ 14/2 ~ \frac{14}{2} ~ 7\text{ apples} ~ n=7 ~ n = 7 ~ 3+4=7 ~ \$7 ~ 7\,\text{kg} ~ 7 \; ~ (7) ~ {7} ~ \left(7\right) ~ 7^\circ ~ 7 \text{ or so}? | -7 ~ 77 ~ 7,8 ~ 7 \text{ or } 8 ~ 7x ~ [7,8] ~ (7,7) ~ \{7,8\} ~ 3+4=8 ~ \text{not } 7 ~ 7/2 ~ 7! ~ 7^2 ~ >7 ~ x>7 ~ 6.99999 ~ \text{seven or eight} ~ 7?8
-3 | −3 ~ –3 ~ - 3 ~ x=-3 ~ -\frac{6}{2} ~ -3.0 ~ \text{-3} ~ (-3) | 3 ~ +3 ~ --3 ~ \pm 3 ~ |-3|
1/2 | \frac12 ~ 0.5 ~ .5 ~ ½ ~ \frac{1}{2} ~ \dfrac{1}{2} ~ \tfrac12 ~ 2/4 ~ 50\% ~ {1\over 2}? ~ 2^{-1} ~ 1 / 2 ~ \cfrac{1}{2} | 1 ~ 2 ~ -\frac12 ~ 1/3 ~ 1:3 ~ \frac{2}{1} ~ 12
2\frac{3}{4} | 2.75 ~ \frac{11}{4} ~ 11/4 ~ 2 3/4 ~ 2¾ ~ 2\,\frac{3}{4} ~ 2 \frac34 ~ 2\text{ and }\frac{3}{4}? | 2\cdot\frac{3}{4} ~ \frac{3}{4} ~ 2 ~ 23/4 ~ -2.75
3.14 | 3.14 ~ 3.140 ~ 157/50 | 3.1415 ~ \pi ~ 3.1 ~ 314
0.1\overline{6} | \frac{1}{6} ~ 0.1\bar{6} ~ 1/6 ~ 0.1(6) | 0.16 ~ 0.166 ~ 0.\overline{16}
1000000 | 1,000,000 ~ 1\,000\,000 ~ 1 000 000 ~ 1{,}000{,}000 ~ 10^6 ~ 1\times 10^6 ~ 1e6 ~ 1.000.000 ~ \$1,000,000 ~ 1,\!000,\!000 ~ 1\cdot 10^{6} ~ 1 000 000 ~ 1\ 000\ 000 ~ 1 × 10⁶ ~ 1 ⋅ 10^6 ~ 1,000,000.00 | 1,000 ~ 1,000,00 ~ 1,0,0 ~ 100,000 ~ 10^5
6.02\times 10^{23} | 6.02e23 ~ 6.02 \cdot 10^{23} ~ 6.02×10²³ ~ 6.02*10^23 ~ 602 \times 10^{21} | 6.02\times 10^{22} ~ 6.02
75\% | 75\% ~ 75% ~ 75 ~ 0.75 ~ \frac34 ~ 75\text{ percent} ~ 75 percent ~ 75 \% | 7.5\% ~ 7.5 ~ 7500\% ~ 0.75\%
\$12.50 | \$12.50 ~ 12.5 ~ 12.50 ~ $12.5 ~ 12.50\text{ dollars} ~ 12.50 USD? ~ \text{\$12.50} ~ \$\,12.50 | 12.50\text{ cents} ~ £12.50 ~ €12.50 ~ 1250 ~ 12.50\% ~ \$125
5\text{ km} | 5 ~ 5\text{ km} ~ 5 km ~ 5\,\mathrm{km} ~ 5\text{ kilometers} ~ 5km ~ 5~\text{km}? ~ 5 \text{ kilometres} | 5\text{ m} ~ 5 m ~ 5000\text{ m} ~ 5\text{ km}^2 ~ 5 miles ~ 50\text{ km} ~ 5 cm
12\text{ cm}^2 | 12 ~ 12\text{ cm}^2 ~ 12\,\text{cm}^2 ~ 12\text{ square centimeters} ~ 12 cm² ~ 12 \mathrm{~cm}^{2} ~ 12 cm^2 | 12\text{ cm} ~ 12\text{ cm}^3 ~ 12\text{ m}^2
60\text{ mph} | 60 ~ 60 mph ~ 60\text{ mph} ~ 60 miles per hour? | 60\text{ km/h} ~ 60 m/s
45^\circ | 45 ~ 45° ~ 45^{\circ} ~ 45\degree ~ 45 degrees ~ 45\text{ degrees} ~ 45^\circ\text{}? | 45\text{ radians} ~ 135^\circ ~ \frac{\pi}{4}
(2, -3) | (2,-3) ~ \left(2, -3\right) ~ (2, -\frac{6}{2}) ~ (2.0,−3) ~ (2,\,-3) ~ (x,y)=(2,-3) ~ \big(2,-3\big) | (-3,2) ~ 2 ~ -3 ~ \{2,-3\} ~ (2,3) ~ (2,-3,0) ~ [2,-3]
(1, 2, 3) | (1,2,3) ~ \langle 1,2,3 \rangle ~ (1, 2, 6/2) | (3,2,1) ~ 1,2 ~ \{1,2,3\} ~ 123
[2, 5) | [2,5) ~ 2 \le x < 5 ~ x \in [2,5) ~ \left[2,5\right) ~ 2≤x<5 ~ 5 > x \ge 2 ~ [2, 10/2) | (2,5) ~ [2,5] ~ (2,5] ~ 2<x<5 ~ [2,6) ~ 2,5 ~ [2,\infty)
(-\infty, 3) | x<3 ~ (-\infty,3) ~ x \lt 3 ~ 3 > x ~ x \in (-\infty, 3) ~ \left(-\infty,3\right) ~ \{x \mid x<3\} ~ (-∞, 3) | x \le 3 ~ x>3 ~ (-\infty,3] ~ 3 ~ (3,\infty)
(-\infty,-1)\cup(1,\infty) | x<-1 \text{ or } x>1 ~ (1,\infty)\cup(-\infty,-1) ~ (-\infty, -1) \cup (1, +\infty) ~ (−∞,−1) ∪ (1,∞) | (-1,1) ~ x>1 ~ (-\infty,-1]\cup[1,\infty) ~ x<-1
\{1, 4, 9\} | \{9,4,1\} ~ 1,4,9 ~ \{1,4,9\} ~ \left\{1,4,9\right\} ~ 1, 4, \text{ and } 9 ~ 1, 4 and 9 ~ \{1;4;9\} | \{1,4\} ~ \{1,4,8\} ~ (1,4,9) ~ 1 ~ 149 ~ \{1,4,9,16\}
2, 3 | 2,3 ~ 3,2 ~ 2 \text{ and } 3 ~ x=2,3 ~ x=2 \text{ or } x=3 ~ x = 2, x = 3 ~ \{2,3\} ~ 2; 3 ~ x=2, 3 ~ 2 or 3 ~ x_1=2, x_2=3 ~ 2\text{ or }3 | 2 ~ 3 ~ 2,3,4 ~ 23 ~ 2.3 ~ 2,-3 ~ (2,3) ~ 2,2
1,234 | 1234 ~ 1,234 ~ 1{,}234 | 1.234 ~ 1,2,3,4 ~ 234
\pm\sqrt{2} | \sqrt2,-\sqrt2 ~ \pm \sqrt{2} ~ x=\pm\sqrt{2} ~ -\sqrt{2}, \sqrt{2} ~ ±√2 ~ x=\sqrt{2} \text{ or } x=-\sqrt{2} | \sqrt2 ~ -\sqrt{2} ~ \pm 2
1 \pm \sqrt{3} | 1+\sqrt{3}, 1-\sqrt{3} ~ 1\pm\sqrt 3 ~ x = 1 \pm \sqrt{3} | 1+\sqrt3 ~ \pm\sqrt{3}
\text{(C)} | C ~ (C) ~ \text{C} ~ \mathrm{C} ~ \textbf{(C)} ~ \text{(C)}\ 12 ~ C. Paris ~ C) 5 ~ Option C ~ \textbf{(C) } 12 ~ \mathbf{C} ~ c | A ~ (B) ~ B. Paris ~ CD ~ A, C ~ (A) or (C) ~ \text{A and C} ~ 12 ~ AC
Paris | Paris ~ paris ~ \text{Paris} ~ \textbf{Paris} ~ PARIS ~ "Paris" ~ Paris. ~ \mathrm{Paris} | London ~ Paris or London ~ not Paris ~ sirap ~ Par
\text{yes} | yes ~ Yes ~ \text{Yes.} ~ \textbf{yes} ~ YES | no ~ yes and no ~ yes or no ~ maybe yes ~ 1
\text{east} | East ~ east ~ \text{East} | west ~ northeast ~ east west ~ seat
x^2+2x+1 | (x+1)^2 ~ 1+2x+x^2 ~ x^2 + 2x + 1 ~ x(x+2)+1 ~ (x+1)(x+1) ~ x²+2x+1 ~ f(x)=x^2+2x+1 ~ y=(x+1)^2 | (x-1)^2 ~ x^2+1 ~ y^2+2y+1 ~ x^2+2x ~ 4 ~ 2x+1
\frac{\pi}{3} | \pi/3 ~ \frac13\pi ~ \frac{1}{3}\pi ~ π/3 ~ \frac{2\pi}{6} ~ \dfrac{\pi}{3} ~ \theta=\frac{\pi}{3} | 60 ~ \frac{\pi}{6} ~ 1.0472 ~ 3\pi ~ \pi
3+4i | 4i+3 ~ 3 + 4i ~ 3+4 i ~ z=3+4i ~ 3+i4? | 3-4i ~ 5 ~ 7 ~ 4+3i ~ (3,4)
\sqrt{50} | 5\sqrt{2} ~ 5\sqrt2 ~ \sqrt{50} ~ 50^{1/2} ~ 5√2 ~ 5 \cdot \sqrt{2} ~ \frac{10}{\sqrt{2}} | 7.07 ~ 2\sqrt5 ~ 50 ~ 25
\ln 2 | \ln(2) ~ \ln{2} ~ \log_e 2 ~ -\ln\frac12 ~ \frac{\ln 4}{2} | \log 2 ~ 0.693 ~ \ln 3 ~ 2
\frac{\sqrt{6}-\sqrt{2}}{4} | \sin 15^\circ? ~ \frac{\sqrt{6}}{4}-\frac{\sqrt{2}}{4} ~ \frac{1}{4}(\sqrt6-\sqrt2) ~ \frac{-\sqrt2+\sqrt6}{4} | \frac{\sqrt{6}+\sqrt{2}}{4} ~ \frac{\sqrt{6}-\sqrt{2}}{2}
x^2+y^2=4 | x^2 + y^2 = 4 ~ y^2+x^2=4 ~ x^2+y^2-4=0 ~ 4 = x^2+y^2 ~ 2x^2+2y^2=8 | x^2+y^2=2 ~ x^2-y^2=4 ~ 4 ~ x^2+y^2
y=2x+3 | y=2x+3 ~ 2x+3 ~ y = 3+2x ~ y-2x=3? ~ y-3=2x? | y=3x+2 ~ x=2y+3 ~ 2x-3 ~ 3
x=4 | 4 ~ x=4 ~ x = 4.0 ~ 4=x? ~ x=\frac{8}{2} | y=4 ~ x=-4 ~ x \ne 4 ~ x=4,5 ~ x>4 ~ x=5=4
\begin{pmatrix} 1 \\ -2 \end{pmatrix} | \begin{bmatrix} 1 \\ -2 \end{bmatrix} ~ \begin{pmatrix}1\\-2\end{pmatrix} ~ \begin{pmatrix} 1 \\ -\frac{4}{2} \end{pmatrix} ~ \left[\begin{array}{c} 1 \\ -2 \end{array}\right]? | \begin{pmatrix} -2 \\ 1 \end{pmatrix} ~ \begin{pmatrix} 1 & -2 \end{pmatrix} ~ (1,-2) ~ 1
\begin{pmatrix} 2 & 0 \\ 0 & 2 \end{pmatrix} | \begin{bmatrix}2&0\\0&2\end{bmatrix} ~ \begin{pmatrix} 2 & 0 \\ 0 & 2 \\ \end{pmatrix} | \begin{pmatrix} 0 & 2 \\ 2 & 0 \end{pmatrix} ~ \begin{pmatrix} 2 & 0 \end{pmatrix} ~ 2
101_2 | 101_2 ~ 101_{2} ~ (101)_2 ~ 101_{\text{two}}? ~ 101₂ | 101_3 ~ 5 ~ 110_2 ~ 101_{10}
2A_{16} | 2A_{16} ~ 2a_{16} | 2B_{16} ~ 42
7:45 | 7:45 ~ 07:45 ~ 7:45\text{ a.m.} ~ 7:45 AM ~ \text{7:45} | 7:54 ~ 45 ~ 7 ~ 7.45 ~ 8:45
3:30\text{ PM} | 3:30 PM ~ 3:30 p.m. ~ 3:30 ~ 3:30\text{ pm} | 3:30 AM ~ 3:03 PM
3:4 | 3:4 ~ 6:8 ~ 3 : 4 ~ \frac{3}{4} ~ 3\colon 4? | 4:3 ~ 3 ~ 7 ~ 3:5
1:2:3 | 1:2:3 ~ 2:4:6 | 3:2:1 ~ 1:2 ~ 1,2,3
\emptyset | \emptyset ~ \varnothing ~ ∅ ~ \{\} ~ \{ \} | 0 ~ \{0\} ~ \{\emptyset\}? ~ 1
\mathbb{R} | \mathbb{R} ~ (-\infty,\infty) ~ (-\infty, +\infty) ~ \text{all real numbers} ~ ℝ ~ x\in\mathbb{R} | 0 ~ (0,\infty) ~ \mathbb{Z}
\infty | \infty ~ +\infty ~ ∞ | -\infty ~ 0 ~ 1
-\infty | -\infty ~ −∞ | \infty ~ 0
5! | 120 ~ 5! ~ 5\cdot 4! | 5 ~ 24
\binom{6}{3} | 20 ~ \dbinom{6}{3} ~ {6 \choose 3}? | 18 ~ 6
k = 2\sqrt{5} | 2\sqrt{5} ~ \sqrt{20} ~ k=2\sqrt5 | \sqrt{5} ~ m=2\sqrt5 ~ 4.47
2^{n} - 1 | 2^n-1 ~ -1+2^n | 2^{n-1} ~ 2^n+1 ~ 2n-1
\frac{x}{y} | x/y ~ \frac{x}{y} ~ xy^{-1} | \frac{y}{x} ~ xy
\cos\theta | \cos(\theta) ~ \cos \theta ~ \sin(\frac{\pi}{2}-\theta) | \sin\theta ~ \cos 2\theta
e^{2} | e^2 ~ \exp(2) ~ e\cdot e | 2e ~ 7.389
a^2b | ba^2 ~ a\cdot a\cdot b ~ a^{2}b | ab^2 ~ a^2
"""

TEXTS = r"""
42 | The final answer is 42. ~ Final Answer: 42 ~ **Final answer:** 42 ~ The answer is **42**. ~ Answer: $42$ ~ #### 42 ~ ####42 ~ <answer>42</answer> ~ <answer> 42 </answer> ~ <think>maybe 41</think>\nThe answer is 42. ~ <think>\boxed{41}</think>\boxed{42} ~ The answer is: 42 dollars. ~ So, 40+2 = 42 ~ So the total is 42. ~ The answer is $\boxed{42}$. ~ $$\boxed{42}$$ ~ \[ \boxed{42} \] ~ \(\boxed{42}\) ~ Therefore, the answer is \(42\). ~ ANSWER: 42 ~ Thus, the final answer is $\boxed{42}$. ~ **42** ~ $42$ ~ The answer is forty or so. Final answer: 42 ~ A: 42 ~ 답: 42? ~ 答案：42 ~ 答案是：42。 ~ The correct answer is 42. ~ Hence x = 42. ~ \boxed{42} apples. ~ \boxed{ 42 } ~ First 3 then 4.\n\n42 ~ \boxed 42? ~ She has 42 apples left. ~ The answer is 42, as required. ~ Answer: 42\n\nExplanation: 40+2. ~ The answer is 42 because 40+2=42. ~ Answer: **42** ~ **Answer:** 42 ~ The answer is $42.$ ~ I think the answer is 42 ~ It is not 41. The answer is 42. ~ Answer\n42? | The answer is not 42. ~ The answer isn't 42 ~ The answer is 41 or 42. ~ The answer is either 41 or 42 ~ Maybe 42, maybe 43 ~ The answer is 42 or 43 ~ \boxed{42} or \boxed{43} ~ \boxed{43} or \boxed{42} ~ <answer>41</answer><answer>42</answer> ~ <answer>42 or 43</answer> ~ <answer></answer>42 ~ #### 41\n#### 42 ~ The answer is 42. Wait, the answer is 43. ~ Final answer: 42. Final answer: 43. ~ \boxed{42}. Wait, no. ~ 42 or 43 ~ The answer is between 41 and 42 ~ \boxed{42 ~ <think>\boxed{42} ~ 41, 42, 43 ~ \boxed{not 42} ~ The answer is 42, or 43 ~ \boxed{\text{cannot be determined}} ~ The answer could be 42 or 43. ~ It is either 42 or 41 ~ the answer is never 42 ~ \boxed{42} is wrong. ~ \boxed{42}\boxed{43}\boxed{42} ~ Neither 41 nor 42. ~ The answer is 43, not 42 ~ I don't know ~ I'm not sure, maybe 42. ~ \boxed{42=43} ~ \boxed{\boxed{42}\boxed{43}} ~ The answer is definitely not $42$. ~ The answer cannot be 42.
2, 3 | The answers are 2 and 3. ~ \boxed{2} and \boxed{3} ~ The answer is x = 2 or x = 3. ~ Final answer: 2, 3 ~ #### 2, 3 | \boxed{2} ~ The answer is 2. ~ \boxed{2}, \boxed{4}
B | The answer is B. ~ Answer: B ~ The correct answer is (B) 42. ~ \boxed{B} ~ <answer>B</answer> ~ Answer: (B) ~ The answer is **B**. ~ #### B ~ Final answer: B) Paris ~ B ~ (B) ~ The correct option is B. | The answer is A or B. ~ The answer is not B ~ Answer: ABCD ~ A B C D ~ \boxed{A}\boxed{B} ~ The answer is C. ~ Answer: A, B ~ BC
"""


def score(rule, gold, completion):
  outcome = rules.evaluate(Call(rule, completion, Example("q", gold), RuleContext(1, False, 100)))
  return "refused" if outcome.failure else outcome.score


def table(text):
  """(gold, completion, right) for each line; a form with a question mark at its end is not promised."""
  for line in text.strip().splitlines():
    gold, right, wrong = (part.strip() for part in line.split(" | "))
    for verdict, forms in ((1.0, right), (0.0, wrong)):
      yield from ((gold, form.strip(), verdict) for form in forms.split(" ~ ") if not form.strip().endswith("?"))


def test_the_cases_of_public_reports():
  wrong = [case for case in CASES if score(case["rule"], case["gold"], case["completion"]) != case["right"]]
  assert {(case["gold"], case["completion"]) for case in wrong} == EXCEPTIONS


def test_every_kind():
  cases = [(gold, rf"\boxed{{{form}}}", verdict) for gold, form, verdict in table(KINDS)]
  assert not [(case, found) for case in cases if (found := score("math", case[0], case[1])) != case[2]]


def test_every_statement():
  cases = [(gold, form.replace("\\n", "\n"), verdict) for gold, form, verdict in table(TEXTS)]
  assert not [(case, found) for case in cases if (found := score("math", case[0], case[1])) != case[2]]
