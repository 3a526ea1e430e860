#!/usr/bin/env python3
"""AF_VSOCK over its loopback, in a virtual machine: kernels of containers and of small virtual machines lack the module.

    check.py [TEST...]        tests as "cargo test --test ipcd --" takes them; conformance, faults and strangers unless named

Boots Debian's kernel in QEMU, emulated, so that it works wherever this does; loads the modules; measures; and runs the
integration tests, restricted to vsock, from what "cargo test" has built. Nothing is installed, and nothing is left. What
a round takes in an emulated machine says nothing of a real one: no time is looked at but the deadline.
"""

import json
import lzma
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = ["conformance::", "faults::", "strangers::"]
# All methods in 20 s, too little for an emulated machine; another user, which needs setpriv, absent from busybox; names that vsock lacks.
LEFT_OUT = ["conformance::all_means_every_method", "strangers::group::", "strangers::names::an_abstract_name"]
MODULES = ["vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback"]
# How long the guest may take, booting included, in seconds; and each command before that.
DEADLINE = 900
PATIENCE = 1800
# Lines of the console that are shown where something has failed.
LINES_SHOWN = 300


class Failed(Exception):
    """A promise that is not kept."""


def need(holds, message):
    """Fails unless `holds`."""
    if not holds:
        raise Failed(message)


def run(*command, **more):
    """Runs a command to its end, and returns what it printed."""
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                           timeout=PATIENCE, **more)
    need(ended.returncode == 0, f"{' '.join(map(str, command))}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def programs():
    """Paths of the client, the daemon and the tests, which "cargo test" has built, or does now."""
    cargo = ["cargo", "test", "--locked", "--no-run", "--test", "ipcd", "--message-format=json"]
    built = map(json.loads, run(*cargo, cwd=HERE.parent.parent).splitlines())
    found = {}
    for one in built:
        if one.get("executable"):
            kind = one["target"]["kind"][0]
            found[one["target"]["name"] if kind == "bin" else kind] = Path(one["executable"])
    return found["ipc-client"], found["ipcd"], found["test"]


def debian(folder):
    """Unpacks Debian's kernel and its busybox into `folder`."""
    def kernel():
        depends = run("apt-cache", "depends", "--important", "linux-image-cloud-amd64")
        return re.search(r"Depends: (linux-image-[0-9]\S*)", depends).group(1)
    download = lambda: run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", kernel(), "busybox-static", cwd=folder)
    try:
        download()
    except (Failed, AttributeError):
        # Its lists are old, or there are none.
        run("apt-get", "-qq", "update")
        download()
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "-x", package, folder)


def libraries(*program_paths):
    """The libraries that programs are linked with, their loader included."""
    return {Path(path) for path in re.findall(r"(?<=\s)/\S+", run("ldd", *program_paths)) if not path.endswith(":")}


