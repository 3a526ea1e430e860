"""What the checks of metrics share: programs that are started and ended, answers that are waited for, Prometheus' API."""

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

# How long anything may take that is promised at all.
PATIENCE = 60
# Nothing here goes through a proxy.
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Failed(Exception):
    """A promise is not kept."""


def need(condition, why):
    if not condition:
        raise Failed(why)


def eventually(what, probe, patience=PATIENCE):
    """Asks again and again until there is an answer that is one."""
    deadline = time.monotonic() + patience
    while True:
        found = probe()
        if found:
            return found
        need(time.monotonic() < deadline, f"{what}: not within {patience} s")
        time.sleep(0.05)


def run(*command, expect=0, stdin=None, env=None):
    """Runs a program to its end; what it said."""
    done = subprocess.run(command, input=stdin, env=env, text=True, capture_output=True, timeout=600)
    need(expect is None or done.returncode == expect,
         f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


class Program:
    """A program in the background, ended by its id at the end of the block."""

    def __init__(self, *command, env=None):
        self.command = command
        self.lines = []
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stderr.readline, "")), daemon=True).start()

    def says(self, pattern):
        """What this pattern's group is in the first line that has it."""
        def found():
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            need(self.process.poll() is None, f"{self.command} has ended:\n{''.join(self.lines)}")
            return None
        try:
            return eventually(f"{self.command[0]} says {pattern}", found).group(1)
        except Failed as failed:
            raise Failed(f"{failed}\n{''.join(self.lines)}") from None

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def get(url):
    """The text at this URL."""
    with OPEN(url, timeout=20) as answer:
        return answer.read().decode()


def check_metrics(text):
    """What promtool has to say against a text."""
    said = run("promtool", "check", "metrics", stdin=text, expect=None)
    need(said.returncode == 0 and not said.stdout + said.stderr, f"promtool: {said.stdout}{said.stderr}")


class Prometheus(Program):
    """A Prometheus of this configuration, at a free port."""

    def __init__(self, configuration, data, prefix=()):
        super().__init__(*prefix, "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={data}",
                         "--web.listen-address=127.0.0.1:0", "--log.level=info")
        self.url = "http://" + self.says(r'msg="Listening on" address=(\S+)')

    def api(self, path, **arguments):
        try:
            answer = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"))
        except urllib.error.HTTPError as error:
            raise Failed(f"{arguments}: {error.read().decode()}") from None
        need(answer["status"] == "success", answer)
        return answer["data"]

    def query(self, expression):
        """The samples of an expression now: pairs of labels and value."""
        return [(one["metric"], float(one["value"][1])) for one in self.api("query", query=expression)["result"]]

    def ready(self):
        def answers():
            try:
                return get(f"{self.url}/-/ready")
            except OSError:
                return None
        eventually("Prometheus is ready", answers)

    def scrapes(self, count):
        """All `count` targets answer."""
        def up():
            targets = self.api("targets")["activeTargets"]
            return len(targets) == count and all(target["health"] == "up" for target in targets)
        try:
            eventually(f"{count} targets answer", up)
        except Failed as failed:
            printed = [(target["scrapeUrl"], target["lastError"]) for target in self.api("targets")["activeTargets"]]
            raise Failed(f"{failed}: {printed}") from None
