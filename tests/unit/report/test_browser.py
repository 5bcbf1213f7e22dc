"""The page in a real browser, narrow and wide: nothing is thrown, nothing sticks out, pointing at a trial works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.report import Source, report_of
from sweeper.report.render import render
from tests.unit.report.conftest import random_records

MakeSource = Callable[..., Source]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on the PATH"),
]
LOOK = """<!doctype html><body style="margin:0"><iframe id="page" src="page.html" style="border:0;height:900px;width:%dpx"></iframe>
<pre id="seen"></pre><script>
document.getElementById("page").onload = (event) => {
  const page = event.target.contentDocument, root = page.documentElement;
  const line = page.querySelector(".lines path[data-trial]");
  line.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  document.getElementById("seen").textContent = JSON.stringify({
    over: root.scrollWidth - root.clientWidth,
    shown: [...page.querySelectorAll("svg")].filter((one) => one.getBoundingClientRect().width > 0).length,
    told: page.getElementById("told").textContent, lit: page.querySelectorAll(".lit").length,
  });
};
</script>"""


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_and_answers_in_a_browser(make_source: MakeSource, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(render(report_of(make_source(random_records(60)))))
    (tmp_path / "look.html").write_text(LOOK % width)
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000", f"--window-size={max(width, 500)},900", "--dump-dom",
            (tmp_path / "look.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = re.search(r'<pre id="seen">(\{.*\})</pre>', done.stdout)
    assert found is not None, done.stdout[-2000:]
    seen = json.loads(found[1])
    assert seen["over"] == 0
    assert seen["shown"] == 9  # curves, trade-off, parallel coordinates, five slices, the timeline: each once
    assert seen["told"].startswith("trial ")
    assert seen["lit"] >= 3
