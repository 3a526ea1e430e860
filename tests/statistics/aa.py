"""Real runs against each other where nothing differs: how often `compare` says that something does.

    python3 tests/statistics/aa.py target/release/ipc-client [comparisons] [flags of bench]

Needs an idle host, and with the default of 100 comparisons about three hours. Runs are recorded into a new history, six for a
baseline and one against it, each group disjoint from all others. A comparison gets exported runs of its own group only, so that
no other run affects its noise. Prints the share of wrong verdicts, and that of comparisons which show a planted 4 % and 10 %:
every figure of the last run's trials is multiplied.
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

BASELINE = 6


def client(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 14):
        sys.exit(f"{' '.join(arguments)} exits with {done.returncode}: {done.stderr}")
    return done.stdout


def slower(line, factor):
    """An exported run with all figures of its trials multiplied."""
    run = json.loads(line)
    for cell in run["report"]["results"]:
        for trial in cell["trials"]:
            for key in ("latency_ns", "response_ns"):
                figures = trial.get(key) or {}
                for name, value in figures.items():
                    if name != "samples" and value is not None:
                        figures[name] = value * factor
    run["uuid"] = run["uuid"][:-1] + ("0" if run["uuid"][-1] != "0" else "1")
    return json.dumps(run)


def verdicts(program, folder, lines):
    history = folder / "group.sqlite"
    for file in folder.glob("group.sqlite*"):
        file.unlink()
    (folder / "group.ndjson").write_text("\n".join(lines) + "\n")
    where = ("--history", str(history))
    client(program, "history", "import", str(folder / "group.ndjson"), *where)
    ids = [str(number) for number in range(1, BASELINE + 1)]
    client(program, "history", "baseline", "aa", *ids, *where)
    compared = json.loads(client(program, "compare", "aa", str(BASELINE + 1), "--json", *where))
    return [cell["verdict"] for cell in compared["cells"]]


def main():
    program = sys.argv[1]
    comparisons = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    flags = sys.argv[3:] or ["-m", "pipe", "--placement", "same-core"]
    counts = {1.0: [0, 0], 1.04: [0, 0], 1.1: [0, 0]}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number in range(1, comparisons + 1):
            recorded = folder / f"{number}.sqlite"
            for _ in range(BASELINE + 1):
                client(program, "bench", "--private", *flags, "--record", "--history", str(recorded))
            lines = client(program, "history", "export", "--history", str(recorded)).splitlines()
            for factor, count in counts.items():
                group = copy.copy(lines)
                if factor != 1.0:
                    group[-1] = slower(group[-1], factor)
                found = verdicts(program, folder, group)
                count[0] += sum(verdict != "no_difference" for verdict in found)
                count[1] += len(found)
            print(
                f"{number} comparisons:",
                ", ".join(f"{100 * (factor - 1):.0f} % slower: {a} of {b} differ" for factor, (a, b) in counts.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
