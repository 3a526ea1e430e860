#!/usr/bin/env python3
"""The package under a real systemd: installs, serves, survives, measures by its timer, and goes without a trace.

    check.py PACKAGE.deb      as root, on a machine that may be thrown away afterwards

Every step is a promise, with a deadline. The first that is not kept ends the check.
"""

import json
import os
import re
import signal
import sys
import time
import urllib.request
from pathlib import Path

from host import (
    Failed, busy_loops, drop_in, eventually, files, finish, is_active, journal, kill, leftovers, main_pid, need,
    no_drop_ins, processes, run, show, start,
)

# The most that a service may be exposed, by "systemd-analyze security".
EXPOSURE = 2.0
# How long a step may take.
STEP_PATIENCE = 180
HISTORY = "/var/lib/ipcd/history.sqlite"
CONFIGURATION = Path("/etc/ipcd/ipcd.toml")
# They reach processes of their own user only, and a member of the group is another.
WITHIN_ONE_USER = {"process-vm", "signal", "iceoryx2"}

STEPS = []


def step(function):
    """A step: its promise is its name."""
    STEPS.append(function)
    return function


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


@step
def the_package_installs_and_its_socket_listens(package):
    # Images of containers forbid packages to start services. This is no container.
    Path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
    run("useradd", "--create-home", "alice")
    run("useradd", "--create-home", "bob")
    the_package_installs_and_its_socket_listens.before = files()
    the_package_installs_and_its_socket_listens.users = users()
    run("dpkg", "--install", package)
    need(is_active("ipcd.socket"), "the socket is not active")
    need(show("ipcd.socket", "UnitFileState") == "enabled", "the socket is not enabled")
    need(not is_active("ipcd.service"), "the service runs before anybody needs it")
    run("usermod", "--append", "--groups", "ipcd", "alice")


@step
def units_are_well_formed_and_closed(_):
    units = [f"/usr/lib/systemd/system/{name}" for name in
             ("ipcd.service", "ipcd.socket", "ipcd-metrics.socket", "ipc-bench@.service", "ipc-bench@.timer")]
    said = run("systemd-analyze", "verify", "--recursive-errors=no", *units)
    need(not said.out + said.err, said.out + said.err)
    for unit in ("ipcd.service", "ipc-bench@nightly.service"):
        told = run("systemd-analyze", "security", "--no-pager", unit).out.splitlines()[-1]
        exposure = float(re.search(r": ([0-9.]+)", told).group(1))
        print(f"    {unit}: exposure {exposure}")
        need(exposure <= EXPOSURE, f"{unit} is more exposed than {EXPOSURE}")


@step
def the_configuration_is_well_formed_and_pages_are_found(_):
    run("ipcd", "config", "check", user="alice")
    for page in ("ipcd", "ipcd-start", "ipc-client", "ipc-client-bench", "ipcd.toml"):
        run("man", "--where", page)


@step
def who_is_not_in_the_group_is_refused(_):
    refused = bench("-m", "tcp", "-n", "10", user="bob", expect=6)
    need("group ipcd" in refused.err and not refused.out, refused.out + refused.err)
    need(not is_active("ipcd.service"), "a refused client has started the service")


@step
def the_first_client_starts_the_service(_):
    status = json.loads(run("ipc-client", "status", "--json", user="alice").out)
    need(is_active("ipcd.service"), "the service is not active")
    need(status["pid"] == main_pid(), "it is not the service that answers")
    need(Path(f"/proc/{main_pid()}").stat().st_uid == int(run("id", "-u", "ipcd").out), "it is not user ipcd's")
    told = run("systemctl", "show", "--property=StatusText", "ipcd.service").out.strip()
    need("idle" in told, told)


