#!/usr/bin/env python3
"""Metrics read by a real Prometheus: from the daemon, and from a file through the node exporter.

    check.py FOLDER      with ipcd and ipc-client in it

Every step is a promise, with a deadline. The first that is not kept ends the check.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from host import Failed, Program, Prometheus, check_metrics, eventually, get, need, run

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "contrib/prometheus/ipcd.rules.yml"


def rules():
    """The rules are well-formed and find what they are for."""
    run("promtool", "check", "rules", str(RULES))
    run("promtool", "test", "rules", str(RULES.with_suffix(".test.yml")))
    # Every alert is tested, to come and not to come.
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    tests = RULES.with_suffix(".test.yml").read_text()
    for alert in alerts:
        need(re.search(rf"alertname: {alert}\n\s+exp_alerts:\n\s+- exp_labels", tests), f"{alert} is not tested")
    return f"{len(alerts)} alerts, each tested"


def documented(text):
    """Every metric is described in docs/metrics.md."""
    page = (ROOT / "docs/metrics.md").read_text()
    names = re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE)
    for name, kind in names:
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), None)
        need(row and f"| {kind} |" in row, f"docs/metrics.md does not describe {name}, a {kind}")
    return len(names)


class Bench:
    """Runs of one history, exported to one file."""

    def __init__(self, folder, programs, state):
        self.client = str(programs / "ipc-client")
        self.file = state / "results.prom"
        self.env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "IPCD_HISTORY": str(state / "history.sqlite"),
                    "IPCD_SOCKET": str(folder / "ipcd.sock"), "IPCD_CONFIG": str(folder / "none.toml")}
        (folder / "none.toml").touch()

    def __call__(self, *arguments):
        return run(self.client, *arguments, env=self.env)

    def measure(self):
        self("bench", "-m", "tcp,pipe,null", "-n", "2000", "--trials", "3", "--record", "--label", "nightly")

    def export(self):
        self("export", "--prometheus", str(self.file))
        return self.file.read_text()


def configuration(folder, targets):
    """Jobs and where they are."""
    jobs = "".join(f'  - job_name: {job}\n    static_configs: [{{targets: ["{address}"]}}]\n'
                   for job, address in targets.items())
    path = folder / "prometheus.yml"
    path.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\n"
                    f"scrape_configs:\n{jobs}")
    run("promtool", "check", "config", str(path))
    return path


def values(text):
    """The samples of a text: name and labels, value."""
    return {key: float(value) for key, value in re.findall(r"^([^#].*) (\S+)$", text, re.MULTILINE)}


def as_exported(prometheus, job, text):
    """Whether this job reports all that is in the text."""
    def one(line):
        name, labels = re.match(r"(\w+){(.*)}$", line).groups()
        found = prometheus.query(f'{name}{{job="{job}",{labels}}}')
        return [value for _, value in found] == [printed[line]]
    printed = values(text)
    need(printed, "there is nothing to compare")
    return all(one(line) for line in printed)


def check(programs, folder):
    print(f"rules: {rules()}")
    state = folder / "state"
    textfiles = folder / "textfiles"
    state.mkdir()
    textfiles.mkdir()
    bench = Bench(folder, programs, state)
    daemon = Program(str(programs / "ipcd"), "start", "--metrics", "127.0.0.1:0", "--metrics-results", str(bench.file),
                     env=bench.env)
    exporter = Program("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                       f"--collector.textfile.directory={textfiles}", "--web.listen-address=127.0.0.1:0")
    with daemon, exporter:
        printed = daemon.says(r"metrics at (\S+)")
        bench.measure()
        bench("history", "baseline", "stable", "last")
        bench.measure()
        text = bench.export()
        need("ipcd_baseline_verdict{" in text, "the baseline is not exported")
        # The collector reads a link to the file, so that one file serves both.
        (textfiles / "ipcd.prom").symlink_to(bench.file)
        page = get(printed)
        for name, metrics in [("the file", text), ("the daemon", page)]:
            check_metrics(metrics)
            print(f"{name}: {documented(metrics)} metrics, documented; promtool has nothing against them")

        ports = {"ipcd": re.search(r"//([^/]+)", printed).group(1),
                 "node": exporter.says(r'msg="Listening on" address=(\S+)')}
        with Prometheus(configuration(folder, ports), folder / "data") as prometheus:
            prometheus.ready()
            prometheus.scrapes(2)
            for job in ports:
                eventually(f"{job} reports the file", lambda job=job: as_exported(prometheus, job, text))
            need(prometheus.query("node_textfile_scrape_error") and prometheus.query("node_textfile_scrape_error")[0][1] == 0,
                 "the collector cannot read the file")
            kinds = prometheus.api("metadata", metric="ipcd_round_trip_seconds")
            need(kinds["ipcd_round_trip_seconds"][0]["type"] == "summary", kinds)
            print(f"Prometheus: {len(values(text))} samples of the file, each as it was, from the daemon and the collector")

            bench.measure()
            newer = bench.export()
            need(newer != text, "the file is as it was")
            for job in ports:
                eventually(f"{job} reports the newer file", lambda job=job: as_exported(prometheus, job, newer))
            groups = prometheus.api("rules")["groups"]
            eventually("the rules were evaluated", lambda: all(
                rule["health"] == "ok" for group in prometheus.api("rules")["groups"] for rule in group["rules"]))
            opened = prometheus.query('ipcd_service_channels_opened_total{method="tcp"}')
            need(opened[0][1] == 9, f"three times three channels: {opened}")
            print(f"Prometheus: the newer file, and {sum(len(group['rules']) for group in groups)} rules that work")
            need(daemon.end() == 0, "the daemon has failed")
            eventually("its end is seen", lambda: prometheus.query('up{job="ipcd"} == 0'))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="ipcd-metrics-") as folder:
        try:
            check(Path(sys.argv[1]).resolve(), Path(folder))
        except Failed as failed:
            sys.exit(f"check.py: {failed}")
    print("metrics: all is well")


main()
