"""The page of `matrix --html`, in a real browser: Debian's Chromium, headless."""

import re
import shutil
import socket
from contextlib import closing
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.cli.matrix_page import page
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, InterfaceKind, Vpc
from droplan_daemon.model.policy import Allow, InterfacePolicy, Policy, PortProtocol, Ports
from droplan_daemon.policy.matrix import matrix
from droplan_daemon.policy.selector import parse
from tests.cli.browser import Browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no browser: install the packages chromium and chromium-driver",
)
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</script><script>document.title='owned'</script>",
    "{{7*7}}${document.title='owned'}",
)


def _droplet(number: int, name: str, *tags: str) -> Droplet:
    public = (parse_address(f"203.0.113.{number}"), parse_address(f"2001:db8::{number}"))
    return Droplet(number, name, tags, "nyc3", "ours", (parse_address(f"10.0.0.{number}"),), public)


def _fleet(*droplets: Droplet) -> Fleet:
    return Fleet(droplets, (Vpc("ours", "ours", "nyc3", "10.0.0.0/24"),))


FLEET = _fleet(_droplet(1, "web-1", "web"), _droplet(2, "web-2", "web"), _droplet(3, "db-1", "db"))
POLICY = Policy(
    private=InterfacePolicy(managed=True, allow_peers=False),
    allows=(
        Allow("sql", parse("tag:db"), parse("tag:web"), ports=(Ports(PortProtocol.TCP, 5432, 5432),)),
        Allow("web", parse("tag:web"), parse("tag:web")),
    ),
)


