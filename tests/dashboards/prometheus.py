"""A real Prometheus server of our own."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    """A server over a directory of data, as a context: it ends with it."""

    def __init__(self, directory, config, program="prometheus", flags=("--storage.tsdb.retention.time=60d",)):
        self.directory = directory
        self.program, self.flags = program, flags
        self.address = f"127.0.0.1:{free_port()}"
        (directory / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")

    def __enter__(self):
        self.log = open(self.directory / "prometheus.log", "a", encoding="utf-8")
        self.process = subprocess.Popen(
            [self.program, f"--config.file={self.directory}/prometheus.yml", f"--web.listen-address={self.address}",
             *self.storage(), *self.flags],
            stdout=self.log, stderr=self.log)
        wait_for("Prometheus", self.is_ready)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()

    def storage(self):
        """An agent keeps what it has not sent yet elsewhere than a server its data."""
        kind = "agent" if any("agent" in flag for flag in self.flags) else "tsdb"
        return [f"--storage.{kind}.path={self.directory}/data"]

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"Prometheus ended: {(self.directory / 'prometheus.log').read_text()[-2000:]}")
        try:
            return urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def get(self, path, **parameters):
        """The data of an answer; an error is raised with what Prometheus says about it."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            return json.load(urllib.request.urlopen(url, timeout=60))["data"]
        except urllib.error.HTTPError as error:
            raise QueryError(json.load(error)["error"]) from error

    def query(self, expr, time=None):
        return self.get("query", query=expr, **({"time": time} if time else {}))["result"]

    def query_range(self, expr, start, end, step):
        return self.get("query_range", query=expr, start=start, end=end, step=step)["result"]


class QueryError(Exception):
    """Prometheus did not take a query."""


def wait_for(what, condition, seconds=30):
    """Waits until the condition holds and gives what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise SystemExit(f"waited {seconds} s in vain for {what}")
