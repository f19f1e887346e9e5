"""Means, paired differences and intervals, tables and curves: worked by hand on folders written by hand."""

import csv
import json

import numpy as np
import pytest
from folders import write_run, write_sweep

from grpo_jax.reports import tables
from grpo_jax.reports.curves import BINS, binned, charts
from grpo_jax.reports.page import interval, number, write_page
from grpo_jax.reports.records import collect, differing
from grpo_jax.reports.statistics import paired, t_interval
from grpo_jax.reports.svg import short, svg, ticks


def test_t_interval_by_hand():
  """1, 2, 3: s = 1, t(.975, 2) = 4.302653; two values a, b: half = t(.975, 1) · |a - b| / 2 = 12.706205 · …"""
  mean = t_interval([1, 2, 3])
  np.testing.assert_allclose(mean[:3], (2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rtol=1e-6)
  np.testing.assert_allclose(t_interval([0.0, 0.2])[:3], (0.1, 0.1 - 1.2706205, 0.1 + 1.2706205), rtol=1e-6)
  assert t_interval([4.0]) == (4.0, None, None, 1) and t_interval([5, 5, 5])[:3] == (5, 5, 5)
  with pytest.raises(ValueError, match="no values"):
    t_interval([])


def test_intervals_cover_as_often_as_they_say():
  """2,000 draws of five values: 95 % of the intervals hold the true mean, within four standard errors."""
  draws = np.random.default_rng(0).normal(3, 2, (2000, 5))
  held = [low <= 3 <= high for _, low, high, _ in map(t_interval, draws.tolist())]
  assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5


def test_differences_are_paired_by_seed():
  """What seeds share cancels: +.1 in each seed has no spread, though the seeds differ by a hundred times that."""
  base = {0: 0.0, 1: 10.0, 2: 20.0}
  less = paired({0: 0.1, 1: 10.1, 2: 20.1, 9: 5.0}, base)
  np.testing.assert_allclose(less[:3], (0.1, 0.1, 0.1), atol=1e-12)
  assert less.n == 3 and paired({4: 1.0}, base) is None
  np.testing.assert_allclose(paired({0: 1.0, 1: 12.0}, base)[:3], t_interval([1.0, 2.0])[:3])


@pytest.fixture
def sweep(tmp_path):
  """Two arms, three seeds; one run failed, one was never started, one was continued."""
  starts = {1: (0, 4, 7)}
  arms = {"b": lambda seed: {"greedy": (0.1, 0.3 + 0.1 * seed)},
          "a": lambda seed: {"greedy": (0.1, 0.5 + 0.1 * seed), "kl": False, "starts": starts.get(seed, (0,))},
          "c": lambda seed: {}}
  states = {("c", 0): {"state": "failed", "error": "ValueError: <b>no</b>"}, ("c", 1): None,
            ("c", 2): {"state": "running"}}
  return write_sweep(tmp_path, arms, (0, 1, 2), states=states)


def test_results_by_hand(sweep):
  collection = collect([sweep])
  b, a, c = tables.results(collection)
  assert [b["arm"], a["arm"], c["arm"]] == ["b", "a", "c"] and [b["runs"], a["runs"], c["runs"]] == [3, 3, 0]
  np.testing.assert_allclose([b["greedy"], a["greedy"], a["pass_rate"]], [0.4, 0.6, 0.3])
  np.testing.assert_allclose([a["greedy low"], a["greedy high"]], [0.6 - 0.2484138, 0.6 + 0.2484138], rtol=1e-6)
  np.testing.assert_allclose([a["greedy difference"], a["greedy difference low"]], [0.2, 0.2], atol=1e-9)
  assert b["greedy difference"] is None and c["greedy"] is None and a["greedy pairs"] == 3
  np.testing.assert_allclose(b["training reward"], np.mean([np.tanh(0.09) + 0.01 * s for s in range(3)]))


def test_measures_of_the_sweep_are_compared_too(tmp_path):
  """Of an evaluation what stands last; of training the mean of the last tenth: .1 · 20 and .1 · 19 of 20 lines."""
  arms = {name: lambda seed: {"rewards": [0.5] * 20} for name in ("a", "b")}
  collection = collect([write_sweep(tmp_path, arms, (0, 1), measures=("policy/kl", "pass_rate", "unheard of"))])
  a, b = tables.results(collection)
  np.testing.assert_allclose([a["policy/kl"], b["policy/kl difference"], a["pass_rate"]], [0.195, 0, 0.25], atol=1e-9)
  assert a["unheard of"] is None and a["policy/kl low"] == pytest.approx(0.195)


def test_costs_health_and_troubles_by_hand(sweep):
  collection = collect([sweep])
  cost, health, troubles = tables.costs(collection)[0], tables.health(collection), tables.troubles(collection)
  assert cost["iterations"] == 10 and cost["tokens sampled"] == 10 * 5 * 2 * 4
  assert cost["seconds"] == 10 * 0.5 + 2 * 1.0 and cost["peak MiB"] == 3 and cost["seconds per iteration"] == 0.5
  np.testing.assert_allclose([health[0]["KL, end"], health[0]["entropy, end"]], [0.1, 0.1])
  assert health[1]["KL, end"] is None and health[0]["truncated, most"] == 0.25
  assert [(t["run"], t["state"], t["restarts"], t["continued"]) for t in troubles] == [
    ("c-s0", "failed", 0, ""), ("a-s1", "done", 2, "rl at 4, rl at 7"), ("c-s1", "missing", 0, ""),
    ("c-s2", "unfinished", 0, "")]
  assert tables.differences(collection) == [
    {"arm": "b", "algorithm.beta": 0.0}, {"arm": "a", "algorithm.beta": 0.1}, {"arm": "c", "algorithm.beta": 0.2}]


def test_findings_of_the_doctor_by_hand(sweep):
  """Each kind once an arm, with the earliest of its evidence and the number of runs that have it."""
  for seed, step in ((0, 9), (1, 4)):
    found = [{"name": "truncated", "step": step, "evidence": f"<i>{step}</i>", "advice": "raise completion_buckets"}]
    (sweep / f"run-1-{seed}/summary.json").write_text(json.dumps({"findings": found}))
  assert tables.findings(collect([sweep])) == [
    {"arm": "a", "finding": "truncated", "runs": 2, "first": 4, "in": "a-s1", "evidence": "<i>4</i>",
     "advice": "raise completion_buckets"}]
  assert "&lt;i&gt;4&lt;/i&gt;" in write_page([sweep], sweep).read_text()


def test_the_page_has_it_all_and_escapes_what_it_is_given(sweep):
  page = write_page([sweep], sweep).read_text()
  assert "9 runs: 6 done, 1 failed, 1 unfinished, 1 missing" in page
  assert "0.600 [0.352, 0.848]" in page and "+0.200 [+0.200, +0.200]" in page
  assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in page and "<b>no</b>" not in page
  rows = list(csv.DictReader((sweep / "table.csv").open()))
  assert [row["arm"] for row in rows] == ["b", "a", "c"] and float(rows[1]["greedy difference"]) == pytest.approx(0.2)
  assert len(list(csv.DictReader((sweep / "runs.csv").open()))) == 9
  assert (sweep / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_curves_are_means_of_finished_runs_with_their_intervals(sweep):
  drawn = {c.metric: c for c in charts(collect([sweep]))}
  b, a, c = drawn["greedy"].lines
  assert [p.x for p in b.points] == [0, 10] and b.points[1].y == pytest.approx(0.4)
  assert b.points[1].low == pytest.approx(0.4 - 0.2484138) and c.points[0].y == pytest.approx(0.1)
  assert not drawn["policy/kl"].lines[1].points and len(drawn["reward/total"].lines[0].points) == 10
  assert a.points[0].low == pytest.approx(0.1) and a.points[0].high == pytest.approx(0.1)


def test_a_budget_of_tokens_puts_tokens_on_the_axis(tmp_path):
  sweep = write_sweep(tmp_path, {"a": lambda seed: {}}, (0, 1), budget={"tokens": 400})
  chart = charts(collect([sweep]))[0]
  assert chart.x_label == "sampled tokens" and [p.x for p in chart.lines[0].points] == [0, 400]


def test_long_curves_are_averaged_within_bins():
  assert binned([1, 2, 3, 4, 5], [1.0, 3.0, 5.0, 7.0, 9.0], 2) == {2: 2.0, 4: 6.0, 5: 9.0}
  steps = list(range(1, 1001))
  assert len(binned(steps, [0.0] * 1000, -(-1000 // BINS))) <= BINS


def test_plain_runs_are_grouped_into_arms_by_what_differs(tmp_path):
  for i, (beta, seed) in enumerate([(0.0, 0), (0.0, 1), (0.5, 0), (0.5, 1)]):
    write_run(tmp_path / str(i), beta=beta, seed=seed, greedy=(0.0, 0.2 + beta))
  collection = collect([tmp_path / str(i) for i in range(4)])
  assert collection.arms == ["beta=0.0", "beta=0.5"] and [len(collection.of(a)) for a in collection.arms] == [2, 2]
  assert tables.results(collection)[1]["greedy difference"] == pytest.approx(0.5)
  assert differing(collection.records) == ["algorithm.beta"]
  one = collect([tmp_path / "0"])
  assert one.arms == ["0"] and charts(one)[0].lines[0].points[1].low == pytest.approx(0.1)  # as its evaluation logged
  with pytest.raises(ValueError, match=r"holds neither sweep.json nor config.json"):
    collect([tmp_path])


def test_shards_in_folders_of_their_own_are_joined(tmp_path):
  arms = {"a": lambda seed: {}, "b": lambda seed: {}}
  for shard, missing in (("1", {("a", 1): None, ("b", 0): None}), ("2", {("a", 0): None, ("b", 1): None})):
    (tmp_path / shard).mkdir()
    write_sweep(tmp_path / shard, arms, (0, 1), states=missing)
  collection = collect([tmp_path / "1", tmp_path / "2"])
  assert [r.state for r in collection.records] == ["done"] * 4 and collection.arms == ["a", "b"]


def test_sweeps_side_by_side_keep_their_arms_apart(tmp_path):
  for name in ("one", "two"):
    (tmp_path / name).mkdir()
    write_sweep(tmp_path / name, {"a": lambda seed: {}}, (0, 1), name=name)
  collection = collect([tmp_path / "two", tmp_path / "one"])
  assert collection.arms == ["two: a", "one: a"] and [len(collection.of(a)) for a in collection.arms] == [2, 2]
  assert collection.name == "two, one"


def test_numbers_axes_and_intervals_as_text():
  assert [number(v) for v in (None, 3, 0.12345, 1234.6, 12345.6, 1e-5, "x", True)] == [
    "–", "3", "0.123", "1235", "12,346", "1e-05", "x", "True"]
  assert interval({"g": 0.5, "g low": 0.25, "g high": 0.75}, "g", "+") == "+0.500 [+0.250, +0.750]"
  assert interval({"g": 0.5}, "g") == "0.500" and interval({}, "g") == "–"
  assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(0, 4, 6, least=1) == [0, 1, 2, 3, 4]
  assert [short(v) for v in (0.25, 1500, 12000, 2.5e6)] == ["0.25", "1500", "12k", "2.5M"]


def test_a_chart_of_one_constant_point_has_an_axis(sweep):
  chart = charts(collect([sweep]))[0]
  point = chart.lines[0].points[0]._replace(low=None, high=None)
  lone = chart._replace(lines=[chart.lines[0]._replace(points=[point])])
  drawing = svg(lone)
  assert drawing.count("<text") > 3 and "nan" not in drawing