@step
def every_method_works_under_the_sandbox(_):
    here = methods_of_this_host()
    report = json.loads(bench("-m", "all", "-n", "200", "--json").out)
    failed = {result["method"]: result["error"] for result in report["results"] if "error" in result}
    need(not failed, failed)
    measured = {result["method"] for result in report["results"]}
    print(f"    {len(measured)} methods: {' '.join(sorted(measured))}")
    need(measured == here - WITHIN_ONE_USER, f"missing: {here - WITHIN_ONE_USER - measured}")
    for method in WITHIN_ONE_USER & here:
        refused = bench("-m", method, "-n", "10", expect=8)
        need("one user" in refused.err and "--private" in refused.err, refused.err)
    at_rest()


@step
def pinning_works_under_the_sandbox(_):
    placements = "same-core,cross-core" if len(os.sched_getaffinity(0)) > 1 else "same-core"
    report = json.loads(bench("-m", "tcp,pipe,shmem,mq", "-n", "500", "--placement", placements, "--json").out)
    pinned = [result for result in report["results"] if "server_cpu" in result]
    need(len(pinned) == 4 * len(placements.split(",")), f"{len(pinned)} results are pinned")
    for result in pinned:
        seen = result["trials"][0]["server_cpus"]
        need(seen == [result["server_cpu"]], f"{result['cell']}: the responder was seen on {seen}")


@step
def a_killed_service_is_back_and_serves(_):
    client, pid = long_bench(), main_pid()
    kill(pid, signal.SIGKILL)
    finish(client, expect=9)
    eventually("another daemon runs", lambda: is_active("ipcd.service") and main_pid() not in (0, pid))
    serves()
    at_rest()


@step
def a_service_that_hangs_is_ended_by_its_watchdog(_):
    drop_in("ipcd.service", "[Service]\nWatchdogSec=1s\n")
    run("systemctl", "restart", "ipcd.service")
    since, pid = int(time.time()), main_pid()
    client = long_bench()
    kill(pid, signal.SIGSTOP)
    eventually("another daemon runs", lambda: is_active("ipcd.service") and main_pid() not in (0, pid))
    need(any("Watchdog timeout" in entry["MESSAGE"] for entry in journal("ipcd.service", since)), "not by its watchdog")
    finish(client, expect=9)
    no_drop_ins()
    run("systemctl", "restart", "ipcd.service")
    serves()
    at_rest()


@step
def reload_reads_the_configuration_and_keeps_measurements(_):
    client, pid = long_bench(), main_pid()
    text = CONFIGURATION.read_text()
    CONFIGURATION.write_text(text.replace('# log = "info"', 'log = "debug"'))
    since = int(time.time())
    run("systemctl", "reload", "ipcd.service")
    need(main_pid() == pid and client.poll() is None, "it was not the same service that went on")
    run("ipc-client", "status", user="alice")
    debug = lambda: [entry for entry in journal("ipcd.service", since) if entry["PRIORITY"] == "7"]
    eventually("details are in the journal", debug)

    CONFIGURATION.write_text(text + '\n[daemon2]\nx = 1\n')
    run("systemctl", "reload", "ipcd.service", expect=None)
    need(main_pid() == pid and client.poll() is None, "a wrong configuration has ended the service")
    wrong = lambda: [entry for entry in journal("ipcd.service", since) if "daemon2" in entry["MESSAGE"]]
    need(eventually("what is wrong is told", wrong)[0]["PRIORITY"] in "34", "it is no error to the journal")

    CONFIGURATION.write_text(text)
    run("systemctl", "reload", "ipcd.service")
    client.terminate()
    finish(client, expect=None)


@step
def the_journal_has_priorities(_):
    since = int(time.time())
    client = long_bench()
    responder = [pid for pid in processes("ipcd") if pid != main_pid()][0]
    kill(responder, signal.SIGKILL)
    finish(client, expect=9)
    own = lambda: [entry for entry in journal("ipcd.service", since) if entry.get("_COMM") == "ipcd"]
    warned = lambda: [entry for entry in own() if entry["PRIORITY"] == "4" and "tcp" in entry["MESSAGE"]]
    eventually("the responder's end is a warning", warned)
    told = lambda: [entry for entry in own() if entry["PRIORITY"] == "6"]
    uid = run("id", "-u", "alice").out.strip()
    need(any(uid in entry["MESSAGE"] for entry in eventually("the run is told", told)), "nobody is named")
    for entry in own():
        need(not entry["MESSAGE"].startswith(("<", "[")), f"a priority or a time in the text: {entry['MESSAGE']}")


