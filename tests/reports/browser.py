"""A page in a real browser: what its document is once it has loaded, what its console says, what a probe finds."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
           "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed: apt-get install chromium")
FRAME = """<script>
addEventListener("load", () => {
  const found = {milliseconds: performance.now(), fetched: performance.getEntriesByType("resource").map((e) => e.name)};
  %s
  document.body.dataset.found = JSON.stringify(found);
});
</script></body>"""


def opened(page, profile) -> tuple[str, list[str]]:
  """The document once it has loaded, and the lines of its console."""
  done = subprocess.run([BROWSER, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
                        capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def probed(page, profile, probe: str) -> tuple[dict, list[str]]:
  """What lines of JavaScript put into `found` in a copy of the page, beside its time and what was fetched."""
  copy = page.with_name("probed.html")
  copy.write_text(page.read_text().replace("</body>", FRAME % probe))
  document, console = opened(copy, profile)
  found = re.search(r'data-found="(.*?)"', document)[1]
  return json.loads(html.unescape(found)), console
