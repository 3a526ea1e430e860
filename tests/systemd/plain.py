#!/usr/bin/env python3
"""The steps of docs/install.md for hosts without packages: they install a service that serves, with systemd and without, and their
removal leaves nothing.

    plain.py      as root, from a checkout whose programs and pages are built, on a machine that may be thrown away afterwards
"""

import itertools
import re
import signal
import sys
from pathlib import Path

from host import Failed, eventually, files, finish, is_active, need, run, start

PAGE = Path(__file__).resolve().parents[2] / "docs/install.md"

INSTALL = "With systemd 247 or newer, as root, from a checkout:"
REMOVE = "To remove it again, with its configuration and results:"
WITHOUT_SYSTEMD = "The last line runs in the foreground, for your service supervisor:"


def steps(after):
    """The lines of the indented block after this text, for the user alice; what builds has been done."""
    parts = PAGE.read_text().split(f"{after}\n\n")
    need(len(parts) == 2, f"docs/install.md does not say \"{after}\"")
    block = itertools.takewhile(lambda line: line.startswith("    "), parts[1].splitlines())
    lines = [line.strip().replace("ipcd USER", "ipcd alice") for line in block if "cargo build" not in line]
    need(lines, f"docs/install.md has no steps after \"{after}\"")
    return lines


def do(lines):
    """Does steps in the checkout, as far as the first that fails."""
    run("bash", "-euc", "\n".join([f"cd {PAGE.parents[1]}", *lines]))


def serves():
    """A member of the group is served."""
    printed = run("ipc-client", "bench", "-m", "tcp,shmem,fifo", "-n", "200", user="alice").out
    need(all(re.search(rf"^{method} +\d", printed, re.MULTILINE) for method in ("tcp", "shmem", "fifo")), printed)


def with_systemd():
    do(steps(INSTALL))
    serves()
    need(is_active("ipcd.service") and is_active("ipcd.socket"), "it was not the service that served")
    run("man", "--where", "ipcd", "ipc-client-bench", "ipcd.toml")
    for completion in ("bash-completion/completions/ipcd", "fish/vendor_completions.d/ipcd.fish", "zsh/site-functions/_ipcd"):
        need(Path("/usr/share", completion).exists(), f"{completion} is missing")
    run("systemctl", "enable", "--now", "ipc-bench@nightly.timer")


def removed(before):
    do(steps(REMOVE))
    # A shared folder for completions may stay, empty.
    left = [name for name in sorted(files() - before) if "ipc" in name or not Path(name).is_dir()]
    need(not left, f"left behind: {left}")
    for database in ("passwd", "group"):
        run("getent", database, "ipcd", expect=2)
    units = run("systemctl", "list-units", "--all", "--no-legend", "ipc*").out
    need(not units.strip(), units)


def without_systemd():
    """The programs as above, and what a supervisor of services would do."""
    *prepare, serve = steps(WITHOUT_SYSTEMD)
    do(["install -t /usr/bin target/release/ipcd target/release/ipc-client", *prepare])
    run("usermod", "--append", "--groups", "ipcd", "alice")
    daemon = start("bash", "-c", f"exec {serve}")
    socket = Path("/run/ipcd/ipcd.sock")
    eventually("it listens", socket.exists)
    serves()
    daemon.send_signal(signal.SIGTERM)
    finish(daemon)
    need(not socket.exists(), "its socket is left")


def main():
    run("useradd", "--create-home", "alice")
    before = files()
    try:
        with_systemd()
        removed(before)
        without_systemd()
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")
    print("the README's steps in docs/install.md work")


if __name__ == "__main__":
    main()