def _written(tmp_path: "Path", fleet: Fleet = FLEET, policy: Policy = POLICY) -> "Path":
    path = tmp_path / "page.html"
    path.write_text(page(matrix(policy, fleet)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with Browser() as one:
        yield one


class _Requests(HTMLParser):
    """Everything in a page that a browser would fetch, or that would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "srcset", "data"}]
        self.found += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        self.found += [tag] if tag in {"link", "iframe", "object", "embed", "img", "base"} else []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_is_two_scripts_and_no_request_whatever_the_names(text: str) -> None:
    """The data and the program; names are neither markup nor a way out of the data."""
    fleet = _fleet(_droplet(1, text, text), _droplet(2, "web", "web"))
    parser = _Requests()
    parser.feed(page(matrix(POLICY, fleet)))
    assert (2, []) == (parser.scripts, parser.found)


def test_a_page_names_no_other_place() -> None:
    """No address of the Web but the name of the SVG namespace, and a policy that allows nothing else."""
    text = page(matrix(POLICY, FLEET))
    assert {"http://www.w3.org/2000/svg"} == set(re.findall(r"https?://[^\"'\s)]+", text))
    assert "default-src 'none'; script-src 'sha256-" in text
    assert "@" not in re.findall(r'content="(default-src[^"]+)"', text)[0]


@needs_browser
def test_the_matrix_is_shown(browser: Browser, tmp_path: "Path") -> None:
    """A row sends, a column is reached; the console has nothing to complain about."""
    browser.open(_written(tmp_path))
    rows = browser.run(
        "const texts = (row) => [...row.children].map((cell) => cell.innerText);"
        "return [...document.querySelectorAll('tbody tr')].map(texts)"
    )
    assert [
        ["tag:web\N{MULTIPLICATION SIGN}2", "all", "5432/tcp"],
        ["db-1", "·", ""],
        ["any", "·", "·"],
    ] == rows
    assert "3 Droplets in 2 groups" == browser.run("return document.getElementById('count').textContent")
    assert [] == browser.complaints()


@needs_browser
def test_a_cell_and_a_name_tell_more(browser: Browser, tmp_path: "Path") -> None:
    """A click on a cell gives its ports, one on a name the Droplets with their addresses."""
    browser.open(_written(tmp_path))
    browser.click("td[data-sender='0'][data-target='1'] span")
    about = browser.run("return document.getElementById('about').innerText")
    assert about.startswith("tag:web → db-1\n5432/tcp")
    browser.click("tbody th[data-party='0']")
    about = browser.run("return document.getElementById('about').innerText")
    assert "web-2" in about
    assert "10.0.0.2" in about


@needs_browser
def test_searching_dims_what_does_not_match(browser: Browser, tmp_path: "Path") -> None:
    """By the name of a member, an address, or a port."""
    browser.open(_written(tmp_path))
    dimmed = "return [...document.querySelectorAll('tbody th.dim')].map((th) => th.title)"
    assert [] == browser.run(dimmed)
    browser.type("#search", "web-2")
    assert ["db-1", "any"] == browser.run(dimmed)
    browser.run(
        "const search = document.getElementById('search'); search.value = '5432';"
        "search.dispatchEvent(new Event('input'))"
    )
    bright = "return [...document.querySelectorAll('td:not(.dim)')].map((td) => td.title)"
    assert ["tag:web → db-1: 5432/tcp"] == browser.run(bright)


_NODES = """
return [...document.querySelectorAll('svg .node > :first-child')].map((node) => {
  const box = node.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})
"""


@needs_browser
def test_the_graph_has_a_node_for_each_party_and_an_arrow_for_each_cell(
    browser: Browser, tmp_path: "Path"
) -> None:
    """By the button; what a group may do among itself is an arrow too."""
    browser.open(_written(tmp_path))
    browser.click("#views button[data-value='graph']")
    assert 3 == len(browser.run(_NODES))
    assert [["0", "0"], ["0", "1"]] == browser.run(
        "return [...document.querySelectorAll('svg .edge')].map((e) => [e.dataset.from, e.dataset.to])"
    )
    assert [] == browser.complaints()


@needs_browser
def test_nodes_lie_in_the_picture_and_apart(browser: Browser, tmp_path: "Path") -> None:
    """Twenty large groups that crowd around eight of them: none covers another, none is cut off."""
    droplets = [_droplet(number, f"app-{number}", f"app{number % 20}") for number in range(1, 241)]
    rules = tuple(
        Allow(f"{n}", parse(f"tag:app{n}"), parse("all"), ports=(Ports(PortProtocol.TCP, n + 1, n + 1),))
        for n in range(8)
    )
    leaves = tuple(
        Allow(f"{n}", parse(f"tag:app{n}"), parse(f"tag:app{n - 8}"), ports=(Ports(PortProtocol.UDP, n, n),))
        for n in range(8, 20)
    )
    crowded = Policy(private=InterfacePolicy(managed=True, allow_peers=False), allows=rules + leaves)
    browser.open(_written(tmp_path, _fleet(*droplets), crowded), "#graph")
    boxes = browser.run(_NODES)
    assert 21 == len(boxes)
    left, right = browser.run(
        "const box = document.querySelector('svg').getBoundingClientRect(); return [box.left, box.right]"
    )
    assert all(left <= box[0] and box[2] <= right for box in boxes)
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


@needs_browser
@pytest.mark.parametrize("view", ["", "#graph"])
def test_hostile_names_are_text(browser: Browser, tmp_path: "Path", view: str) -> None:
    """Nothing of them runs, in any view; they are shown as they are."""
    droplets = [_droplet(number, text, text) for number, text in enumerate(HOSTILE, 1)]
    rules = tuple(
        Allow(text, parse(f"id:{number}"), parse("any"), interface=InterfaceKind.PRIVATE)
        for number, text in enumerate(HOSTILE[:2], 1)
    )
    hostile = Policy(private=InterfacePolicy(managed=True, allow_peers=False), allows=rules)
    browser.open(_written(tmp_path, _fleet(*droplets), hostile), view)
    browser.run(
        "for (const one of document.querySelectorAll('[data-party]'))"
        "one.dispatchEvent(new Event('click', {bubbles: true}))"
    )
    assert "Who reaches whom" == browser.run("return document.title")
    assert 0 == browser.run(
        "return document.querySelectorAll('#stage img, #about img, #stage script').length"
    )
    assert HOSTILE[0] in browser.run("return document.getElementById('stage').textContent")


@needs_browser
def test_nobody_is_asked_for_anything(browser: Browser, tmp_path: "Path") -> None:
    """A page whose data names a server of ours sends it nothing, though it is listening."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        text = f"<img src={url}><link rel=stylesheet href={url}><script src={url}></script>"
        browser.open(_written(tmp_path, _fleet(_droplet(1, text, text), _droplet(2, "web-1", "web"))))
        with pytest.raises(TimeoutError):
            server.accept()
    loaded = browser.run("return performance.getEntriesByType('resource').length")
    assert 0 == loaded


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_light_and_dark(dark: bool, tmp_path: "Path") -> None:
    """Every text has a contrast of 4.5 to 1 against what is behind it (WCAG 2.1, 1.4.3)."""
    with Browser(dark=dark) as browser:
        browser.open(_written(tmp_path))
        assert dark == browser.run("return matchMedia('(prefers-color-scheme: dark)').matches")
        behind = "getComputedStyle(document.body).backgroundColor"
        page_is_dark = browser.run(f"return {_LUMINANCE}({behind}) < 0.2")
        assert dark == page_is_dark
        assert [] == browser.run(_POOR.replace("@", _LUMINANCE))
        assert browser.picture().startswith(b"\x89PNG")


_LUMINANCE = """((text) => {
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const [r, g, b] = text.match(/[0-9.]+/g).map(Number);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
})"""
_POOR = """
const luminance = @, poor = [];
const texts = "h1, h2, p, small, button, thead th, tbody th, td.some > span, td.all > span, .chip, #count";
for (const one of document.querySelectorAll(texts)) {
  if (!one.innerText.trim()) continue;
  let behind = one;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const [a, b] = [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor].map(luminance);
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) poor.push([one.innerText, contrast]);
}
return poor;
"""
