"""Steps of the timer: it measures profiles, records and exports the results, and skips a loaded host."""

import json
import os
import re
import urllib.request
from pathlib import Path

from host import (
    busy_loops, drop_in, eventually, finish, is_active, journal, need, no_drop_ins, not_tested, run, show, start,
)
from measure import CONFIGURATION, HISTORY, bench, methods_of_this_host, reports, serves

# How long the largest profile here may take, on a busy machine.
PROFILE_PATIENCE = 150
# A machine that CI runs on is never quiet.
QUIET = "[Unit]\nAssertCPUPressure=\n"
# As soon as a timer is started.
AT_ONCE = "[Timer]\nOnCalendar=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=1ms\n"


def profiles():
    """Two profiles of a few seconds each, whatever the load."""
    text = CONFIGURATION.read_text()
    if "profile.first" not in text:
        both = "".join(f'\n[profile.{name}]\nmethod = "tcp"\nduration = "2s"\n' for name in ("first", "second"))
        CONFIGURATION.write_text(text + both)
    drop_in("ipc-bench@.service", QUIET)


def the_timer_measures_a_profile_and_its_result_is_kept(_):
    profiles()
    drop_in("ipc-bench@.timer", AT_ONCE)
    run("systemctl", "enable", "--now", "ipc-bench@first.timer")
    eventually("it has measured", lambda: HISTORY.exists() and len(reports("first")) == 1)
    eventually("it is done", lambda: show("ipc-bench@first.service", "ActiveState") == "inactive")
    need(show("ipc-bench@first.service", "Result") == "success", "it has failed")
    text = "".join(str(entry["MESSAGE"]) for entry in journal("ipc-bench@first.service"))
    need(re.search(r"tcp at 8 B: p50 \d.*Grade: ", text), f"the journal has no result: {text}")
    stamps = list(Path("/var/lib/systemd/timers").glob("stamp-ipc-bench@first.timer"))
    need(stamps, "a host that was off would not know that it has missed one")
    owners = {path.owner() for path in (HISTORY.parent, HISTORY)}
    need(owners == {"ipcd-bench"}, f"the service could rewrite what check judges by: {owners}")


def metrics():
    """What Prometheus would scrape."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=10) as answer:
        return answer.read().decode()


def metrics_have_a_socket_of_their_own_and_the_timers_results(_):
    need(not is_active("ipcd-metrics.socket"), "metrics are served without being enabled")
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


def measured(profile):
    """Measures a profile by its unit, and returns the results that are kept of it."""
    unit = f"ipc-bench@{profile}.service"
    finish(start("systemctl", "start", unit), patience=PROFILE_PATIENCE)
    need(show(unit, "Result") == "success", f"{unit} has failed")
    report = reports(profile)[-1]
    failed = {result["cell"]: result["error"] for result in report["results"] if "error" in result}
    need(not failed, failed)
    return report["results"]


def every_method_and_placement_works_under_the_timers_sandbox(_):
    text = CONFIGURATION.read_text()
    methods = '\n[profile.methods]\nmethod = "all"\nrounds = 200\n'
    placements = '\n[profile.placements]\nmethod = ["tcp", "shmem", "mmap"]\nplacement = "all"\nrounds = 200\n'
    CONFIGURATION.write_text(text + methods + placements)
    here, seen = methods_of_this_host(), {result["method"] for result in measured("methods")}
    # Not those that work within one user: the service's is another.
    here -= {"signal", "process-vm", "iceoryx2"}
    need(seen == here, f"missing: {here - seen}, too many: {seen - here}")
    print(f"    {len(seen)} methods: {' '.join(sorted(seen))}")

    printed = json.loads(bench("--private", "-m", "tcp", "--placement", "all", "-n", "20", "--json").out)
    cells = lambda results, methods: {(m, r["placement"], r.get("server_cpu")) for m in methods for r in results}
    results = measured("placements")
    seen = {(result["method"], result["placement"], result.get("server_cpu")) for result in results}
    need(seen == cells(printed["results"], ("tcp", "shmem", "mmap")), f"placements are others: {seen}")
    for result in results:
        if "server_cpu" in result:
            cpus = result["trials"][0]["server_cpus"]
            need(cpus == [result["server_cpu"]], f"{result['cell']}: the responder was seen on {cpus}")
    CONFIGURATION.write_text(text)


def the_profile_that_is_installed_is_measured(_):
    text = CONFIGURATION.read_text()
    # As it is, but for the time of a trial: it takes two minutes.
    CONFIGURATION.write_text(text.replace("[profile.nightly]\n", '[profile.nightly]\nduration = "50ms"\n'))
    results = measured("nightly")
    need(len({result["method"] for result in results}) == 5 and len({result["size_bytes"] for result in results}) == 2,
         [result["cell"] for result in results])
    need(all(len(result["trials"]) == 5 for result in results), "trials are missing")
    CONFIGURATION.write_text(text)


def two_timers_at_once_wait_for_each_other(_):
    profiles()
    drop_in("ipc-bench@.timer", AT_ONCE)
    timers = ("ipc-bench@first.timer", "ipc-bench@second.timer")
    run("systemctl", "stop", timers[0])
    run("systemctl", "enable", "--now", *timers)
    def one_of_two():
        status = json.loads(run("ipc-client", "status", "--json", user="alice").out)
        return len(status["lease_holders"]) == 1 and len(status["queue"]) == 1
    eventually("one measures and one waits", one_of_two)
    eventually("both have measured", lambda: len(reports("first")) == 2 and len(reports("second")) == 1)
    for unit in ("ipc-bench@first.service", "ipc-bench@second.service"):
        eventually("it is done", lambda: show(unit, "ActiveState") == "inactive")
        need(show(unit, "Result") == "success", f"{unit} has failed")


def a_loaded_host_is_not_measured(_):
    installed = Path("/usr/lib/systemd/system/ipc-bench@.service").read_text()
    need("\nAssertCPUPressure=" in installed, "the condition is missing")
    if not Path("/proc/pressure/cpu").exists():
        return not_tested("psi", "this kernel does not report pressure (psi=1)")
    profiles()
    # The same condition over the shortest time that there is, so that it can be met now.
    drop_in("ipc-bench@.service", "[Unit]\nAssertCPUPressure=\nAssertCPUPressure=5%%/10sec\n")
    before = len(reports("first"))
    load = busy_loops(2 * os.cpu_count())
    try:
        pressure = lambda: float(re.search(r"some avg10=([0-9.]+)", Path("/proc/pressure/cpu").read_text()).group(1))
        eventually("there is pressure", lambda: pressure() > 10)
        skipped = run("systemctl", "start", "ipc-bench@first.service", expect=1)
        need("Assertion failed" in skipped.err, "a manual start does not say that nothing was measured")
    finally:
        for process in load:
            process.kill()
            process.wait()
    need(show("ipc-bench@first.service", "AssertResult") == "no", "it was started")
    need(len(reports("first")) == before, "it has measured")
    no_drop_ins()
