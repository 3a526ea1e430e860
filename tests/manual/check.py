#!/usr/bin/env python3
"""The manual pages render without a warning, and the completions complete, in real shells.

    check.py FOLDER IPCD      what "cargo run --example manual -- FOLDER" has written, and the daemon that it is about
"""

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# How long a shell may take to start and to complete. Generous: a CI machine is busy.
PATIENCE = 60

# What is typed before the tabulator, and what is there after it.
TYPED = [
    ("ipc-client ben", "ipc-client bench"),
    ("ipc-client bench --method sem", "ipc-client bench --method semaphore"),
    ("ipc-client bench --method process", "ipc-client bench --method process-vm"),
    ("ipc-client bench --placement same", "ipc-client bench --placement same-core"),
    ("ipc-client matrix --form", "ipc-client matrix --format"),
    ("ipcd sto", "ipcd stop"),
    ("ipcd start --measure", "ipcd start --measurements"),
    ("ipc-client explain even", "ipc-client explain eventfd"),
]


def shells(folder):
    """Each shell, and the lines that have it complete."""
    bash = [f"source {file}" for file in sorted((folder / "bash-completion/completions").iterdir())]
    return [
        (["bash", "--norc", "--noprofile", "-i"], bash),
        (["zsh", "-f", "-i"], [f"fpath=({folder}/zsh/vendor-completions $fpath)", "autoload -U compinit", "compinit -u -D"]),
        # It finds them by itself, below a folder of XDG_DATA_DIRS.
        (["fish", "-i"], ["function fish_prompt; end"]),
    ]


