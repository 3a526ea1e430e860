"""What the steps measure with: runs of a member of the group, and what is there afterwards."""

import json
from pathlib import Path

from host import eventually, leftovers, processes, run, start

HISTORY = Path("/var/lib/ipcd/history.sqlite")
CONFIGURATION = Path("/etc/ipcd/ipcd.toml")


def bench(*arguments, user="alice", expect=0, **more):
    """Runs a measurement to its end."""
    return run("ipc-client", "bench", *arguments, user=user, expect=expect, **more)


def serves():
    """A member of the group is served."""
    bench("-m", "tcp,shmem", "-n", "200")


def long_bench(method="tcp"):
    """A measurement that ends when something ends it, and has begun."""
    process = start("ipc-client", "bench", "-m", method, "--duration", "10m", user="alice")
    eventually("it measures", lambda: len(processes("ipcd")) > 1)
    return process


def methods_of_this_host():
    """What can be measured here between processes of one user, without any sandbox."""
    report = json.loads(bench("--private", "-m", "all", "-n", "20", "--json").out)
    return {result["method"] for result in report["results"] if "error" not in result}


def at_rest():
    """Nothing of a channel is left."""
    eventually("nothing is left of channels", lambda: not leftovers())


def reports(label):
    """Reports of the runs with this label in the service's history, as a user with read permission only sees them."""
    out = run("ipc-client", "history", "export", "--history", HISTORY, "--label", label, user="alice", expect=None).out
    return [json.loads(line)["report"] for line in out.splitlines()]
