"""How often the page looks at its camera."""

from pathlib import Path
from typing import Any

from support.browser import Tab

_COUNT_LOOKS = """() => {
  const look = CanvasRenderingContext2D.prototype.getImageData;
  const pause = window.setTimeout;
  window.looks = window.pausesMs = 0;
  CanvasRenderingContext2D.prototype.getImageData = function (...where) {
    window.looks++;
    return look.apply(this, where);
  };
  window.setTimeout = (then, ms, ...others) => {
    window.pausesMs += ms ?? 0;
    return pause(then, ms, ...others);
  };
  const camera = document.querySelector('#camera');
  camera.setAttribute('hold-ms', '600000');
  void camera.start();
}"""


def looks_a_second(browser: Any, visitor: Tab) -> float:
    """Looks in a second of the page's processor time and the pauses that it asks for.

    That is what they are on an idle machine; other work on it hardly changes these two. Linux only (/proc).
    """
    visitor.page.evaluate(_COUNT_LOOKS)
    visitor.wait_for("window.looks > 5")
    looks, pauses_s, used_s = *_counted(visitor), _page_s(browser)
    visitor.wait_for(f"window.looks >= {looks + 20}")
    more, later_s, used_later_s = *_counted(visitor), _page_s(browser)
    return (more - looks) / (used_later_s - used_s + later_s - pauses_s)


def _counted(visitor: Tab) -> tuple[int, float]:
    looks, pauses_s = visitor.page.evaluate("[looks, pausesMs / 1000]")
    return looks, pauses_s


def _page_s(browser: Any) -> float:
    """Processor time of the threads that run pages, in seconds."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    pids = [process["id"] for process in processes if process["type"] == "renderer"]
    return sum(int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9
