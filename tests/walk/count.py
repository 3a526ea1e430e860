#!/usr/bin/env python3
"""count.py [--toggle FUNCTION]... PROGRAM [ARGUMENT]...: the source files of this crate that PROGRAM executes, under callgrind.

With --toggle, only within these functions (callgrind's --toggle-collect: a pattern, which must not match a function that another
one calls). The program needs debug information: a debug build. Run at the root of the repository.

Opening a channel in the daemon; bench runs in another shell meanwhile:
    tests/walk/count.py --toggle '*Connections::receive*' --toggle '*Channels::start*' --toggle '*Server::read_channel*' \\
      target/debug/ipcd start --socket /tmp/walk.sock --idle-exit 1s
    target/debug/ipc-client bench --socket /tmp/walk.sock -m tcp -n 10 --trials 1
"""
import argparse
import os
import pathlib
import re
import subprocess
import tempfile

# Valgrind 3.19 does not map the vDSO whose address the C library finds: strace hides it.
WITHOUT_VDSO = ["strace", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:error=EINVAL"]


# Within valgrind, /proc/self/exe, which the daemon runs as its responders, is valgrind itself.
SPAWN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                char *const[], char *const[]) = dlsym(RTLD_NEXT, "posix_spawnp");
    return real(pid, strcmp(file, "/proc/self/exe") ? file : getenv("PROGRAM"), actions, attributes, argv, envp);
}
"""


def executed(profile, root):
    """Files of the crate that have a cost of their own in a profile."""
    names, found, current = {}, set(), None
    for line in profile.read_text(errors="replace").splitlines():
        if match := re.match(r"(?:fl|fi|fe|cfi|cfl)=\((\d+)\)(?: (.*))?$", line):
            number, name = match.groups()
            if name:
                names[number] = name
            if line[0] == "f":
                current = names[number]
        elif line.startswith("calls="):
            current, after_call = None, current
        elif re.match(r"[+*\d-]", line):
            if current is None:
                current = after_call
            else:
                found.add(current)
    root = str(root / "src") + "/"
    return sorted(name.removeprefix(root) for name in found if name.startswith((root, "src/")) and "/rustc/" not in name)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--toggle", action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library, profile = f"{folder}/spawn.so", pathlib.Path(folder) / "profile"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=SPAWN, text=True, check=True)
        program = pathlib.Path(arguments.command[0]).resolve()
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        toggles = [f"--toggle-collect={function}" for function in arguments.toggle]
        subprocess.run(
            [*WITHOUT_VDSO, *callgrind, *toggles, *arguments.command],
            env={**os.environ, "LD_PRELOAD": library, "PROGRAM": str(program)},
            check=False,
        )
        files = executed(profile, pathlib.Path.cwd())
        print(*files, f"{len(files)} files", sep="\n")


main()
