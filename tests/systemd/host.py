"""What the steps of check.py share: commands with deadlines, users, units, and files."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

# How long anything may take that is promised at all. Generous: a CI machine is busy.
PATIENCE = 60


class Failed(Exception):
    """A promise that is not kept."""


def need(holds, message):
    """Fails unless `holds`."""
    if not holds:
        raise Failed(message)


def not_tested(lacking, why):
    """Says that this machine lacks what a step needs. Where IPCD_TEST_NOTHING_SKIPPED lists what may be lacking, all else fails."""
    print(f"    not tested ({lacking}): {why}")
    listed = os.environ.get("IPCD_TEST_NOTHING_SKIPPED")
    may_lack = listed is None or lacking in (one.strip() for one in listed.split(","))
    need(may_lack, f"not tested ({lacking}), and IPCD_TEST_NOTHING_SKIPPED is {listed}: {why}")


def run(*command, user=None, expect=0, **more):
    """Runs a command to its end, in an environment that is as a login has it. Returns what it printed and said."""
    process = start(*command, user=user, **more)
    return finish(process, expect)


def start(*command, user=None, env=None):
    """Starts a command, as another user if one is named."""
    command = [str(part) for part in command]
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *command]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": f"/home/{user}" if user else "/root"}
    environment.update(env or {})
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd="/", env=environment,
    )
    process.what = " ".join(command[5:] if user else command)
    return process


def finish(process, expect=0, patience=PATIENCE):
    """Waits for a command's end. `expect` is its exit code, or None for any."""
    try:
        process.out, process.err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Failed(f"{process.what}: not done after {patience} s\n{out}{err}") from None
    if expect is not None and process.returncode != expect:
        raise Failed(f"{process.what}: exit code {process.returncode} instead of {expect}\n{process.out}{process.err}")
    return process


def eventually(what, probe, patience=PATIENCE):
    """Polls until `probe` finds something, and returns it."""
    end = time.monotonic() + patience
    while True:
        found = probe()
        if found:
            return found
        need(time.monotonic() < end, f"{what}: not within {patience} s")
        time.sleep(0.05)


def show(unit, *properties):
    """Properties of a unit; one alone is returned as it is."""
    lines = run("systemctl", "show", unit, *(f"--property={name}" for name in properties)).out.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return values[properties[0]] if len(properties) == 1 else values


def main_pid(unit="ipcd.service"):
    """The process of an active service."""
    return int(show(unit, "MainPID"))


def is_active(unit):
    """Whether a unit is active."""
    return show(unit, "ActiveState") == "active"


def drop_in(unit, text):
    """Changes a unit for a step, until `no_drop_ins`."""
    folder = Path(f"/run/systemd/system/{unit}.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.conf").write_text(text)
    run("systemctl", "daemon-reload")


def no_drop_ins():
    """Units as they were installed."""
    for file in Path("/run/systemd/system").glob("ip*.d/step.conf"):
        file.unlink()
        file.parent.rmdir()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed")


def journal(unit, since=0):
    """Entries of a unit's journal, those that the service itself has written and those about it."""
    run("journalctl", "--sync")
    out = run("journalctl", "--output=json", "--all", f"--since=@{since:.6f}", "--unit", unit).out
    return [json.loads(line) for line in out.splitlines()]


def kill(pid, number):
    """Sends a signal to a process."""
    os.kill(pid, number)


def processes(command):
    """Ids of the processes whose executable has that name and that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(folder / "exe")).name == command:
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def leftovers():
    """Resources of channels, and their responders."""
    named = [str(path) for place in ("/run/ipcd/channels", "/dev/shm", "/dev/mqueue") for path in Path(place).glob("ipcd-*")]
    owner = run("id", "-u", "ipcd").out.strip()
    queues = [line for line in Path("/proc/sysvipc/msg").read_text().splitlines()[1:] if line.split()[7] == owner]
    responders = [pid for pid in processes("ipcd") if pid != main_pid()]
    return named + queues + [f"process {pid}" for pid in responders]


def busy_loops(count):
    """As many processes that keep a CPU busy, until they are killed."""
    return [subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=lambda: signal.alarm(300)) for _ in range(count)]


def files():
    """All that an installation may leave something in: names of files and folders."""
    changing = ("/var/log", "/var/cache", "/run/systemd", "/run/log", "/run/udev", "/run/lock", "/var/lib/systemd/timers",
                "/var/lib/systemd/catalog", "/run/user")
    tops = ("/etc", "/usr", "/var", "/run", "/opt", "/srv", "/dev/shm", "/dev/mqueue", "/home")
    pruned = ["(", "-name", "__pycache__", *(word for folder in changing for word in ("-o", "-path", folder)), ")", "-prune"]
    # What comes and goes meanwhile is an error to it.
    find = finish(start("find", *tops, *pruned, "-o", "-print"), expect=None, patience=150)
    found = set(find.out.splitlines())
    need(len(found) > len(tops), find.err)
    found.update(str(path) for path in Path("/var/lib/systemd/timers").glob("*ipc*"))
    # dpkg keeps its last state beside the present one.
    return {name for name in found if not name.endswith("-old")}
