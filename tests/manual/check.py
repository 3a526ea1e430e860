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
            sys.exit(f"{page}: nothing is told of {bare[1]}")
    print(f"{len(pages)} manual pages")


def check_keys(folder, ipcd):
    """The page of the configuration tells of the keys that there are, and of no others."""
    page = (folder / "man/man5/ipcd.toml.5").read_text().replace("\\-", "-")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("[daemon]\nno = 1\n[profile.no]\nno = 1\n")
        file.flush()
        told = subprocess.run([ipcd, "config", "check", file.name], capture_output=True, text=True)
    told = (told.stdout + told.stderr).splitlines()
    for section, line in zip(("daemon", "profile.NAME"), told, strict=True):
        there = set(line.split("there are ")[1].split(", "))
        part = page.split(f".SH [{section}]")[1].split(".SH ")[0]
        documented = set(re.findall(r"^\.TP\n\\fB([a-z0-9-]+)\\fR", part, re.MULTILINE))
        if documented != there:
            sys.exit(f"[{section}]: on the page only {documented - there}, in the code only {there - documented}")
        print(f"[{section}]: {len(there)} keys")


def main():
    folder = Path(sys.argv[1]).resolve(strict=True)
    check_pages(folder)
    check_keys(folder, sys.argv[2])
    for command, lines in shells(folder):
        with tempfile.TemporaryDirectory() as home:
            # fish completes commands that are there only.
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