def initramfs(folder, tests):
    """Makes the guest's file system of what is in `folder`; returns its file."""
    root = folder / "root"
    def put(source, path):
        target = root / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return target
    client, daemon, test_program = programs()
    for program in (client, daemon, test_program):
        # The tests find the programs where they were built.
        run("strip", "--strip-debug", put(program, program))
    for library in libraries(client, daemon, test_program):
        put(library, library)
    put(folder / "bin/busybox", "bin/busybox")
    put(HERE / "guest.sh", "init").chmod(0o755)
    for module in MODULES:
        found = next(folder.glob(f"lib/modules/*/kernel/net/vmw_vsock/{module}.ko*"))
        content = found.read_bytes()
        target = root / f"check/modules/{module}.ko"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(lzma.decompress(content) if found.suffix == ".xz" else content)
    for directory in ("proc", "sys", "dev"):
        (root / directory).mkdir()
    # One at a time: two emulated CPUs are slow, and tests have patience for a busy machine only.
    tests = ["--test-threads=1", *(word for name in LEFT_OUT for word in ("--skip", name)), *tests]
    wanted = {"CLIENT": client, "TEST_PROGRAM": test_program, "TESTS": " ".join(tests)}
    (root / "check/wanted").write_text("".join(f"{name}='{value}'\n" for name, value in wanted.items()))
    archive = folder / "initramfs"
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with archive.open("wb") as out:
        busybox = folder / "bin/busybox"
        subprocess.run([busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out,
                       stderr=subprocess.DEVNULL, check=True)
    return archive


class Guest:
    """The machine and its console output."""

    def __init__(self, kernel, archive):
        self.log = []
        self.steps = {}
        self.is_over = False
        arguments = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
        self.machine = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G", "-nodefaults",
             "-no-user-config", "-display", "none", "-serial", "stdio", "-nic", "none", "-no-reboot",
             "-kernel", kernel, "-initrd", archive, "-append", arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )

    def listen(self, log):
        """Collects what the steps print and say until the machine is off, or has taken too long."""
        timer = threading.Timer(DEADLINE, self.machine.kill)
        timer.start()
        begun = time.monotonic()
        printed = []
        try:
            for line in self.machine.stdout:
                line = line.rstrip("\r\n")
                self.log.append(line)
                marker = re.fullmatch(r"@@ (up|begin|said|end|over) ?(.*)", line)
                if not marker:
                    printed.append(line)
                    if re.match(r"test (?!result)", line):
                        log(f"    {line}")
                    continue
                what, rest = marker.groups()
                if what == "begin":
                    log(f"{rest} ({time.monotonic() - begun:.0f} s)")
                    printed = []
                elif what == "said":
                    self.steps[rest] = {"out": printed}
                    printed = []
                elif what == "end":
                    name, code = rest.rsplit(" ", 1)
                    self.steps[name].update(said=printed, code=int(code))
                elif what == "up":
                    log(f"the guest is up: {rest} ({time.monotonic() - begun:.0f} s)")
                else:
                    self.is_over = True
        finally:
            timer.cancel()

    def end(self):
        """Ends it if it runs."""
        self.machine.kill()
        self.machine.wait()

    def step(self, name, code=0):
        """What a step has printed, which must have ended with this exit code."""
        step = self.steps.get(name, {})
        need("code" in step, f"\"{name}\" has not ended")
        need(step["code"] == code, f"\"{name}\" ended with exit code {step['code']}")
        return step["out"]

    def document(self, name):
        """The JSON that a step has printed."""
        return json.loads("\n".join(self.step(name)))


def vsock(methods):
    """The entry for vsock in a list of methods."""
    return next(method for method in methods if method["name"] == "vsock")


def check_cells(document, cells, rounds):
    """Each cell of a bench has all its rounds."""
    need(len(document["results"]) == cells, f"{len(document['results'])} cells, not {cells}")
    for cell in document["results"]:
        need("error" not in cell and cell["rounds"] == rounds and cell["lost"] == 0, json.dumps(cell))
        print(f"    {cell['cell']}: {cell['rounds']} rounds")


def check(guest):
    """What the guest has to have shown."""
    need(guest.is_over, f"the guest has not come to its end in {DEADLINE} s, or has died")
    for name, reason in [("none", "the kernel has no AF_VSOCK"), ("no loopback", "AF_VSOCK has no loopback")]:
        found = vsock(guest.document(name)).get("unavailable_because", "")
        need(found == f"{reason}; load the module vsock_loopback" or found == f"{reason}; load its module vsock_loopback", found)
        print(f"    without the module: {found}")
    need("unavailable_because" not in vsock(guest.document("methods")), "vsock is not available")
    print("    with it, vsock is available")
    check_cells(guest.document("bench"), 6, 500)
    check_cells(guest.document("bench of 1 MiB"), 3, 5)
    summary = next((line for line in guest.step("tests") if line.startswith("test result: ")), "no result")
    need(re.match(r"test result: ok\. [1-9]\d* passed; 0 failed", summary), summary)
    print(f"    {summary}")
    left = [line for line in guest.step("what is left", code=1) if line]
    need(not left, f"left behind: {left}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("FAILED: qemu-system-x86_64 is missing; Debian's package is qemu-system-x86")
    begun = time.monotonic()
    log = lambda text: print(text, flush=True)
    guest, passed = None, False
    with tempfile.TemporaryDirectory(prefix="ipcd-vsock-") as name:
        folder = Path(name)
        try:
            debian(folder)
            archive = initramfs(folder, sys.argv[1:] or TESTS)
            kernel = next(folder.glob("boot/vmlinuz-*"))
            log(f"booting {kernel.name} ({time.monotonic() - begun:.0f} s)")
            guest = Guest(kernel, archive)
            guest.listen(log)
            check(guest)
            passed = True
        except Failed as failure:
            sys.exit(f"FAILED: {failure}")
        finally:
            if guest:
                guest.end()
            if guest and not passed:
                print("the last of the console:", *guest.log[-LINES_SHOWN:], sep="\n")
    log(f"vsock works ({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()
