#!/usr/bin/env python3
"""The package under a real systemd: installs, serves, survives, measures by its timer, and goes without a trace.

    check.py PACKAGE.deb      as root, on a machine that may be thrown away afterwards

Every step is a promise, with a deadline. The first that is not kept ends the check.
"""

import signal
import sys
import time
from pathlib import Path

import alarm
import install
import service
import timer
from host import Failed

# How long a step may take.
STEP_PATIENCE = 300

STEPS = [
    install.the_package_installs_and_its_socket_listens,
    install.units_are_well_formed_and_closed,
    install.the_configuration_is_well_formed_and_documents_are_found,
    service.who_is_not_in_the_group_is_refused,
    service.the_first_client_starts_the_service,
    service.every_method_works_under_the_sandbox,
    service.pinning_works_under_the_sandbox,
    service.a_file_that_a_client_makes_larger_fills_no_file_system_but_the_services_own,
    service.a_service_that_is_killed_again_and_again_is_back_and_serves,
    service.a_service_that_hangs_is_ended_by_its_watchdog,
    service.reload_reads_the_configuration_and_keeps_measurements,
    service.a_mended_configuration_is_served_without_anybodys_help,
    service.the_journal_has_priorities,
    service.stop_ends_measurements_and_leaves_nothing,
    service.an_idle_service_ends_and_is_started_again,
    timer.the_timer_measures_a_profile_and_its_result_is_kept,
    timer.metrics_have_a_socket_of_their_own_and_the_timers_results,
    timer.every_method_and_placement_works_under_the_timers_sandbox,
    timer.the_profile_that_is_installed_is_measured,
    timer.two_timers_at_once_wait_for_each_other,
    timer.a_loaded_host_is_not_measured,
    alarm.a_failed_method_fails_the_unit_and_is_exported_with_the_others,
    alarm.a_check_that_checks_nothing_is_an_alarm,
    alarm.what_is_too_noisy_to_tell_is_none,
    alarm.what_is_slower_than_it_may_be_is_one,
    install.an_upgrade_keeps_the_configuration_and_restarts_the_service,
    install.an_upgrade_brings_a_configuration_that_nobody_has_changed,
    install.what_was_removed_is_back_as_it_was,
    install.remove_keeps_what_is_the_administrators_and_purge_keeps_nothing,
]


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
