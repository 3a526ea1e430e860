#!/usr/bin/env python3
"""Draws the README's pictures from one run: what the terminal shows, and the report in a browser.

    draw.py IPC_CLIENT      with playwright and Debian's chromium

The pictures are written beside this file, and the line below the first picture in the README is renewed.
"""

import datetime
import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
COMMAND = "ipc-client bench shmem pipe unix tcp --size 64,64k --placement cross-core"
COLUMNS = 100
# Of a character, in pixels.
WIDE, HIGH = 8, 18
FOREGROUND, BACKGROUND = "#e6e6e6", "#16181d"
# The eight colours of a terminal, and their bright ones.
COLOURS = "#6e7681 #ff7b72 #5ad17a #e3b341 #79b8ff #d2a8ff #56d4dd #e6e6e6".split()


def run(client, folder):
    """Records a run in a terminal of that width, and returns what the screen shows at the end."""
    process, terminal = pty.fork()
    if process == 0:
        # Progress, and where the run is recorded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "IPCD_HISTORY": f"{folder}/history.sqlite", "TERM": "xterm-256color"}
        os.execve(client, ["ipc-client", *COMMAND.split()[1:], "--record", "--private"], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    shown = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:
            break
        if not read:
            break
        shown += read
    if os.waitpid(process, 0)[1] != 0:
        raise SystemExit(shown.decode())
    return shown.decode()


def parts(line):
    """The words of a line with their columns and styles. A carriage return begins the line again."""
    column, style, cells = 0, "", {}
    for escape, code, character in re.findall(r"(\x1b\[([0-9;?]*)[A-Za-z])|(.)", line):
        if escape:
            if escape.endswith("m"):
                style = styled(style, code)
            elif escape.endswith("K"):
                cells = {at: cell for at, cell in cells.items() if at < column}
        elif character == "\r":
            column = 0
        else:
            cells[column] = (character, style)
            column += 1
    found = []
    for at in sorted(cells):
        character, style = cells[at]
        if found and found[-1][2] == style and found[-1][0] + len(found[-1][1]) == at:
            found[-1][1] += character
        elif character != " ":
            found.append([at, character, style])
    # Columns stay in line where the font is another one.
    return [(at + word.start(), word.group(), style) for at, text, style in found for word in re.finditer(r"\S+( \S+)*", text)]


def styled(style, code):
    """The attributes of a text after an escape sequence."""
    for number in (int(part or 0) for part in code.split(";")):
        if number == 0:
            style = ""
        elif number == 1:
            style += ' font-weight="bold"'
        elif number == 2:
            style += ' opacity="0.7"'
        elif 30 <= number <= 37 or 90 <= number <= 97:
            style = re.sub(' fill="[^"]*"', "", style) + f' fill="{COLOURS[number % 10]}"'
    return style


def draw(lines):
    """The terminal as SVG."""
    width, height = COLUMNS * WIDE + 32, len(lines) * HIGH + 28
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{html.escape(COMMAND)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        f'<g fill="{FOREGROUND}" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="13">',
    ]
    for row, line in enumerate(lines):
        for column, text, style in line:
            x, y = 16 + column * WIDE, 28 + row * HIGH
            out.append(f'<text x="{x}" y="{y}" textLength="{len(text) * WIDE}"{style}>{html.escape(text)}</text>')
    return "\n".join([*out, "</g></svg>\n"])


def photograph(page, picture):
    """The first screen of a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1100, "height": 620})
        tab.goto(Path(page).as_uri())
        tab.screenshot(path=picture)
        browser.close()


def main():
    client = str(Path(sys.argv[1]).resolve(strict=True))
    with tempfile.TemporaryDirectory() as folder:
        shown = run(client, folder)
        lines = [parts(line.rstrip("\r")) for line in shown.rstrip("\n").split("\n")]
        prompt = [(0, "$", f' fill="{COLOURS[2]}"'), (2, COMMAND, ' font-weight="bold"')]
        (HERE / "bench.svg").write_text(draw([prompt, *lines]))
        page = f"{folder}/report.html"
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "IPCD_HISTORY": f"{folder}/history.sqlite"}
        subprocess.run([client, "report", "--title", "Round trips on one host", "-o", page], check=True, env=environment)
        photograph(page, HERE / "report.png")
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1).strip()
    kernel, date = os.uname().release.split("-")[0], datetime.date.today().strftime("%-d %B %Y")
    where = f"a virtual machine with {os.cpu_count()} CPUs ({model}), Linux {kernel}, {date}"
    readme = HERE.parent.parent / "README.md"
    text, renewed = re.subn(r"<sub>Measured on .*</sub>", f"<sub>Measured on {where}.</sub>", readme.read_text())
    if renewed != 1:
        raise SystemExit("README.md has no line \"<sub>Measured on …</sub>\"")
    readme.write_text(text)


if __name__ == "__main__":
    main()
