"""Steps of the package: it installs, is well-formed, is upgraded, and goes without a trace."""

import re
import tempfile
from pathlib import Path

from host import files, finish, is_active, main_pid, need, processes, run, show, start
from links import broken
from measure import CONFIGURATION, HISTORY, serves

# How long a package may take on a busy machine.
DPKG_PATIENCE = 150
# The most that a service may be exposed, by "systemd-analyze security".
EXPOSURE = 2.0


def dpkg(*arguments):
    """Has dpkg do something."""
    finish(start("dpkg", *arguments), patience=DPKG_PATIENCE)


def the_package_installs_and_its_socket_listens(package):
    # Container images forbid packages to start services; this machine allows it.
    Path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
    # man-db would read all pages of the host, each time.
    Path("/var/lib/man-db/auto-update").unlink(missing_ok=True)
    run("useradd", "--create-home", "alice")
    run("useradd", "--create-home", "bob")
    the_package_installs_and_its_socket_listens.before = files()
    the_package_installs_and_its_socket_listens.users = users()
    dpkg("--install", package)
    need(is_active("ipcd.socket"), "the socket is not active")
    need(show("ipcd.socket", "UnitFileState") == "enabled", "the socket is not enabled")
    need(not is_active("ipcd.service"), "the service runs before anybody needs it")
    run("usermod", "--append", "--groups", "ipcd", "alice")


def units_are_well_formed_and_closed(_):
    units = [f"/usr/lib/systemd/system/{name}" for name in
             ("ipcd.service", "ipcd.socket", "ipcd-metrics.socket", "ipc-bench@.service", "ipc-bench@.timer")]
    said = run("systemd-analyze", "verify", "--recursive-errors=no", *units)
    need(not said.out + said.err, said.out + said.err)
    for unit in ("ipcd.service", "ipc-bench@nightly.service"):
        printed = run("systemd-analyze", "security", "--no-pager", unit).out.splitlines()[-1]
        exposure = float(re.search(r": ([0-9.]+)", printed).group(1))
        print(f"    {unit}: exposure {exposure}")
        need(exposure <= EXPOSURE, f"{unit} is more exposed than {EXPOSURE}")


def the_configuration_is_well_formed_and_documents_are_found(_):
    run("ipcd", "config", "check", user="alice")
    for page in ("ipcd", "ipcd-start", "ipc-client", "ipc-client-bench", "ipcd.toml"):
        run("man", "--where", page)
    need(not (nowhere := broken("/usr/share/doc/ipcd")), f"links that lead nowhere: {nowhere}")


def version():
    """Version of the installed package."""
    return run("dpkg-query", "--show", "--showformat=${Version}", "ipcd").out


def install_older(package, *options):
    """Installs the same package as if it were of an older release, with another default configuration."""
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "--raw-extract", package, f"{folder}/ipcd")
        for name, change in {
            "DEBIAN/control": lambda text: re.sub(r"(?m)^Version: .*$", "Version: 0.0.1-1", text),
            CONFIGURATION.relative_to("/"): lambda text: f"# Of an older release.\n{text}",
        }.items():
            file = Path(folder, "ipcd", name)
            file.write_text(change(file.read_text()))
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", f"{folder}/ipcd", f"{folder}/older.deb")
        dpkg("--install", *options, f"{folder}/older.deb")
    need(version() == "0.0.1-1", version())


def an_upgrade_keeps_the_configuration_and_restarts_the_service(package):
    text, new = CONFIGURATION.read_text(), version()
    # "confold" is what an administrator answers who is asked which of the two changed files shall stay, and is apt's default.
    install_older(package, "--force-confold")
    serves()
    pid = main_pid()
    dpkg("--force-confold", "--install", package)
    need(version() == new, version())
    need(is_active("ipcd.service") and main_pid() != pid, "the old daemon still runs")
    need(CONFIGURATION.read_text() == text, "the configuration is another")
    need(CONFIGURATION.with_name("ipcd.toml.dpkg-dist").exists(), "the new default configuration is missing")
    serves()


def an_upgrade_brings_a_configuration_that_nobody_has_changed(package):
    install_older(package, "--force-confnew")
    need(CONFIGURATION.read_text().startswith("# Of an older release.\n"), "the older one is not there")
    dpkg("--install", package)
    need("older release" not in CONFIGURATION.read_text(), "the older one is still there")
    serves()


def what_was_removed_is_back_as_it_was(package):
    units = ("ipcd.socket", "ipcd-metrics.socket", "ipc-bench@first.timer")
    for unit in units:
        need(is_active(unit) and show(unit, "UnitFileState") == "enabled", f"{unit} is not active and enabled")
    dpkg("--remove", "ipcd")
    active = run("systemctl", "list-units", "--no-legend", "--state=active", "ipc*", expect=None).out
    need(not active.strip(), f"active without their files: {active}")
    dpkg("--install", package)
    for unit in units:
        need(is_active(unit), f"{unit} is not active")
    serves()


def users():
    """Users and groups."""
    return [run("getent", database).out for database in ("passwd", "group")]


def remove_keeps_what_is_the_administrators_and_purge_keeps_nothing(_):
    dpkg("--remove", "ipcd")
    need(not processes("ipcd") and not Path("/run/ipcd/ipcd.sock").exists(), "it still runs")
    need(CONFIGURATION.exists() and Path(HISTORY).exists(), "remove has removed too much")
    dpkg("--purge", "ipcd")
    left = files() - the_package_installs_and_its_socket_listens.before
    need(not left, f"left behind: {sorted(left)}")
    need(users() == the_package_installs_and_its_socket_listens.users, "a user or a group is left")
    units = run("systemctl", "list-units", "--all", "--no-legend", "ipc*", expect=None).out
    need(not units.strip(), f"units are left: {units}")
