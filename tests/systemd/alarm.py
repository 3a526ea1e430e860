"""Steps of alarms: what the timer's unit makes of a method that fails, and of the check that contrib/systemd adds."""

import re
import shutil
import signal
import time
from pathlib import Path

from host import drop_in, eventually, finish, journal, kill, main_pid, need, no_drop_ins, processes, run, show, start
from measure import CONFIGURATION, HISTORY, reports
from timer import QUIET

UNIT = "ipc-bench@checked.service"
# The files of contrib/systemd, at the paths that their comments name.
SHIPPED = ("ipc-bench@.service.d/check.conf", "ipcd-alarm@.service")
RESULTS = Path("/var/lib/ipcd/results.prom")


def profiles():
    """A profile with as many trials as a confidence interval takes on a machine that is busy with something else, and one whose single
    trial lasts until its responder is killed."""
    settings = {"checked": 'duration = "200ms"\ntrials = 10\n', "broken": 'duration = "3s"\n'}
    more = "".join(f'\n[profile.{name}]\nmethod = ["tcp", "pipe"]\n{text}' for name, text in settings.items())
    CONFIGURATION.write_text(CONFIGURATION.read_text() + more)


def bound(limit):
    """Has the unit check against a bound instead of a baseline."""
    bench = "/usr/bin/ipc-client bench --profile %i --record --label %i"
    check = f"/usr/bin/ipc-client check %i --p50-below {limit}"
    drop_in("ipc-bench@.service", f"{QUIET}\n[Service]\nExecStart=\nExecStart={bench}\nExecStart={check}\n")


def measured(unit, expect):
    """Runs a profile's unit to its end, which systemctl tells by `expect`. Returns since when, its result, the exit code of what was
    last (0 as well once systemd has forgotten a unit that has not failed), and what it said."""
    since, before = time.time(), RESULTS.stat()
    run("systemctl", "start", unit, expect=expect)
    # A new file each time, renamed.
    need(RESULTS.stat().st_ino != before.st_ino, "its results are not exported")
    shown = show(unit, "Result", "ExecMainStatus")
    said = "\n".join(str(entry["MESSAGE"]) for entry in journal(unit, since))
    return since, shown["Result"], int(shown["ExecMainStatus"]), said


def alarmed(since):
    """What the journal has at priority "alert" about the unit's failure."""
    entries = lambda: [entry for entry in journal(f"ipcd-alarm@{UNIT}.service", since) if entry["PRIORITY"] == "1"]
    eventually("there is an alarm", entries)
    eventually("the alarm unit is done", lambda: show(f"ipcd-alarm@{UNIT}.service", "ActiveState") == "inactive")
    return "\n".join(entry["MESSAGE"] for entry in entries())


def a_failed_method_fails_the_unit_and_is_exported_with_the_others(_):
    profiles()
    drop_in("ipc-bench@.service", QUIET)
    RESULTS.unlink()
    unit = start("systemctl", "start", "ipc-bench@broken.service")
    responders = lambda: [pid for pid in processes("ipcd") if pid != main_pid()]
    kill(eventually("it measures", responders)[0], signal.SIGKILL)
    finish(unit, expect=1)
    shown = show("ipc-bench@broken.service", "Result", "ExecMainStatus")
    need(shown == {"Result": "exit-code", "ExecMainStatus": "9"}, shown)
    failed = dict(re.findall(r'^ipcd_result_failed{.*method="(\w+)".*} (\d)$', RESULTS.read_text(), re.MULTILINE))
    need(failed["tcp"] == "1" and failed["pipe"] == "0", failed)
    errors = {result["method"]: "error" in result for result in reports("broken")[-1]["results"]}
    need(errors == {"tcp": True, "pipe": False}, errors)


def a_check_that_checks_nothing_is_an_alarm(_):
    for name in SHIPPED:
        target = Path("/etc/systemd/system", name)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(f"/usr/share/doc/ipcd/contrib/systemd/{name}", target)
    said = run("systemd-analyze", "verify", "--recursive-errors=no", UNIT, f"ipcd-alarm@{UNIT}.service")
    need(not said.out + said.err, said.out + said.err)
    drop_in("ipc-bench@.service", QUIET)
    since, result, code, _ = measured(UNIT, 1)
    need((result, code) == ("exit-code", 14), f"{result}, {code}")
    need("checked-good" in (printed := alarmed(since)), f"the alarm does not say why: {printed}")

    run("ipc-client", "history", "baseline", "checked-good", "checked", "--history", HISTORY, user="ipcd-bench")
    since, result, code, said = measured(UNIT, None)
    # The machine decides whether it is slower than a moment ago.
    need(code in (0, 12, 13) and (result == "success") == (code != 12), f"{result}, {code}")
    need(all(re.search(rf"{method}:.*p50.*%", said) for method in ("tcp", "pipe")), f"what was compared is not reported: {said}")
    need(result == "success" or alarmed(since), "it fails without an alarm")


def what_is_too_noisy_to_tell_is_none(_):
    bound("10s")
    since, result, _, said = measured(UNIT, 0)
    need(result == "success" and "check: fine" in said, said)
    # A single trial has no confidence interval.
    _, result, code, said = measured("ipc-bench@first.service", 0)
    need((result, code) == ("success", 13) and "check: too noisy" in said, said)
    for unit in (UNIT, "ipc-bench@first.service"):
        need(not journal(f"ipcd-alarm@{unit}.service", since), f"an alarm of {unit}")


def what_is_slower_than_it_may_be_is_one(_):
    bound("1ns")
    since, result, code, _ = measured(UNIT, 1)
    need((result, code) == ("exit-code", 12), f"{result}, {code}")
    need("limit exceeded: tcp" in (printed := alarmed(since)), f"the alarm does not say why: {printed}")
    for name in SHIPPED:
        Path("/etc/systemd/system", name).unlink()
    Path("/etc/systemd/system", SHIPPED[0]).parent.rmdir()
    no_drop_ins()
