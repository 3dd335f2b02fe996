"""The lineage page in a real browser: readable without script, no requests, walked by keyboard, safe, printable."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.reporting.trace_page import trace_page

Build = Callable[..., dict[str, Any]]

HOSTILE = ('"><script>window.pwned=1</script><img src="{0}/a" onerror="window.pwned=2">'
           "<style>@import '{0}/b'</style>'`]]><svg onload=window.pwned=3>\u202egpj.exe\x00</title></text>")

BOXES = """JSON.parse(JSON.stringify([...document.querySelectorAll('a.cell .body')].map(
    (one) => one.getBoundingClientRect())))"""

#: Of an element's text: the ratio of contrast to the colour given, by WCAG 2.1.
CONTRAST = """((one, under) => {
  const level = (colour) => {
    const part = colour.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const style = getComputedStyle(one), below = getComputedStyle(under);
  const [a, b] = [level(one instanceof SVGElement ? style.fill : style.color),
    level(under instanceof SVGElement ? below.fill : below.backgroundColor)].sort();
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})"""


@pytest.fixture
def broken(build_trace: Build, verified: Build) -> dict[str, Any]:
    """A trace with each verdict."""
    return verified(build_trace(), contradicted="file:data/raw/scenes/x.tif", absent="source:0", moved_on="params")


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    return (a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
            and a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"])


def test_page_asks_the_network_for_nothing(broken: dict[str, Any], browser: Any, site: Any) -> None:
    address = site.put(trace_page(broken))
    browser.open(address)
    browser.click("a.cell[data-cell='artifact:data/raw']")
    browser.js("document.querySelector('#unfold').click()")
    assert [url for url in browser.requested() if not url.startswith("data:")] == [address]
    assert site.asked == ["/page.html"]
    assert browser.problems() == []


def test_graph_reads_without_script(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)), script=False)
    boxes = browser.js(BOXES)
    assert len(boxes) == 20
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert browser.js("getComputedStyle(document.querySelector('#toolbar')).display") == "none"
    targets = "[...document.querySelectorAll('a[href^=\"#\"]')].map((one) => one.getAttribute('href').slice(1))"
    assert browser.js(f"{targets}.length") > 20
    assert browser.js(f"{targets}.filter((id) => !document.getElementById(id))") == []
    browser.click("a.cell[data-cell='stage:train']")
    assert browser.js("document.querySelector('.entry:target h3').textContent").startswith(" train")


@pytest.mark.parametrize("label", [
    "maps/x_class.tif", "W" * 80, "雲" * 40, "maps/" + "mW" * 14 + ".tif", "nopqu0248" * 6])
def test_text_stays_within_its_box(build_trace: Build, verified: Build, browser: Any, site: Any, label: str) -> None:
    browser.open(site.put(trace_page(verified(build_trace(label)))))
    sticking_out = """[...document.querySelectorAll('a.cell')].filter((cell) => {
      const mark = cell.querySelector('.mark') || cell.querySelector('.body');
      const edge = mark.getBoundingClientRect()[mark.matches('.body') ? 'right' : 'left'];
      return [...cell.querySelectorAll('text')].some((one) => one.getBoundingClientRect().right > edge);
    }).map((cell) => cell.dataset.cell)"""
    assert browser.js(sticking_out) == []
    assert label in browser.js("document.querySelector('a.cell title').textContent")


def test_click_shows_details_and_escape_closes_them(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)))
    before = browser.js(BOXES)
    browser.click("a.cell[data-cell='artifact:data/raw']")
    assert [box["x"] for box in browser.js(BOXES)] == [box["x"] for box in before]  # nothing moves under the pointer
    said = browser.js("document.querySelector('#panel').innerText")
    assert "data/raw/scenes/x.tif" in said  # its files are unfolded
    assert "it is contradicted" in said
    assert browser.js("document.querySelectorAll('#panel .entry[id], #panel .entry [id]').length") == 0
    near = browser.js("[...document.querySelectorAll('a.cell.near')].map((one) => one.dataset.cell).sort()")
    assert near == ["artifact:data/raw", "stage:acquire", "stage:export", "stage:train"]
    browser.click("#panel a[href='" + browser.js(
        "document.querySelector(\"a.cell[data-cell='stage:acquire']\").getAttribute('href')") + "']")
    assert browser.js("document.querySelector('#panel h3').innerText").startswith("acquire")
    browser.key("Escape")
    assert browser.js("document.querySelector('#panel').innerText").startswith("Arrows lead")
    assert browser.js("document.activeElement.dataset.cell") == "stage:acquire"


def test_arrows_walk_along_the_graph(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)))
    browser.js("document.querySelector('a.cell').focus()")

    def press(key: str) -> str:
        browser.key(key)
        return str(browser.js("document.activeElement.dataset.cell"))

    assert press("ArrowRight") == "statement"
    assert press("ArrowLeft") == "subject"
    assert press("ArrowDown") == "stage:export"
    assert press("ArrowRight") == "code of stage:export"
    assert press("ArrowLeft") == "stage:export"
    assert [press("ArrowDown") for _ in range(4)] == [
        "artifact:models/checkpoint", "stage:train", "artifact:data/raw", "stage:acquire"]
    browser.key("Enter", "\r")
    assert browser.js("document.querySelector('#panel h3').innerText").startswith("acquire")
    assert browser.js("document.activeElement.id") == "panel"


def test_find_fades_what_does_not_match(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)))
    browser.key("/")
    assert browser.js("document.activeElement.id") == "find"
    browser.call("Input.insertText", text="training/step")
    plain = "[...document.querySelectorAll('a.cell:not(.other)')].map((one) => one.dataset.cell)"
    assert browser.js(plain) == ["code of stage:train"]
    assert browser.js("document.querySelector('#matches').textContent") == "1 of 20 boxes"
    seen = "[...document.querySelectorAll('#ledger tbody tr')].filter((row) => row.getClientRects().length)"
    assert browser.js(f"{seen}.map((row) => row.querySelector('th').textContent)") == ["pipeline/training/step.py"]
    browser.key("Escape")
    assert browser.js(f"{plain}.length") == 20
    assert browser.js("[...document.querySelectorAll('[data-hide]')].length") == 0
    browser.js("""(() => { const one = document.querySelector('#of-verdict'); one.value = 'contradicted';
        one.dispatchEvent(new Event('input')); })()""")
    assert browser.js(plain) == ["artifact:data/raw"]
    browser.js("""(() => { const one = document.querySelector('#of-kind'); one.value = 'source';
        one.dispatchEvent(new Event('input')); })()""")
    assert browser.js(plain) == []


def test_first_broken_link_leads_to_its_box(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)))
    order = browser.js("[...document.querySelectorAll('h2')].map((one) => one.innerText)")
    assert order[0] == "First broken link: data/raw/scenes/x.tif"
    assert browser.js("document.querySelector('.first').getBoundingClientRect().bottom") < 400
    browser.click(".first a")
    row = "document.querySelector('.first a').getAttribute('href').slice(1)"
    assert browser.js(f"document.getElementById({row}).getClientRects().length") == 1
    assert browser.js(f"document.getElementById({row}).querySelector('th').innerText") == "data/raw/scenes/x.tif"


def test_verdicts_are_shapes_borders_and_words(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)))
    looks = browser.js("""Object.fromEntries(['verified', 'moved_on', 'absent', 'contradicted'].map((verdict) => {
      const cell = document.querySelector('a.cell.' + verdict), border = getComputedStyle(cell.querySelector('.body'));
      return [verdict, [cell.querySelector('.mark').innerHTML, border.strokeDasharray + border.strokeWidth,
        cell.getAttribute('aria-label').split('; ').pop()]];
    }))""")
    for part in range(3):
        assert len({look[part] for look in looks.values()}) == 4
    assert [look[2] for look in looks.values()] == ["verified", "moved on", "not here", "contradicted"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_in_light_and_dark(broken: dict[str, Any], browser: Any, site: Any, scheme: str) -> None:
    browser.open(site.put(trace_page(broken)), prefers_color_scheme=scheme)
    paper = browser.js("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]")
    assert (int(paper) > 128) == (scheme == "light")
    cells = browser.js(f"[...document.querySelectorAll('a.cell')].flatMap((cell) => [...cell.querySelectorAll('text')]"
                       f".map((one) => {CONTRAST}(one, cell.querySelector('.body'))))")
    words = browser.js(f"[...document.querySelectorAll('.verdict p, .verdict strong, .verdict dt, .first a')]"
                       f".map((one) => {CONTRAST}(one, one.closest('.verdict')))")
    marks = browser.js(f"['verified', 'moved_on', 'contradicted'].map((kind) => {{ const cell = document.querySelector("
                       f"'a.cell.' + kind); return {CONTRAST}(cell.querySelector('.mark > :first-child'), "
                       "cell.querySelector('.body')); })")
    assert min(cells) >= 4.5
    assert min(words) >= 4.5
    assert min(marks) >= 3


@pytest.mark.parametrize("script", [True, False])
def test_hostile_names_are_only_text(
    build_trace: Build, verified: Build, browser: Any, site: Any, script: bool
) -> None:
    name = HOSTILE.format(site.address)
    found = build_trace(name)
    for node in found["nodes"]:
        node["label"] = name
        node["facts"] = {name: name, **node["facts"]}
    renamed = {node["id"]: node["id"] + name for node in found["nodes"] if node["id"] != "subject"}
    for node in found["nodes"]:
        node["id"] = renamed.get(node["id"], node["id"])
        node["kind"] = node["kind"] if node["kind"] != "lock" else name
    for edge in found["edges"]:
        edge.update({key: renamed.get(edge[key], edge[key]) for key in ("from", "to")}, how=name)
    found = verified(found)
    for link in found["verify"]["links"]:
        link.update(name=name, place=name, message=name, verdict="contradicted", expected=name, found=name)
    found |= {"missing": [name], "notes": [name], "signature": {"verdict": name, "message": name}}
    found["verify"] |= {"verdict": name, "first_broken": found["verify"]["links"][0]}
    browser.open(site.put(trace_page(found)), script=script)
    if script:
        browser.click("a.cell")
        assert browser.js("document.querySelectorAll('#panel .entry').length") == 1
    assert browser.js("window.pwned") is None
    assert site.asked == ["/page.html"]
    assert browser.problems() == []
    assert browser.js("document.querySelectorAll('img, iframe, object, embed, [onerror], [onload]').length") == 0
    assert browser.js("document.querySelectorAll('script, style, title:not(svg title)').length") == 3
    shown = browser.js("document.querySelector('h1 span').textContent")
    assert shown == name.replace("\u202e", "\\u202e").replace("\x00", "\\u0000")


def test_policy_stops_what_escaping_might_miss(broken: dict[str, Any], browser: Any, site: Any) -> None:
    smuggled = HOSTILE.format(site.address) + f"<link rel=stylesheet href='{site.address}/c'><form action=/d>"
    page = trace_page(broken).replace("</header>", f"</header>{smuggled}")
    browser.open(site.put(page))
    assert browser.js("document.querySelectorAll('header ~ img').length") == 1  # it is in the page
    assert browser.js("window.pwned") is None
    assert site.asked == ["/page.html"]
    assert browser.js("document.querySelector('#toolbar').hidden") is False  # the page's own script still runs


@pytest.mark.parametrize("script", [True, False])
def test_print_shows_everything_on_white(broken: dict[str, Any], browser: Any, site: Any, script: bool) -> None:
    browser.open(site.put(trace_page(broken)), script=script, type="print", prefers_color_scheme="dark")
    hidden = "[...document.querySelectorAll('#ledger tbody tr')].filter((row) => !row.checkVisibility({"
    assert browser.js(hidden + "contentVisibilityAuto: true})).length") == 0
    assert browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.js("getComputedStyle(document.querySelector('#toolbar')).display") == "none"
    assert browser.js("getComputedStyle(document.querySelector('a.cell .label')).fill") == "rgb(0, 0, 0)"
    paper = base64.b64decode(browser.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert paper.startswith(b"%PDF")


def test_narrow_screens_scroll_the_graph_and_not_the_page(broken: dict[str, Any], browser: Any, site: Any) -> None:
    browser.open(site.put(trace_page(broken)), width=390, height=800)
    assert browser.js("document.documentElement.scrollWidth") <= 390
    assert browser.js("document.querySelector('.board > .scroll').scrollWidth") > 390
