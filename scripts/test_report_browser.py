#!/usr/bin/env python3
"""Tests of the report in a real Chromium: it asks for nothing, complains of nothing, fits its
window, prints, and axe-core finds nothing wrong with it in light and dark.

usage: test_report_browser.py FOLDER     where the browser's driver and axe-core are installed once;
                                         exit 77 if these or Chromium cannot be had
"""

import contextlib
import json
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import unittest
from pathlib import Path

from need import need

need({"matplotlib": "python3-matplotlib", "jinja2": "python3-jinja2"})

PACKAGES = ["playwright==1.65.2", "axe-playwright-python==0.1.8"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")
PAPER = 718         # pixels: what the browser's margins leave of A4

OVERFLOWS = """
() => {
  const wide = document.documentElement.scrollWidth > innerWidth ? ['the page'] : [];
  for (const part of document.querySelectorAll('main *:not(.scroll *)')) {
    const box = part.getBoundingClientRect();
    if (box.width > 0 && box.right > innerWidth + 0.5) wide.push(part.outerHTML.slice(0, 80));
  }
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect();
    for (const label of svg.querySelectorAll('text')) {
      const box = label.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1
          || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        wide.push(svg.getAttribute('aria-label').slice(0, 40) + ': ' + label.textContent);
    }
  }
  return wide;
}"""


def skip(reason):
    """End as a skipped test."""
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def install(folder):
    """Let this process import PACKAGES from an environment in `folder`, made there once."""
    ready, wanted = folder / "ready", " ".join(PACKAGES)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--timeout", "20",
               "--retries", "1", "--disable-pip-version-check", *PACKAGES]
        for command in [sys.executable, "-m", "venv", str(folder)], pip:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
                skip(f"{wanted} cannot be installed: {said[-1]}")
        ready.write_text(wanted)
    site.addsitedir(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))


if len(sys.argv) != 2:
    print(f"usage: {sys.argv[0]} FOLDER", file=sys.stderr)
    sys.exit(2)
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
if not CHROMIUM:
    skip(f"none of {', '.join(BROWSERS)} is installed")
install(Path(sys.argv.pop()).resolve())

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import report_data as data
import report_page as page_of
from test_report import comparison, evidence, run


class BrowserTest(unittest.TestCase):
    """Each page, at each width, in each scheme."""

    pages = {}

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="attest pages ")
        cls.addClassCleanup(folder.cleanup)
        other = json.loads(json.dumps(run("another")).replace("avx512", "neon"))
        documents = {"run": [run()], "everything": [evidence(run("one")), evidence(other),
                                                    comparison()], "commit": [comparison()]}
        results = Path(__file__).resolve().parent.parent / "results"
        for path in sorted(results.glob("*/*-limits.json"))[:1]:
            documents["limits"] = [json.loads(path.read_text(encoding="utf-8"))]
        for name, found in documents.items():
            path = Path(folder.name) / f"{name}.html"
            path.write_bytes(page_of.render([data.check_document(document) for document in found]))
            cls.pages[name] = path

    def test_every_page_at_every_width_in_both_schemes(self):
        with self.chromium() as chromium:
            for name, path in self.pages.items():
                for width in WIDTHS:
                    for scheme in SCHEMES:
                        with self.subTest(page=name, width=width, scheme=scheme):
                            self.check(chromium, path, width, scheme)

    def test_every_page_fits_on_paper(self):
        with self.chromium() as chromium:
            for name, path in self.pages.items():
                with self.subTest(page=name):
                    page = chromium.new_page(viewport={"width": PAPER, "height": 1000})
                    page.emulate_media(media="print", color_scheme="dark")
                    page.goto(path.as_uri())
                    self.assertEqual(page.evaluate(OVERFLOWS), [])
                    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    self.assertEqual(ground, "rgb(254, 254, 254)", "dark ink on dark paper")
                    self.assertTrue(page.pdf(format="A4").startswith(b"%PDF"))
                    page.close()

    def test_faults_are_seen(self):
        """The checks themselves: a page with one fault of each kind fails each of them."""
        path = self.pages["commit"].with_name("faulty.html")
        source = self.pages["commit"].read_text(encoding="utf-8")
        path.write_text(source.replace("<main>", "<main><p style='width:2000px;color:#ddd'>wide</p>"
                                       "<img src='none.png'><script>console.log(1)</script>"))
        with self.chromium() as chromium:
            told, page = self.visit(chromium, path, 390, "light")
            self.assertEqual(len(told), 3, told)    # the request, its failure, the script's line
            self.assertIn("the page", page.evaluate(OVERFLOWS))
            self.assertIn("image-alt", [v["id"] for v in Axe().run(page).response["violations"]])

    @staticmethod
    @contextlib.contextmanager
    def chromium():
        """A browser, for as long as it is needed."""
        with sync_playwright() as driver:
            found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                yield found
            finally:
                found.close()

    @staticmethod
    def visit(chromium, path, width, scheme):
        """(what the page asked for and what the console said, the open page)."""
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        told = []
        page.on("console", lambda message: told.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("request", lambda request: told.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        told.remove(f"request: {path.as_uri()}")
        return told, page

    def check(self, chromium, path, width, scheme):
        """One page, width and scheme."""
        told, page = self.visit(chromium, path, width, scheme)
        self.assertEqual(told, [])
        self.assertEqual(page.evaluate(OVERFLOWS), [])
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        self.assertEqual(page.evaluate(OVERFLOWS), [])
        found = Axe().run(page).response["violations"]
        self.assertEqual([(v["id"], v["nodes"][0]["html"][:200]) for v in found], [])
        page.close()


if __name__ == "__main__":
    unittest.main()
