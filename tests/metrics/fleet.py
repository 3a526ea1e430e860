#!/usr/bin/env python3
"""A fleet: several hosts in network namespaces of their own, each with its own daemon, and one Prometheus that asks them all.

    fleet.py FOLDER      with ipcd and ipc-client in it; as root

What docs/guide.md tells is done here: each host has the configuration of the package, but for shorter trials, and measures by
the two commands of the timer's unit. Prometheus asks the services, and on one host the node exporter instead. The rules, the
dashboard and the merged history follow. One host is slow, since somebody has left a traffic shaper on its loopback; another has
got slower since last week, by a past that is planted. Every step is a promise, with a deadline.
"""

import json
import os
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from host import Failed, Program, Prometheus, eventually, need, run

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "contrib/prometheus/ipcd.rules.yml"
DASHBOARD = ROOT / "contrib/grafana/ipcd.json"

NAMES = ["alder", "birch", "cedar", "dogwood"]
# Its loopback has a shaper: 64 bytes there and back take some tenths of a millisecond. A packet has to fit into its bucket.
SLOW, SHAPER = "dogwood", ["sh", "-c", "ip link set lo mtu 1500 && tc qdisc add dev lo root tbf rate 20mbit burst 2kb latency 1s"]
# It was four times as fast in the week before. Its results come by the node exporter.
CHANGED, FACTOR = "cedar", 4
# The package's profile takes minutes; four hosts have to be measured within one.
SHORT = 'duration = "10ms"\nwarmup = "5ms"\n'
PACKAGED = (ROOT / "packaging/ipcd.toml").read_text()
UNIT = (ROOT / "systemd/ipc-bench@.service").read_text()
LINK = (ROOT / "contrib/node-exporter/ipcd.conf").read_text()
PROFILE = "nightly"
PORT, EXPORTER_PORT = 9464, 9100
# The cells that are shown, of the many.
SHOWN = {"size_bytes": "64", "placement": "same-core"}


