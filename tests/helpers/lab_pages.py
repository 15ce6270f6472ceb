"""What a person does in JupyterLab: open a notebook, run all, click, and how long an answer takes."""

import re

from tests.helpers.servers import Server

# the time from an event to the first frame that is painted after the last change that it caused, in ms
_WATCH = """selector => {
  const watched = document.querySelector(selector);
  window.m2sTime = {start: 0, end: 0};
  const begin = () => { window.m2sTime.start = window.m2sTime.start || performance.now(); };
  for (const kind of ["click", "keydown", "change"])
    document.addEventListener(kind, begin, {capture: true, once: true});
  new MutationObserver(() => requestAnimationFrame(() => { window.m2sTime.end = performance.now(); }))
    .observe(watched, {childList: true, subtree: true, attributes: true, characterData: true});
}"""

# the text with the least contrast against the first background behind it that is not transparent
_CONTRAST = """selector => {
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  let worst = {ratio: 99};
  for (const e of document.querySelector(selector).querySelectorAll("*")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.disabled) continue;
    let behind = e, colour = [255, 255, 255];
    for (; behind; behind = behind.parentElement) {
      const c = rgb(getComputedStyle(behind).backgroundColor);
      if (c.length < 4 || c[3] > .99) { colour = c; break; }
    }
    const [x, y] = [light(rgb(getComputedStyle(e).color)), light(colour)].sort((p, q) => q - p);
    const ratio = (x + .05) / (y + .05);
    if (ratio < worst.ratio) worst = {ratio, text: e.textContent.slice(0, 60), class: e.className};
  }
  return worst;
}"""


def open_notebook(page, server: Server, name: str) -> None:
    """Open a notebook and wait until its kernel is idle."""
    page.goto(f"{server.url}/lab/tree/{name}?token={server.token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    # the status bar knows when the kernel is ready; the toolbar says so too early
    page.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/", timeout=60_000)
    if page.locator(".jp-Dialog button.jp-mod-accept").count():
        page.click(".jp-Dialog button.jp-mod-accept")


def run_all(page, until: str, timeout_s: float = 150) -> None:
    """Run > Run All Cells, and wait for an element; an error in a cell fails at once."""
    page.click(".lm-MenuBar-item >> text=Run")
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
    wrong = '.jp-RenderedText:has-text("Traceback (most recent call last)")'
    page.wait_for_selector(f"{until}, {wrong}", timeout=timeout_s * 1000)
    errors = page.locator(wrong)
    assert errors.count() == 0, errors.first.inner_text()
    page.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/", timeout=timeout_s * 1000)
    assert errors.count() == 0, errors.first.inner_text()


def watch(page, selector: str) -> None:
    """From the next click, key or choice on, time how long `selector` takes to show its answer."""
    page.evaluate(_WATCH, selector)


def measured_ms(page) -> float:
    """Milliseconds from that event to the painted answer."""
    page.wait_for_function("window.m2sTime.end > window.m2sTime.start && window.m2sTime.start > 0")
    page.wait_for_timeout(150)  # later changes count too
    return page.evaluate("window.m2sTime.end - window.m2sTime.start")


def least_contrast(page, selector: str) -> dict:
    """The text that stands out least (WCAG's ratio, 4.5 is readable): ratio, text, class."""
    return page.evaluate(_CONTRAST, selector)
