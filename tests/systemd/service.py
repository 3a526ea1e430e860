"""Steps of the service: who may use it, what works in its sandbox, and what it survives."""

import errno
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path

from host import drop_in, eventually, finish, is_active, journal, kill, leftovers, main_pid, need, no_drop_ins, processes, run, show
from measure import CONFIGURATION, at_rest, bench, long_bench, methods_of_this_host, serves

# They reach processes of their own user only, and a member of the group is another.
WITHIN_ONE_USER = {"process-vm", "signal", "iceoryx2"}
# How many starts within 10 s systemd allows to a unit that does not say otherwise.
SYSTEMDS_START_LIMIT = 5
# Makes a configuration that cannot be used.
WRONG = "\n[daemon2]\nx = 1\n"


def who_is_not_in_the_group_is_refused(_):
    refused = bench("-m", "tcp", "-n", "10", user="bob", expect=6)
    need("group ipcd" in refused.err and not refused.out, refused.out + refused.err)
    need(not is_active("ipcd.service"), "a refused client has started the service")


def the_first_client_starts_the_service(_):
    status = json.loads(run("ipc-client", "status", "--json", user="alice").out)
    need(is_active("ipcd.service"), "the service is not active")
    need(status["pid"] == main_pid(), "it is not the service that answers")
    need(Path(f"/proc/{main_pid()}").stat().st_uid == int(run("id", "-u", "ipcd").out), "it is not user ipcd's")
    printed = run("systemctl", "show", "--property=StatusText", "ipcd.service").out.strip()
    need("idle" in printed, printed)


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


def pinning_works_under_the_sandbox(_):
    placements = "same-core,cross-core" if len(os.sched_getaffinity(0)) > 1 else "same-core"
    report = json.loads(bench("-m", "tcp,pipe,shmem,mq", "-n", "500", "--placement", placements, "--json").out)
    pinned = [result for result in report["results"] if "server_cpu" in result]
    need(len(pinned) == 4 * len(placements.split(",")), f"{len(pinned)} results are pinned")
    for result in pinned:
        seen = result["trials"][0]["server_cpus"]
        need(seen == [result["server_cpu"]], f"{result['cell']}: the responder was seen on {seen}")


def a_service_that_is_killed_again_and_again_is_back_and_serves(_):
    client, pid = long_bench(), main_pid()
    kill(pid, signal.SIGKILL)
    finish(client, expect=9)
    # More often than a start limit would bear, if there were one.
    for _ in range(SYSTEMDS_START_LIMIT + 1):
        eventually("another daemon runs", lambda: is_active("ipcd.service") and main_pid() not in (0, pid))
        pid = main_pid()
        kill(pid, signal.SIGKILL)
    eventually("another daemon runs", lambda: is_active("ipcd.service") and main_pid() not in (0, pid))
    serves()
    at_rest()


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

    CONFIGURATION.write_text(text + WRONG)
    run("systemctl", "reload", "ipcd.service", expect=1)
    need(main_pid() == pid and client.poll() is None, "a wrong configuration has ended the service")
    line = f"{CONFIGURATION}:{text.count(chr(10)) + 2}:"
    entries = lambda: [entry for entry in journal("ipcd.service", since) if line in entry["MESSAGE"] and "daemon2" in entry["MESSAGE"]]
    eventually("the error and its line are reported", entries)
    # If only the signal is sent, the journal has the error.
    kill(pid, signal.SIGHUP)
    wrong = lambda: [entry for entry in entries() if int(entry["_PID"]) == pid]
    need(eventually("the daemon reports it too", wrong)[0]["PRIORITY"] in "34", "its priority is not an error's")
    need(main_pid() == pid and client.poll() is None, "a wrong configuration has ended the service")

    CONFIGURATION.write_text(text)
    run("systemctl", "reload", "ipcd.service")
    client.terminate()
    finish(client, expect=None)


def a_mended_configuration_is_served_without_anybodys_help(_):
    text = CONFIGURATION.read_text()
    run("systemctl", "stop", "ipcd.service")
    CONFIGURATION.write_text(text + WRONG)
    # Not by ipc-client, which reads the same file.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("/run/ipcd/ipcd.sock")
        tried = lambda: int(show("ipcd.service", "NRestarts")) > SYSTEMDS_START_LIMIT
        eventually("it is tried again and again", tried)
        need(is_active("ipcd.socket"), "the socket has given up")
        CONFIGURATION.write_text(text)
        eventually("it runs", lambda: is_active("ipcd.service"))
    serves()


def the_journal_has_priorities(_):
    since = int(time.time())
    client = long_bench()
    responder = [pid for pid in processes("ipcd") if pid != main_pid()][0]
    kill(responder, signal.SIGKILL)
    finish(client, expect=9)
    own = lambda: [entry for entry in journal("ipcd.service", since) if entry.get("_COMM") == "ipcd"]
    warned = lambda: [entry for entry in own() if entry["PRIORITY"] == "4" and "tcp" in entry["MESSAGE"]]
    eventually("the responder's end is a warning", warned)
    entries = lambda: [entry for entry in own() if entry["PRIORITY"] == "6"]
    uid = run("id", "-u", "alice").out.strip()
    need(any(uid in entry["MESSAGE"] for entry in eventually("the run is logged", entries)), "the user is not named")
    for entry in own():
        need(not entry["MESSAGE"].startswith(("<", "[")), f"a priority or a time in the text: {entry['MESSAGE']}")


def a_file_that_a_client_makes_larger_fills_no_file_system_but_the_services_own(_):
    client = long_bench("mmap")
    used = lambda: {place: shutil.disk_usage(place).used for place in ("/run", "/tmp", "/dev/shm")}
    before = used()
    maps = lambda: [path for pid in processes("ipcd") for path in Path(f"/proc/{pid}/map_files").glob("*")
                    if os.readlink(path).startswith("/tmp/ipcd-")]
    # As its client can, which was handed it.
    file = os.open(eventually("the file is mapped", maps)[0], os.O_RDWR)
    try:
        os.posix_fallocate(file, 0, 2 << 30)
        need(False, "2 GiB are in the service's file system")
    except OSError as error:
        need(error.errno == errno.ENOSPC, str(error))
    finally:
        os.close(file)
    need(all(now < before[place] + (64 << 20) for place, now in used().items()), f"{before}, then {used()}")
    client.terminate()
    finish(client, expect=None)
    serves()
    at_rest()


def stop_ends_measurements_and_leaves_nothing(_):
    client = long_bench("shmem")
    run("systemctl", "stop", "ipcd.service")
    finish(client, expect=9)
    need(show("ipcd.service", "Result") == "success", show("ipcd.service", "Result"))
    need(not Path("/run/ipcd/channels").exists(), "the folder of channels is left")
    need(not leftovers(), leftovers())
    # The socket listens on.
    serves()


def an_idle_service_ends_and_is_started_again(_):
    drop_in("ipcd.service", "[Service]\nExecStart=\nExecStart=/usr/bin/ipcd start --idle-exit 1s\n")
    run("systemctl", "restart", "ipcd.service")
    eventually("it ends", lambda: show("ipcd.service", "ActiveState") == "inactive")
    need(show("ipcd.service", "Result") == "success", show("ipcd.service", "Result"))
    serves()
    need(is_active("ipcd.service"), "it has not been started again")
    no_drop_ins()
    run("systemctl", "restart", "ipcd.service")
