"""What the reports are made of: short runs of this host, sixty more with a change among them, and one of malicious text."""

import copy
import json
import subprocess
import uuid

# Of the made-up history: runs, the first of those that are slower, and by how much.
RUNS, CHANGE, SLOWER = 60, 40, 1.3
DAY_S = 86_400
# Where text means something else than text.
ILL = ["<script>window.ill = 1</script>", '"><img src=x onerror="window.ill = 1">', "</table></style><b>&amp;'"]


class Client:
    """ipc-client, with its own history."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        self.history = folder / "history.sqlite"

    def run(self, *words, code=0, text=None):
        """What it says on stdout."""
        command = [self.path, *map(str, words)]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "IPCD_HISTORY": str(self.history)}
        done = subprocess.run(command, capture_output=True, text=True, input=text, env=environment)
        if done.returncode != code:
            raise SystemExit(f"{command}: exit code {done.returncode} instead of {code}\n{done.stderr}")
        return done.stdout

    def json(self, *words):
        """The same, read."""
        return json.loads(self.run(*words))


def measured(client):
    """Records two runs: sizes, and idle times at several placements. They are short: their figures do not matter."""
    short = ["--private", "--trials", "3", "--warmup", "100", "--record"]
    client.run("bench", "-m", "tcp,unix,pipe,shmem,udp,futex,local-socket", "--size", "8,1k,16k", "-n", "1000", *short, "--label", "sizes")
    client.run("bench", "-m", "unix,shmem", "--placement", "all", "--gap", "0,20us,200us", "-n", "100", *short, "--label", "gaps")
    client.run("matrix", "--private", "--duration", "10ms", "-o", client.folder / "matrix.csv")


def synthetic(client):
    """Takes in sixty more runs of two of those cells, a day apart; one gets slower with a new kernel."""
    line = json.loads(client.run("history", "export", "--label", "sizes").splitlines()[0])
    kept = [at for at, cell in enumerate(line["report"]["results"]) if cell["method"] in ("tcp", "pipe") and cell["size_bytes"] == 8]
    lines = []
    for number in range(RUNS):
        run = copy.deepcopy(line)
        run["uuid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"run {number}"))
        run["label"] = "nightly"
        report = run["report"]
        report["started_unix_s"] -= (RUNS - number) * DAY_S
        report["environment"]["kernel"]["release"] = "6.1" if number < CHANGE else "6.8"
        report["results"] = [report["results"][at] for at in kept]
        run["histograms"] = [run["histograms"][at] for at in kept]
        for cell in report["results"]:
            slower = SLOWER if number >= CHANGE and cell["method"] == "tcp" else 1.0
            # Some noise, always the same.
            factor = slower * (1 + 0.02 * ((number * 7919 % 13) / 13 - 0.5))
            for figures in ("latency_ns", "headline_ns"):
                cell[figures] = scaled(cell[figures], factor)
        lines.append(json.dumps(run))
    client.run("history", "import", "-", text="\n".join(lines) + "\n")


def scaled(latency, factor):
    """Latencies that many times as long."""
    return {key: value if key == "samples" or value is None else value * factor for key, value in latency.items()}


def ill(client):
    """A report and a matrix in which every text that could come from elsewhere is malicious."""
    report = client.json("history", "show", "sizes", "--json")
    report["environment"]["hostname"] = ILL[0]
    report["environment"]["cpu"]["model"] = ILL[1]
    report["environment"]["kernel"]["release"] = ILL[2]
    report["environment"]["build"]["version"] = ILL[0]
    report["clock"]["reason"] = ILL[1]
    report["settings"]["arguments"] = ["bench", *ILL]
    for number, cell in enumerate(report["results"]):
        cell["method"] = cell["cell"] = f"{ILL[number % 3]}{number // 3 % 3}"
        cell["options"] = {ILL[1]: ILL[2]}
    elsewhere = next(
        cell["placement"] for cell in client.json("history", "show", "gaps", "--json")["results"] if cell["placement"] != "unpinned"
    )
    report["results"] += [{**cell, "placement": elsewhere} for cell in report["results"]]
    report["results"][0]["error"] = ILL[0]
    path = client.folder / "ill.json"
    path.write_text(json.dumps(report))
    rows = (client.folder / "matrix.csv").read_text().splitlines()
    quoted = ILL[1].replace('"', '""')
    rows[1:] = [f'"{quoted}"' + row[row.index(","):] for row in rows[1:]]
    rows[1] += f'"{quoted}"'
    (client.folder / "ill.csv").write_text("\n".join(rows) + "\n")
    return path
