"""Makes the pictures of README and the guide, in a real Chromium.

python docs/pictures.py page http://127.0.0.1:8000   # docs/page.webp: the page of a running service, after one click
python docs/pictures.py report lobby.html            # docs/report.webp: the top of `liveness calibrate --report`
"""

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
_SIZES = {"page": {"width": 1180, "height": 900}, "report": {"width": 1240, "height": 1280}}


def _shown(page: Page, kind: str, source: str) -> None:
    if kind == "report":
        page.goto(Path(source).resolve().as_uri())
        return
    page.goto(source)
    page.get_by_role("button", name="A print of her").click()
    page.get_by_text("Live from").wait_for(timeout=60_000)
    page.wait_for_timeout(2_000)  # until nothing moves any more


def main() -> None:
    """Make the picture that the command line names."""
    kind, source = sys.argv[1:]
    with sync_playwright() as playwright:
        # Debian's Chromium where CHROMIUM names it, else the one that `playwright install` brought.
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZES[kind])
        _shown(page, kind, source)
        taken = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(taken)).convert("RGB").save(DOCS / f"{kind}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
