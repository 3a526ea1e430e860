#!/usr/bin/env python3
"""The report, in a browser: what is drawn is what was measured, and it can be read, sorted and filtered by anyone.

    check.py IPC_CLIENT SCREENSHOTS      with playwright and axe-playwright-python, and Debian's chromium

Screenshots go into the folder SCREENSHOTS.
"""

import csv
import sys
import tempfile
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import made

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


def check(holds, what):
    """Ends the test if it does not hold."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")


class Page:
    """A report in a browser, and all that it did there."""

    def __init__(self, browser, path, scheme="light", viewport=None, script=True):
        self.context = browser.new_context(
            color_scheme=scheme, viewport=viewport or DESKTOP, java_script_enabled=script, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        # A machine that builds other things takes its time.
        self.page.set_default_timeout(120_000)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def js(self, code, *what):
        """What a function returns in the page."""
        return self.page.evaluate(code, *what)

    def close(self):
        """Ends it. Nothing may have been complained of, and nothing fetched."""
        check(not self.said, f"the console of {self.url} says {self.said}")
        check(self.asked == [self.url], f"{self.url} asked for {self.asked}")
        self.context.close()


# Each figure: what is drawn, and its table.
FIGURES = """() => Object.fromEntries([...document.querySelectorAll('figure:not(.ranking)')].map((figure) => {
  const svg = figure.querySelector('svg.plot, svg.heat');
  const points = (line) => line.getAttribute('points').trim().split(' ').length;
  const rows = [...figure.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) =>
    ({ text: cell.textContent, key: cell.dataset.key === undefined ? null : Number(cell.dataset.key) })));
  return [figure.id, {
    title: figure.querySelector('figcaption').textContent,
    lines: [...svg.querySelectorAll('polyline')].map(points),
    dots: svg.querySelectorAll('circle:not(.ring)').length,
    rings: svg.querySelectorAll('circle.ring').length,
    fields: [...svg.querySelectorAll('g > rect')].filter((rect) => rect.getAttribute('height') !== '14').length,
    legend: [...figure.querySelectorAll('.legend li')].map((item) => item.textContent),
    looks: [...figure.querySelectorAll('.legend .key > *')].map((mark) => mark.getAttribute('class')),
    heads: [...figure.querySelectorAll('thead th')].map((head) => head.textContent),
    changes: figure.querySelectorAll('.changes li').length,
    rows,
  }];
}))"""


def figures(page, kind):
    """The figures of a kind."""
    return [figure for name, figure in page.js(FIGURES).items() if name.rsplit("-", 1)[0] == kind]


def drawn_as_listed(figure, last=0):
    """Each line has a point for each figure of its column; `last` rows of the table are not drawn."""
    rows = figure["rows"][: len(figure["rows"]) - last]
    columns = [[row[at]["key"] for row in rows] for at in range(1, len(figure["heads"]))]
    expected = [sum(key is not None for key in column) for column in columns]
    check(figure["lines"] == expected and expected, f"{figure['title']}: lines of {figure['lines']} points, a table of {expected}")
    check(figure["legend"] == figure["heads"][1:], f"{figure['title']}: the legend is not the table's head")


def check_charts(client, page):
    """Every chart has the points of the JSON."""
    results = [cell for run in ("sizes", "gaps") for cell in client.json("history", "show", run, "--json")["results"]]
    medians = sorted(cell["headline_ns"]["p50"] for cell in results if cell["headline_ns"]["p50"] is not None)

    shown = figures(page, "distribution")
    for figure in shown:
        drawn_as_listed(figure, last=3)
    for share, key in (("0 %", "min"), ("50 %", "p50"), ("90 %", "p90"), ("99 %", "p99"), ("longest round", "max")):
        rows = [row for figure in shown for row in figure["rows"] if row[0]["text"] == share]
        got = sorted(cell["key"] for row in rows for cell in row[1:] if cell["key"] is not None)
        expected = sorted(cell["latency_ns"][key] for cell in results if cell["latency_ns"][key] is not None)
        check(got == expected and expected, f"{share}: {len(got)} figures, {len(expected)} in the JSON")

    for kind, label in (("size", "sizes"), ("gap", "gaps")):
        expected = sorted(cell["headline_ns"]["p50"] for cell in client.json("history", "show", label, "--json")["results"])
        shown = figures(page, kind)
        for figure in shown:
            drawn_as_listed(figure)
        got = sorted(cell["key"] for figure in shown for row in figure["rows"] for cell in row[1:] if cell["key"] is not None)
        dots = sum(figure["dots"] for figure in shown)
        check(got == expected and dots == len(expected), f"{kind}: {dots} dots, {len(got)} figures, {len(expected)} cells")

    looks = {}
    for figure in figures(page, "distribution") + figures(page, "size"):
        check(len(set(figure["looks"])) == len(figure["looks"]), f"{figure['title']}: two lines look the same")
        for name, look in zip(figure["legend"], figure["looks"]):
            colour = look.split()[0]
            check(looks.setdefault(name.split(",")[0], colour) == colour, f"{figure['title']}: {name} has another colour")

    (placement,) = figures(page, "placements")
    got = [cell["key"] for row in placement["rows"] for cell in row[1:] if cell["key"] is not None]
    check(got and set(got) <= set(medians), "the placements' medians are those of the JSON")
    check(placement["fields"] == len(placement["rows"]) * (len(placement["heads"]) - 1), "a field for each placement")

    pairs = list(csv.DictReader((client.folder / "matrix.csv").open()))
    (matrix,) = figures(page, "matrix")
    got = [cell["key"] for row in matrix["rows"] for cell in row[1:]]
    expected = [float(pair["p50_ns"]) if pair["p50_ns"] else None for pair in pairs]
    check(got == expected and matrix["fields"] == len(pairs), f"{matrix['fields']} fields, {got} instead of {expected}")

    cells = client.run("history", "show", "nightly", "--json")
    check('"method": "tcp"' in cells, "the last made-up run has tcp")
    page_of = {figure["title"]: figure for figure in figures(page, "history")}
    trends = [trend for trend in client.json("trend", "--json", "-n", "200")["trends"] if len(trend["points"]) > 1]
    check(len(page_of) == len(trends) >= 2, f"{len(page_of)} charts of {len(trends)} trends")
    changes = 0
    for trend in trends:
        (figure,) = [figure for title, figure in page_of.items() if title.startswith(trend["cell"] + ",")]
        check(figure["dots"] == len(trend["points"]), f"{trend['cell']}: {figure['dots']} dots of {len(trend['points'])} runs")
        got = [row[2]["key"] for row in figure["rows"]]
        check(got == [point["ns"] for point in trend["points"]], f"{trend['cell']}: the figures are those of the JSON")
        check(figure["changes"] == len(trend["changes"]), f"{trend['cell']}: {figure['changes']} changes")
        changes += figure["changes"]
        if figure["changes"]:
            check(figure["lines"] == [2 + 2 * figure["changes"]], "a level for each part")
    check(changes > 0, "the change that was planted is found")
    check("kernel 6.1 → 6.8" in page.page.locator("#history ~ .charts").first.inner_text(), "and what changed with it")


def check_rankings(client, page):
    """The first figures of all: each cell with its median and a bar of that length, the fastest first."""
    rows = page.js("""() => [...document.querySelectorAll('.ranking')].map((figure) => [...figure.querySelectorAll('tbody tr')].map((row) =>
      [row.cells[0].textContent, row.cells[1].textContent, row.querySelector('.bar rect').getBoundingClientRect().width]))""")
    cells = sum(len(client.json("history", "show", run, "--json")["results"]) for run in ("sizes", "gaps"))
    check(sum(map(len, rows)) == cells, f"{sum(map(len, rows))} rows of {cells} cells")
    for ranking in rows:
        lengths = [length for _, _, length in ranking]
        check(lengths == sorted(lengths) and lengths[0] > 3, f"the bars of {ranking}")
    verdict = page.page.locator(".verdict").first.inner_text()
    check(" is fastest at 8 B" in verdict or " tie at 8 B" in verdict, f"a verdict: {verdict}")
    top = page.js("() => document.querySelector('.ranking tbody').getBoundingClientRect().top")
    check(top < DESKTOP["height"], "a ranking is in the first screen")


def check_values(page):
    """A pointer on a chart, and the arrow keys, show the figures of its table."""
    page.js("() => document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    figure = page.page.locator("#size-1")
    heads, *rows = page.js("""() => [...document.querySelectorAll('#size-1 tr')].map((row) => [...row.cells].map((cell) => cell.textContent))""")
    words = lambda row: "\n".join([row[0]] + [f"{head}: {cell}" for head, cell in zip(heads[1:], row[1:]) if cell != "–"])
    figure.locator(".plot").hover(position={"x": 3, "y": 30})
    check(figure.locator(".tip").inner_text() == words(rows[0]), f"a pointer shows {figure.locator('.tip').inner_text()}")
    figure.locator(".plot").focus()
    for row in rows[1:]:
        page.page.keyboard.press("ArrowRight")
        check(figure.locator(".tip").inner_text() == words(row), f"an arrow key shows {figure.locator('.tip').inner_text()}")
    page.page.keyboard.press("Escape")
    check(not figure.locator(".tip").is_visible(), "Escape hides it")


# The visible cells of a column, as sorting sees them.
COLUMN = """(head) => {
  const table = document.getElementById('cells');
  const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === head);
  const rows = [...table.tBodies[0].rows].filter((row) => row.offsetParent !== null);
  return rows.map((row) => row.cells[at].dataset.key === undefined ? row.cells[at].textContent : Number(row.cells[at].dataset.key));
}"""


def tab_to(page, selector):
    """Goes there by the tabulator key; where it is, must be seen."""
    for _ in range(300):
        page.page.keyboard.press("Tab")
        if page.js("(selector) => document.activeElement.matches(selector)", selector):
            style = page.js("() => getComputedStyle(document.activeElement).outlineStyle")
            check(style != "none", f"the focus on {selector} cannot be seen")
            return
    check(False, f"{selector} cannot be reached by the keyboard")


def check_keyboard(page):
    """The table is sorted and filtered without a mouse."""
    all_rows = page.js(COLUMN, "p50")
    page.js("() => [...document.querySelectorAll('#cells th')].find((head) => head.textContent === 'p50').classList.add('here')")
    tab_to(page, "#words")
    page.page.keyboard.type("shmem")
    methods = page.js(COLUMN, "method")
    check(0 < len(methods) < len(all_rows) and set(methods) == {"shmem"}, f"filtered by a word: {methods}")
    check(page.page.locator("#count").inner_text() == f"{len(methods)} of {len(all_rows)} rows", "the number of rows is shown")
    tab_to(page, 'select[data-column="placement"]')
    page.page.keyboard.type("cross-core" if "cross-core" in page.js(COLUMN, "placement") else "same-core")
    places = set(page.js(COLUMN, "placement"))
    check(len(places) == 1 and places <= {"cross-core", "same-core"}, f"filtered by placement: {places}")
    tab_to(page, "button[type=reset]")
    page.page.keyboard.press("Enter")
    page.page.wait_for_function("(rows) => document.getElementById('count').textContent.startsWith(`${rows} of`)", arg=len(all_rows))
    tab_to(page, "th.here button")
    for way, sign in (("ascending", 1), ("descending", -1)):
        page.page.keyboard.press("Enter")
        check(page.js("() => document.querySelector('th.here').getAttribute('aria-sort')") == way, f"sorted {way}")
        got = page.js(COLUMN, "p50")
        figures = [value for value in got if not isinstance(value, str)]
        check(figures == sorted(figures, reverse=sign < 0) and got[: len(figures)] == figures, f"{way}: {got}")
        check(len(got) == len(all_rows), "sorting loses no row")
    check(len(page.js("() => [...document.querySelectorAll('[aria-sort]')].map((head) => head.className)")) == 1, "by one column")
    tab_to_back = "() => document.getElementById('theme').focus()"
    page.js(tab_to_back)
    before = page.js("() => getComputedStyle(document.body).backgroundColor")
    page.page.keyboard.press("Space")
    check(page.js("() => getComputedStyle(document.body).backgroundColor") != before, "the theme can be chosen")


def check_rules(page, what):
    """axe finds nothing: contrast, names, roles, order of headings."""
    page.js("() => document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    found = Axe().run(page.page).response["violations"]
    violations = [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]
    check(not found, f"{what}: {violations}")


# Text of drawings against what is behind it, which axe leaves out.
DRAWN_TEXT = """() => {
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[0-9.]+/g).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  const worst = [...document.querySelectorAll('.plot text')]
    .map((text) => light(getComputedStyle(text).fill))
    .map((ink) => (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05));
  return Math.min(...worst);
}"""

# Labels that lie on each other, of one drawing.
OVERLAPS = """() => [...document.querySelectorAll('svg.plot, svg.heat')].flatMap((svg) => {
  const boxes = [...svg.querySelectorAll('text')].filter((text) => getComputedStyle(text).display !== 'none').map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], at) => boxes.slice(at + 1)
    .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    .map(([other]) => `${svg.getAttribute('aria-label')}: ${one} on ${other}`));
})"""

# Labels that are cut off.
CUT = """() => [...document.querySelectorAll('svg.plot, svg.heat')].flatMap((svg) => {
  const box = (svg.classList.contains('heat') ? svg : svg.parentElement).getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter((text) => getComputedStyle(text).display !== 'none').filter((text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    return left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1;
  }).map((text) => `${svg.getAttribute('aria-label')}: ${text.textContent.trim()}`);
})"""


def check_looks(browser, path, shots, name):
    """Both schemes, on a desktop, a phone and paper; with everything unfolded."""
    for scheme in ("light", "dark"):
        for device, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
            page = Page(browser, path, scheme, viewport)
            what = f"{name}, {device}, {scheme}"
            page.page.screenshot(path=shots / f"{name}-{device}-{scheme}.png", full_page=True)
            check_rules(page, what)
            contrast = page.js(DRAWN_TEXT)
            check(contrast >= 4.5, f"{what}: contrast of {contrast} in a drawing")
            wide = page.js("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            check(wide[0] <= wide[1], f"{what}: the page is {wide[0]} wide of {wide[1]}")
            for found, of in ((page.js(OVERLAPS), "overlap"), (page.js(CUT), "are cut off")):
                check(not found, f"{what}: labels {of}: {found[:5]}")
            page.close()
    page = Page(browser, path, "dark")
    page.page.emulate_media(media="print", color_scheme="dark")
    ground = page.js("() => getComputedStyle(document.body).backgroundColor")
    check(ground == "rgb(255, 255, 255)", f"{name}: paper is {ground}")
    page.page.screenshot(path=shots / f"{name}-print.png", full_page=True)
    page.close()


def check_without_script(browser, path, shots):
    """All of it is there, and nothing that does nothing."""
    page = Page(browser, path, script=False)
    for selector in ("#cells", "svg.plot", ".ranking .bar", "#commands", "#environment ~ dl"):
        check(page.page.locator(selector).first.is_visible(), f"without a script: {selector} is missing")
    for selector in ("#filters", "#theme", "#cells button"):
        check(not page.page.locator(selector).first.is_visible(), f"without a script: {selector} is dead")
    details = page.page.locator("figure details").first
    details.locator("summary").click()
    check(details.locator("table").is_visible(), "figures unfold without a script")
    page.page.screenshot(path=shots / "without-script.png")
    page.close()


def check_ill_will(client, browser, shots):
    """Malicious text stays text."""
    path = client.folder / "ill.html"
    client.run("report", made.ill(client), "--matrix", client.folder / "ill.csv", "--title", made.ILL[0], "-o", path)
    page = Page(browser, path)
    check(page.js("() => window.ill") is None, "a text was run as a script")
    check(page.page.locator("script").count() == 1 and page.page.locator("img").count() == 0, "a text became an element")
    check(made.ILL[0] in page.page.locator("h1").inner_text(), "the title is shown as it is")
    for text in made.ILL:
        check(page.page.get_by_text(text).count() > 0, f"{text} is not shown")
    check(page.js("() => document.querySelectorAll('b, #cells td table').length") == 0, "a text became markup")
    labels = page.js("() => [...document.querySelectorAll('#placements-1 svg text')].map((text) => text.textContent)")
    check(all(any(text in label for label in labels) for text in made.ILL), f"labels of an axis: {labels}")
    page.page.screenshot(path=shots / "ill.png", full_page=True)
    page.close()


def main():
    shots = Path(sys.argv[2])
    shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        client = made.Client(Path(sys.argv[1]).resolve(strict=True), Path(folder))
        made.measured(client)
        made.synthetic(client)
        path = Path(folder, "report.html")
        words = ["report", "sizes", "gaps", "--matrix", client.folder / "matrix.csv", "-o"]
        client.run(*words, path)
        check(client.run(*words, "-") == path.read_text(), "the same input gives the same report")
        small = Path(folder, "small.html")
        client.run("report", "-o", small)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = Page(browser, path)
        check_rankings(client, page)
        check_charts(client, page)
        check_values(page)
        check_keyboard(page)
        page.close()
        check_looks(browser, path, shots, "report")
        check_looks(browser, small, shots, "small")
        check_without_script(browser, path, shots)
        check_ill_will(client, browser, shots)
        browser.close()
    print(f"a report of {path.name}: rankings, charts, their values, keyboard, both schemes, phone, paper, no script, malicious text; screenshots in {shots}")


if __name__ == "__main__":
    main()