class Host:
    """A host: its own name, network and folders."""

    def __init__(self, number, name, folder, programs):
        self.name = name
        self.address = f"10.0.0.{number + 2}"
        self.folder = folder / name
        self.state = self.folder / "state"
        self.programs = programs
        self.state.mkdir(parents=True)
        self.collected = name == CHANGED
        self.target = f"{self.address}:{EXPORTER_PORT if self.collected else PORT}"
        self.config = self.folder / "ipcd.toml"
        self.config.write_text(self.configuration())
        self.env = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder), "STATE_DIRECTORY": str(self.state),
                    "IPCD_SOCKET": str(self.folder / "ipcd.sock"), "IPCD_CONFIG": str(self.config)}
        # It lives as long as this process of its does.
        self.holder = Program("unshare", "--net", "--uts", "--", "sh", "-c",
                              f"hostname {name} && ip link set lo up && echo up >&2 && exec sleep infinity")
        self.holder.says("^(up)$")
        pid = self.holder.process.pid
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "link", "set", f"to-{name}", "master", "fleet", "up")
        self.inside = ["nsenter", "--target", str(pid), "--net", "--uts", "--"]
        run(*self.inside, "ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        run(*self.inside, "ip", "link", "set", "eth0", "up")
        self.daemon = Program(*self.inside, str(programs / "ipcd"), "start", env=self.env)
        self.daemon.says("(listening on)" if self.collected else "(metrics at)")
        self.exporter = self.node_exporter() if self.collected else None

    def configuration(self):
        """The package's, with shorter trials, and the address of the metrics where the service serves them."""
        profile = PACKAGED.index(f"[profile.{PROFILE}]")
        need("\n[" not in PACKAGED[profile:], "the profile is no longer the last table of the package's configuration")
        text = PACKAGED + SHORT
        if not self.collected:
            text, found = re.subn(r'(?m)^# metrics = .*$', f'metrics = "{self.address}:{PORT}"', text)
            need(found == 1, "the package's configuration does not show where metrics are served")
        return text

    def node_exporter(self):
        """The host's node exporter, among whose files the results are by the link of contrib/."""
        textfiles = self.folder / "textfiles"
        textfiles.mkdir()
        link = LINK.replace("/var/lib/prometheus/node-exporter", str(textfiles)).replace("/var/lib/ipcd", str(self.state))
        conf = self.folder / "ipcd.conf"
        conf.write_text(link)
        run("systemd-tmpfiles", "--create", str(conf))
        exporter = Program(*self.inside, "prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                           f"--collector.textfile.directory={textfiles}", f"--web.listen-address={self.target}")
        exporter.says(r'msg="Listening on" address=(\S+)')
        return exporter

    def client(self, *arguments):
        return run(*self.inside, str(self.programs / "ipc-client"), *arguments, env=self.env)

    def measure(self):
        """As the timer's unit does it; between its two commands, the run becomes a baseline."""
        bench, export = (self.command(key) for key in ("ExecStart", "ExecStopPost"))
        self.client(*bench)
        self.client("history", "baseline", "first", "last")
        self.client(*export)

    def command(self, key):
        """What the unit has ipc-client do."""
        line = re.search(rf"(?m)^{key}=/usr/bin/ipc-client (.*)$", UNIT).group(1)
        return shlex.split(line.replace("%i", PROFILE).replace("${STATE_DIRECTORY}", str(self.state)))

    def end(self):
        if self.exporter:
            self.exporter.end()
        self.daemon.end()
        self.holder.end()


def configuration(folder, hosts):
    """As docs/guide.md has it, but for the times: what holds for minutes there holds for seconds here."""
    rules = folder / "rules.yml"
    rules.write_text(re.sub(r"for: \w+", "for: 1s", RULES.read_text()))
    targets = lambda collected: ", ".join(f'"{host.target}"' for host in hosts if host.collected == collected)
    path = folder / "prometheus.yml"
    path.write_text(f"""global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: ipcd
    static_configs:
      - targets: [{targets(False)}]
        labels: {{class: web}}
  - job_name: node
    static_configs:
      - targets: [{targets(True)}]
        labels: {{class: web}}
""")
    run("promtool", "check", "config", str(path))
    return path


def plant_a_past(folder, medians):
    """A week of medians that ends yesterday, in Prometheus' storage: as they are now, but for the host that has changed."""
    now = int(time.time())
    lines = ["# TYPE ipcd:round_trip_median:seconds gauge"]
    for labels, value in medians:
        shown = ",".join(f"{name}={json.dumps(text)}" for name, text in labels.items() if name != "__name__")
        past = value / FACTOR if labels["host"] == CHANGED else value
        lines += [f"ipcd:round_trip_median:seconds{{{shown}}} {past} {at}"
                  for at in range(now - 8 * 86400, now - 86400, 3600)]
    text = folder / "past.txt"
    text.write_text("\n".join([*lines, "# EOF", ""]))
    run("promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data"))


def expressions(dashboard):
    """What its panels ask, as they ask it with everything chosen."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$(host|method|size)\b", ".+", text)


def dashboard_works(prometheus):
    """Its JSON is what Grafana reads, and each of its questions has an answer."""
    dashboard = json.loads(DASHBOARD.read_text())
    need(dashboard["schemaVersion"] >= 36 and dashboard["uid"] and dashboard["title"], "it is not a dashboard")
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    need(variables["datasource"]["type"] == "datasource", "its source cannot be chosen")
    ids = [panel["id"] for panel in dashboard["panels"]]
    need(len(ids) == len(set(ids)), "two panels have one id")
    places = [(panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy) for panel in dashboard["panels"]
              for dx in range(panel["gridPos"]["w"]) for dy in range(panel["gridPos"]["h"])]
    need(len(places) == len(set(places)) and max(x for x, _ in places) < 24, "panels lie on each other")
    for panel in dashboard["panels"]:
        need(panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}", f"{panel['title']} does not use the dashboard's source")
    asked = list(expressions(dashboard))
    for title, expression in asked:
        need("$" not in expression, f"{title}: a variable that it has not: {expression}")
        eventually(f"{title} has an answer: {expression}", lambda: prometheus.query(expression))
    for variable in variables.values():
        for metric, label in re.findall(r"label_values\((\w+).*, (\w+)\)", variable.get("definition", "")):
            need(prometheus.api(f"label/{label}/values", **{"match[]": metric}), f"{variable['name']} has nothing to choose")
    return len(asked)


def found(prometheus, alert):
    """What an alert has found: the labels, with the value."""
    return [(one["labels"], float(one["value"])) for one in prometheus.api("alerts")["alerts"]
            if one["labels"]["alertname"] == alert and one["state"] == "firing"]


def shown(labels):
    """Whether a cell is among those that are shown."""
    return all(labels[name] == value for name, value in SHOWN.items())


def watched(hosts, folder):
    """One Prometheus sees which host is slow, and which has changed."""
    path = configuration(folder, hosts)
    # Where a trial is too short for a median, there is none.
    expected = sum(cell["latency_ns"]["p50"] is not None for host in hosts
               for cell in json.loads(host.client("history", "show", "--json").stdout)["results"])
    with Prometheus(path, folder / "data") as prometheus:
        prometheus.ready()
        prometheus.scrapes(len(hosts))
        medians = eventually("all medians are recorded", lambda: (
            lambda all: all if len(all) == expected else None)(prometheus.query("ipcd:round_trip_median:seconds")))
    plant_a_past(folder, medians)
    with Prometheus(path, folder / "data") as prometheus:
        prometheus.ready()
        slow = lambda: [labels["host"] for labels, _ in found(prometheus, "IpcdSlowerThanItsClass")
                        if labels["method"] == "tcp" and shown(labels)]
        eventually("the slow host is found", lambda: SLOW in slow())
        changed = lambda: {labels["method"] for labels, _ in found(prometheus, "IpcdSlowerThanBefore") if labels["host"] == CHANGED}
        eventually("the host that has changed is found", lambda: changed() >= {"tcp", "pipe"})
        others = {labels["host"] for labels, _ in found(prometheus, "IpcdSlowerThanBefore")} - {CHANGED}
        need(not others, f"nothing has changed on {others}")
        ratios = {labels["host"]: value for labels, value in prometheus.query("ipcd:round_trip_median:class_ratio")
                  if labels["method"] == "tcp" and shown(labels)}
        need(set(ratios) == {host.name for host in hosts if not host.collected}, f"others are compared: {ratios}")
        need(max(ratios, key=ratios.get) == SLOW, f"the slowest is another one: {ratios}")
        print("\nmedian of tcp, 64 B, same core, against the middle of the class (ipcd:round_trip_median:class_ratio)")
        for host, ratio in sorted(ratios.items()):
            print(f"  {host:<8} {ratio:+8.0%}")
        print("\nalerts of 64 B, same core")
        for alert in sorted(prometheus.api("alerts")["alerts"], key=lambda alert: alert["annotations"]["summary"]):
            if alert["labels"]["alertname"] in ("IpcdSlowerThanItsClass", "IpcdSlowerThanBefore") and shown(alert["labels"]):
                print(f"  {alert['labels']['alertname']}: {alert['annotations']['summary']}")
        print(f"\ndashboard: {dashboard_works(prometheus)} questions, each answered")
        hosts[0].daemon.end()
        eventually("a service that is down is found", lambda: [
            labels["instance"] for labels, _ in found(prometheus, "IpcdServiceDown")] == [hosts[0].target])


def merged(hosts, folder):
    """One history of all hosts."""
    lines = []
    for host in hosts:
        report = json.loads(host.client("history", "show", "--json").stdout)
        need(report["settings"]["profile_flags"] and len({one["method"] for one in report["results"]}) == 5, report["settings"])
        lines.append(folder / f"{host.name}.ndjson")
        host.client("history", "export", "--output", str(lines[-1]))
    env = {"PATH": os.environ["PATH"], "IPCD_HISTORY": str(folder / "fleet.sqlite"), "HOME": str(folder)}
    client = lambda *arguments, **more: run(str(hosts[0].programs / "ipc-client"), *arguments, env=env, **more)
    for times, new in [("first", "1 run"), ("again", "0 runs")]:
        said = client("history", "import", *map(str, lines)).stderr
        need(said.count(f": {new} imported") == len(hosts), f"{times}: {said}")
    cell = ("-m", "tcp", "--size", SHOWN["size_bytes"], "--placement", SHOWN["placement"])
    rows = json.loads(client("history", *cell, "--json").stdout)["results"]
    need(sorted(row["host"] for row in rows) == sorted(NAMES), rows)
    print("\n$ ipc-client history " + " ".join(cell) + "\n" + client("history", *cell).stdout, end="")
    runs = {row["host"]: str(row["run"]) for row in rows}
    compared = json.loads(client("compare", runs[NAMES[0]], runs[SLOW], *cell, "--json").stdout)
    verdicts = {cell["cell"].split(":")[0]: cell["verdict"] for cell in compared["cells"]}
    need(verdicts["tcp"] == "slower", compared)
    exported = client("export", "--prometheus", "-").stdout
    need(len(re.findall(r"^ipcd_host_info{", exported, re.MULTILINE)) == len(hosts), "an export of it has all hosts")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if os.environ.get("IPCD_FLEET") != "inside":
        # The centre's network is this process' own too: nothing of the machine's is touched, and all of it goes with it.
        os.execvpe("unshare", ["unshare", "--net", "--", sys.executable, "-B", *sys.argv], {**os.environ, "IPCD_FLEET": "inside"})
    hosts = []
    with tempfile.TemporaryDirectory(prefix="ipcd-fleet-") as folder:
        folder = Path(folder)
        try:
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "fleet", "type", "bridge")
            run("ip", "address", "add", "10.0.0.1/24", "dev", "fleet")
            run("ip", "link", "set", "fleet", "up")
            for number, name in enumerate(NAMES):
                hosts.append(Host(number, name, folder, Path(sys.argv[1]).resolve()))
                if name == SLOW:
                    run(*hosts[-1].inside, *SHAPER)
                hosts[-1].measure()
            watched(hosts, folder)
            merged(hosts, folder)
        except Failed as failed:
            sys.exit(f"fleet.py: {failed}")
        finally:
            for host in hosts:
                host.end()
    print("\nfleet: all is well")


main()