@step
def stop_ends_measurements_and_leaves_nothing(_):
    client = long_bench("shmem")
    run("systemctl", "stop", "ipcd.service")
    finish(client, expect=9)
    need(show("ipcd.service", "Result") == "success", show("ipcd.service", "Result"))
    need(not Path("/run/ipcd/channels").exists(), "the folder of channels is left")
    need(not leftovers(), leftovers())
    # The socket listens on.
    serves()


@step
def an_idle_service_ends_and_is_started_again(_):
    drop_in("ipcd.service", "[Service]\nExecStart=\nExecStart=/usr/bin/ipcd start --idle-exit 1s\n")
    run("systemctl", "restart", "ipcd.service")
    eventually("it ends", lambda: show("ipcd.service", "ActiveState") == "inactive")
    need(show("ipcd.service", "Result") == "success", show("ipcd.service", "Result"))
    serves()
    need(is_active("ipcd.service"), "it has not been started again")
    no_drop_ins()
    run("systemctl", "restart", "ipcd.service")


def profiles():
    """Two profiles of a few seconds each, whatever the load: CI is never quiet."""
    text = CONFIGURATION.read_text()
    if "profile.first" not in text:
        both = "".join(f'\n[profile.{name}]\nmethod = "tcp"\nduration = "2s"\n' for name in ("first", "second"))
        CONFIGURATION.write_text(text + both)
    drop_in("ipc-bench@.service", "[Unit]\nConditionCPUPressure=\n")


def recorded(user="alice"):
    """Labels of the runs in the service's history, as somebody who may only read sees them."""
    out = run("ipc-client", "history", "export", "--history", HISTORY, user=user).out
    return sorted(json.loads(line).get("label") for line in out.splitlines() if '"label"' in line)


@step
def the_timer_measures_a_profile_and_its_result_is_kept(_):
    profiles()
    drop_in("ipc-bench@first.timer", "[Timer]\nOnCalendar=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=1ms\n")
    run("systemctl", "enable", "--now", "ipc-bench@first.timer")
    eventually("it has measured", lambda: Path(HISTORY).exists() and recorded() == ["first"])
    eventually("it is done", lambda: show("ipc-bench@first.service", "ActiveState") == "inactive")
    need(show("ipc-bench@first.service", "Result") == "success", "it has failed")
    text = "".join(str(entry["MESSAGE"]) for entry in journal("ipc-bench@first.service"))
    need("round trip" in text, "the journal has no result")
    stamps = list(Path("/var/lib/systemd/timers").glob("stamp-ipc-bench@first.timer"))
    need(stamps, "a host that was off would not know that it has missed one")


