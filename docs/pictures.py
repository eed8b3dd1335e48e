"""The pictures of the report in the README, taken from this checkout's published results: docs/report-*.png.

    python -m docs.pictures

Chromium and its driver are needed. Only published results are shown; the pictures have 128 colours, to stay small.
"""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.paths import project_root
from core.report import site
from tests.browser import CHROMIUM, DRIVER, MISSING, Browser

PAPER = "lottery_ticket"
SIZE = (1180, 760)
SHOTS = {
    "report-front": ("light", "index", "content"),
    "report-verdicts": ("light", PAPER, "verdicts"),
    "report-curves": ("dark", PAPER, "curves"),
}


def published(folder: Path) -> Path:
    """The published results alone, copied to a folder."""
    ignored = shutil.ignore_patterns("runs", "report")
    return Path(shutil.copytree(project_root() / "results", folder / "results", ignore=ignored))


def small(picture: bytes) -> bytes:
    """The same PNG with a palette of 128 colours."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            written, "PNG", optimize=True
        )
    return written.getvalue()


def main() -> None:
    """Take the pictures."""
    if not (CHROMIUM and DRIVER):
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as name, Browser() as browser:
        results = published(Path(name))
        site.build_site(results, [load_config(slug) for slug in all_slugs()], results / "report")
        browser.resize(*SIZE)
        for picture, (scheme, page, section) in SHOTS.items():
            browser.scheme(scheme)
            browser.open(results / "report" / f"{page}.html")
            browser.run("document.getElementById(arguments[0]).scrollIntoView()", section)
            path = project_root() / "docs" / f"{picture}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(small(browser.picture()))
            print(f"{path.relative_to(project_root())}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
