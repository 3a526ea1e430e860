#!/usr/bin/env python3
"""Reads HdrHistogram logs back with the public Python package and compares them with the JSON of the same run.

    tests/hdrlog/read_back.py path/to/ipc-client

Installs `hdrhistogram` from PyPI into a virtual environment of its own, which ends with the script; measures some
cells for a moment; exits non-zero if a count differs, or a quantile by more than 0.2 % and the half nanosecond that
whole nanoseconds cost.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import venv

PACKAGE = "hdrhistogram==0.10.8"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}
RUNS = [
    ["--method", "all", "--size", "8,4k", "--trials", "2", "--duration", "100ms"],
    ["--method", "shmem,tcp", "--duration", "400ms", "--interval", "100ms"],
    ["--method", "tcp", "--rate", "2k/s", "--trials", "2", "--duration", "200ms"],
    ["--method", "tcp", "--rate", "2k/s", "--duration", "400ms", "--interval", "100ms"],
    ["--method", "shmem", "--timing", "batch:100", "--duration", "200ms", "--interval", "100ms"],
]


def main():
    """In the virtual environment, compares; outside of it, makes one."""
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        sys.exit(compare_all(sys.argv[2]))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    client = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="ipcd-hdrlog-") as folder:
        venv.create(folder, with_pip=True)
        python = pathlib.Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE], check=True)
        sys.exit(subprocess.run([python, __file__, "--inside", client], check=False).returncode)


def compare_all(client):
    """Runs everything; the exit code is the number of differences."""
    differences, checked = [], 0
    with tempfile.TemporaryDirectory(prefix="ipcd-hdrlog-") as folder:
        for number, arguments in enumerate(RUNS):
            report_file = pathlib.Path(folder) / f"{number}.json"
            log_file = pathlib.Path(folder) / f"{number}.hlog"
            files = ["--format", "json", "--output", report_file, "--hdr-log", log_file]
            subprocess.run([client, "bench", "--private", *arguments, *files], check=True, stderr=subprocess.DEVNULL)
            report = json.loads(report_file.read_text())
            tagged = read(log_file)
            for cell in report["results"]:
                wanted = {cell["cell"]: cell["latency_ns"]}
                if "response_ns" in cell:
                    wanted[cell["cell"] + ":response"] = cell["response_ns"]
                for tag, latency in wanted.items():
                    found = compare(tag, latency, tagged.pop(tag, None))
                    differences += [f"{' '.join(arguments)}: {difference}" for difference in found]
                    checked += 1
            differences += [f"{' '.join(arguments)}: the log alone has {tag}" for tag in tagged]
    for difference in differences:
        print(difference, file=sys.stderr)
    print(f"{checked} histograms read back, {len(differences)} differences")
    return 1 if differences or not checked else 0


def read(path):
    """The log's histograms, those of one tag added up."""
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reference = HdrHistogram(1, 3_600_000_000_000, 3)
    reader = HistogramLogReader(str(path), reference)
    tagged = {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        sum_of_tag = tagged.setdefault(histogram.get_tag(), HdrHistogram(1, 3_600_000_000_000, 3))
        sum_of_tag.add(histogram)
    reader.close()
    return tagged


def compare(tag, latency, histogram):
    """The differences between one of the report's latencies and what the log has."""
    if histogram is None:
        return [f"the log has no {tag}"]
    if histogram.get_total_count() != latency["samples"]:
        return [f"{tag}: {histogram.get_total_count()} samples, and {latency['samples']} in the report"]
    differences = []
    wanted = {name: quantile(histogram, share) for name, share in QUANTILES.items()}
    wanted |= {"min": histogram.get_min_value(), "max": histogram.get_max_value()}
    for name, read_back in wanted.items():
        reported = latency[name]
        if reported is not None and abs(read_back - reported) > 0.002 * reported + 0.5:
            differences.append(f"{tag} {name}: {read_back} ns, and {reported} in the report")
    return differences


def quantile(histogram, share):
    """The smallest value that this share does not exceed, from the counts: the package rounds ranks by another rule."""
    rank = max(1, math.ceil(share * histogram.get_total_count() - 1e-9))
    seen = 0
    for item in histogram.get_recorded_iterator():
        seen += item.count_added_in_this_iter_step
        if seen >= rank:
            return item.value_iterated_to
    return histogram.get_max_value()


if __name__ == "__main__":
    main()