def metrics():
    """What Prometheus would be told."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=10) as answer:
        return answer.read().decode()


@step
def metrics_have_a_socket_of_their_own_and_the_timers_results(_):
    need(not is_active("ipcd-metrics.socket"), "metrics are told without anybody's wish")
    run("systemctl", "stop", "ipcd.service")
    run("systemctl", "enable", "--now", "ipcd-metrics.socket")
    text = metrics()
    need(is_active("ipcd.service"), "who asks has not started the service")
    need(re.search('^ipcd_round_trip_seconds{.*method="tcp".*quantile="0.5"} ', text, re.MULTILINE), text)
    need("\nipcd_service_results_up 1\n" in text, text)
    serves()
    need('\nipcd_service_channels_opened_total{method="tcp"} 0\n' not in metrics(), "nothing is counted")
    # Another user, as a collector is, may read the file.
    need("ipcd_round_trip" in run("cat", "/var/lib/ipcd/results.prom", user="bob").out, "the results are empty")
    run("systemctl", "restart", "ipcd.service")
    need("ipcd_round_trip_seconds{" in metrics(), "another daemon does not know the results")


@step
def two_at_once_wait_for_each_other(_):
    profiles()
    run("systemctl", "start", "--no-block", "ipc-bench@first.service", "ipc-bench@second.service")
    def one_of_two():
        status = json.loads(run("ipc-client", "status", "--json", user="alice").out)
        return len(status["lease_holders"]) == 1 and len(status["queue"]) == 1
    eventually("one measures and one waits", one_of_two)
    eventually("both have measured", lambda: recorded() == ["first", "first", "second"])
    for unit in ("ipc-bench@first.service", "ipc-bench@second.service"):
        eventually("it is done", lambda: show(unit, "ActiveState") == "inactive")
        need(show(unit, "Result") == "success", f"{unit} has failed")


@step
def a_loaded_host_is_not_measured(_):
    installed = Path("/usr/lib/systemd/system/ipc-bench@.service").read_text()
    need("\nConditionCPUPressure=" in installed, "there is no condition")
    if not Path("/proc/pressure/cpu").exists():
        return print("    not shown: this kernel does not tell pressure")
    profiles()
    # The same condition over the shortest time that there is, so that it can be met now.
    drop_in("ipc-bench@.service", "[Unit]\nConditionCPUPressure=\nConditionCPUPressure=5%%/10sec\n")
    before = recorded()
    load = busy_loops(2 * os.cpu_count())
    try:
        pressure = lambda: float(re.search(r"some avg10=([0-9.]+)", Path("/proc/pressure/cpu").read_text()).group(1))
        eventually("there is pressure", lambda: pressure() > 10)
        run("systemctl", "start", "ipc-bench@first.service")
    finally:
        for process in load:
            process.kill()
            process.wait()
    need(show("ipc-bench@first.service", "ConditionResult") == "no", "it was started")
    need(recorded() == before, "it has measured")
    no_drop_ins()


@step
def an_upgrade_keeps_the_configuration_and_restarts_the_service(package):
    serves()
    pid, text = main_pid(), CONFIGURATION.read_text()
    run("dpkg", "--install", package)
    need(is_active("ipcd.service") and main_pid() != pid, "the old daemon still runs")
    need(CONFIGURATION.read_text() == text, "the configuration is another")
    serves()


def users():
    """Users and groups."""
    return [run("getent", database).out for database in ("passwd", "group")]


@step
def remove_keeps_what_is_the_administrators_and_purge_keeps_nothing(_):
    run("dpkg", "--remove", "ipcd")
    need(not processes("ipcd") and not Path("/run/ipcd/ipcd.sock").exists(), "it still runs")
    need(CONFIGURATION.exists() and Path(HISTORY).exists(), "remove has removed too much")
    run("dpkg", "--purge", "ipcd")
    left = files() - the_package_installs_and_its_socket_listens.before
    need(not left, f"left behind: {sorted(left)}")
    need(users() == the_package_installs_and_its_socket_listens.users, "a user or a group is left")
    units = run("systemctl", "list-units", "--all", "--no-legend", "ipc*", expect=None).out
    need(not units.strip(), f"units are left: {units}")


def main():
    package = Path(sys.argv[1]).resolve(strict=True)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Failed(f"not done after {STEP_PATIENCE} s")))
    begun = time.monotonic()
    for number, function in enumerate(STEPS, 1):
        print(f"{number:2}/{len(STEPS)} {function.__name__.replace('_', ' ')} ({time.monotonic() - begun:.0f} s)", flush=True)
        signal.alarm(STEP_PATIENCE)
        try:
            function(package)
        except Failed as failure:
            sys.exit(f"FAILED: {function.__name__.replace('_', ' ')}: {failure}")
        signal.alarm(0)
    print(f"all promises are kept ({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()
