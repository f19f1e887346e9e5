"""The page in a real browser: no errors, nothing fetched, arms by their text, arms hidden and shown."""

import json
import math
import re
import shutil
import subprocess

import pytest
from folders import write_sweep

from grpo_jax.reports.page import write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
           "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr")
PROBE = """<script>
addEventListener("load", () => {
  const found = {milliseconds: performance.now(), fetched: performance.getEntriesByType("resource").map((e) => e.name)};
  const button = document.querySelector(".arms button");
  const away = () => document.querySelectorAll(".arm.away").length;
  if (button) { button.click(); found.hidden = away(); button.click(); found.shown = away(); }
  document.body.dataset.found = JSON.stringify(found);
});
</script></body>"""
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed: apt-get install chromium")
ARMS, SEEDS, ITERATIONS = 8, 5, 60


def opened(page, profile) -> tuple[str, list[str]]:
  """The document once it has loaded, and the lines of its console."""
  done = subprocess.run([BROWSER, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
                        capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def probed(page, profile) -> tuple[dict, list[str]]:
  """What PROBE finds in a copy of the page."""
  copy = page.with_name("probed.html")
  copy.write_text(page.read_text().replace("</body>", PROBE))
  document, console = opened(copy, profile)
  found = re.search(r'data-found="(.*?)"', document)[1]
  return json.loads(found.replace("&quot;", '"')), console


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """The page of 40 runs."""
  value = lambda seed, i: 0.5 + 0.4 * math.tanh(0.1 * i) + 0.02 * seed - 0.01 * seed * i  # noqa: E731
  arms = {f"beta={0.1 * a:.1f}": lambda seed, a=a: {"greedy": [value(seed, i + a) for i in range(7)]}
          for a in range(ARMS)}
  return write_page([write_sweep(tmp_path_factory.mktemp("sweep"), arms, range(SEEDS), iterations=ITERATIONS)],
                    tmp_path_factory.mktemp("page"))


def test_the_page_of_forty_runs_opens_without_errors_or_network(page, tmp_path):
  size = page.stat().st_size
  assert size < 5e6
  document, console = opened(page, tmp_path / "profile")
  assert not console
  text = re.sub(r"<[^>]+>", " ", document.split("<body>")[1])
  assert all(re.search(rf"\bbeta=0\.{a}\b", text) for a in range(ARMS)) and "40 runs: 40 done" in text
  assert document.count("<figure>") >= 8 and "NaN" not in document
  found, console = probed(page, tmp_path / "profile")
  assert not console and found["fetched"] == []
  charts = document.count('class="arm a0"')
  assert found["hidden"] == charts > 0 and found["shown"] == 0
  print(f"page of 40 runs: {size / 1e3:.0f} kB, loaded in {found['milliseconds']:.0f} ms")


def test_the_probe_sees_what_it_is_there_to_see(page, tmp_path):
  bad = tmp_path / "bad.html"
  policy = re.search(r"<meta http-equiv.*?>", page.read_text())[0]
  broken = page.read_text().replace("</h1>", '</h1><img src="https://example.invalid/x.png"><script>nothing()</script>')
  bad.write_text(broken.replace(policy, ""))
  found, console = probed(bad, tmp_path / "profile")
  assert found["fetched"] == ["https://example.invalid/x.png"] and "nothing is not defined" in "".join(console)
  bad.write_text(broken)
  _, console = opened(bad, tmp_path / "profile")
  assert "violates the following Content Security Policy" in "".join(console)  # the page forbids itself the network