class Shell:
    """A shell at a terminal."""

    def __init__(self, command, home, folder):
        self.said = ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            environment = {"PATH": f"{home}:{os.environ['PATH']}", "HOME": home, "TERM": "xterm", "LANG": "C.UTF-8"}
            os.execvpe(command[0], command, {**environment, "XDG_DATA_DIRS": f"{folder}:/usr/share"})

    def hear(self, pattern):
        """Reads until it has said something that matches, and forgets what came before."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.said)):
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            if not ready:
                sys.exit(f"no {pattern} after {PATIENCE} s in {self.said!r}")
            self.said += os.read(self.terminal, 65536).decode(errors="replace")
        self.said = self.said[found.end():]
        return found

    def type(self, text):
        """Types it."""
        os.write(self.terminal, text.encode())

    def completed(self, text):
        """What a line becomes by the tabulator key."""
        # To the line's start and to its end, so that it is printed instead of run.
        self.type(f"{text}\t\x01printf 'li''ne<%s>' '\x05'\r")
        return self.hear(r"line<([^>]*)>")[1]

    def close(self):
        """Ends it."""
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def check_pages(folder):
    """Every page renders, has a name that "whatis" finds, and no option without a word of help."""
    pages = sorted(folder.glob("man/man*/*"))
    if len(pages) < 10:
        sys.exit(f"only {len(pages)} manual pages")
    for page in pages:
        environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
        shown = subprocess.run(["man", "--warnings=all", "--local-file", page], capture_output=True, text=True, env=environment)
        if shown.returncode or shown.stderr or len(shown.stdout) < 300:
            sys.exit(f"{page}: {shown.stderr or shown.stdout}")
        subprocess.run(["lexgrog", page], check=True, stdout=subprocess.DEVNULL)
        if bare := re.search(r"^\.TP\n(.*)\n\.(?:TP|SH)", page.read_text(), re.MULTILINE):
            sys.exit(f"{page}: {bare[1]} has no description")
    print(f"{len(pages)} manual pages")


# Sections that a page has to have, and words that each has to have in it.
SECTIONS = {
    "ipcd.1": {
        "SIGNALS": ["SIGTERM", "SIGINT", "SIGHUP"],
        "EXIT STATUS": [],
        "ENVIRONMENT": ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES", "STATE_DIRECTORY", "JOURNAL_STREAM"],
        "FILES": ["results.prom", "ipcd.service", "ipcd.socket", "ipcd-metrics.socket"],
        "EXAMPLES": ["ipcd start", "ipcd config check"],
    },
    "ipcd-start.1": {
        "SIGNALS": ["SIGHUP"],
        "EXIT STATUS": [],
        "ENVIRONMENT": ["RUNTIME_DIRECTORY", "XDG_CONFIG_HOME", "HOME"],
        "FILES": ["/etc/ipcd/ipcd.toml"],
    },
    "ipc-client.1": {
        "EXIT STATUS": [],
        "ENVIRONMENT": ["IPCD_HISTORY", "STATE_DIRECTORY", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "JOURNAL_STREAM"],
        "FILES": ["history.sqlite", "ipc-bench@.timer"],
        "EXAMPLES": ["ipc-client doctor"],
    },
    "ipc-client-bench.1": {
        "EXIT STATUS": [],
        "ENVIRONMENT": ["IPCD_SOCKET", "XDG_STATE_HOME"],
        "FILES": ["history.sqlite"],
        "EXAMPLES": ["ipc-client bench -m"],
    },
}


def check_sections(folder):
    """The pages describe what `--help` does not, including every variable that the programs read."""
    for name, sections in SECTIONS.items():
        page = (folder / "man/man1" / name).read_text().replace("\\-", "-")
        parts = {part.split("\n", 1)[0].strip('"'): part for part in page.split("\n.SH ")[1:]}
        for title, words in sections.items():
            if title not in parts:
                sys.exit(f"{name} has no section {title}")
            if missing := [word for word in words if word not in parts[title]]:
                sys.exit(f"{name}: {title} does not describe {missing}")
        for command in re.findall(r"^\\fB(ipcd|ipc-client) ([a-z]+)", parts.get("EXAMPLES", ""), re.MULTILINE):
            if not (folder / "man/man1" / f"{'-'.join(command)}.1").exists():
                sys.exit(f"{name}: unknown command {' '.join(command)}")
    read = set()
    for source in (Path(__file__).parents[2] / "src").rglob("*.rs"):
        text = source.read_text().split("#[cfg(test)]")[0]
        read |= set(re.findall(r'"((?:IPCD|XDG)_[A-Z_]+|[A-Z]+_(?:DIRECTORY|STREAM|SOCKET|FDS|USEC))"', text))
    # What only tests read.
    read.discard("IPCD_BLESS")
    printed = "".join((folder / "man/man1" / name).read_text() for name in SECTIONS).replace("\\-", "-")
    if missing := sorted(name for name in read if name not in printed):
        sys.exit(f"no page describes {missing}")
    print(f"{len(SECTIONS)} pages with their sections, {len(read)} variables")


def check_keys(folder, ipcd):
    """The page of the configuration describes all keys, and no others."""
    page = (folder / "man/man5/ipcd.toml.5").read_text().replace("\\-", "-")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("[daemon]\nno = 1\n[profile.no]\nno = 1\n")
        file.flush()
        printed = subprocess.run([ipcd, "config", "check", file.name], capture_output=True, text=True)
    printed = (printed.stdout + printed.stderr).splitlines()
    for section, line in zip(("daemon", "profile.NAME"), printed, strict=True):
        there = set(line.split("; known are ")[1].split(", "))
        part = page.split(f".SH [{section}]")[1].split(".SH ")[0]
        documented = set(re.findall(r"^\.TP\n\\fB([a-z0-9-]+)\\fR", part, re.MULTILINE))
        if documented != there:
            sys.exit(f"[{section}]: on the page only {documented - there}, in the code only {there - documented}")
        print(f"[{section}]: {len(there)} keys")


def main():
    folder = Path(sys.argv[1]).resolve(strict=True)
    check_pages(folder)
    check_sections(folder)
    check_keys(folder, sys.argv[2])
    for command, lines in shells(folder):
        with tempfile.TemporaryDirectory() as home:
            # fish completes only commands that exist.
            for name in ("ipcd", "ipc-client"):
                Path(home, name).touch(0o755)
            shell = Shell(command, home, folder)
            # The quotes keep what is typed from looking like what is said.
            shell.type("".join(f"{line}\r" for line in [*lines, "echo rea''dy"]))
            shell.hear("ready")
            for text, wanted in TYPED:
                got = shell.completed(text).strip()
                if got != wanted:
                    sys.exit(f"{command[0]}: {text!r} became {got!r} instead of {wanted!r}")
            shell.close()
        print(f"{command[0]}: {len(TYPED)} lines completed")


if __name__ == "__main__":
    main()
