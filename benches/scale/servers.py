"""Servers that take the nodes' series, and what they cost: their own metrics and /proc."""

import os
import pathlib
import re
import subprocess
import sys
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/dashboards"))

from prometheus import Prometheus, free_port, wait_for  # noqa: E402, F401

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class VictoriaMetrics:
    """A single-node VictoriaMetrics, as a context; asked as Prometheus is."""

    def __init__(self, directory, program):
        self.directory, self.program = directory, program
        self.address = f"127.0.0.1:{free_port()}"

    def __enter__(self):
        flags = [f"-storageDataPath={self.directory}/vm", f"-httpListenAddr={self.address}", "-search.disableCache",
                 "-search.latencyOffset=0s", "-memory.allowedBytes=256MiB", "-loggerLevel=ERROR"]
        self.process = subprocess.Popen([self.program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("VictoriaMetrics", self.is_ready)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"http://{self.address}/health", timeout=5).status == 200
        except OSError:
            return False

    get, query = Prometheus.get, Prometheus.query


def own_metrics(server):
    """What a server says about itself: values by name with labels."""
    text = urllib.request.urlopen(f"http://{server.address}/metrics", timeout=30).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def summed(metrics, name, labels=""):
    """The sum over the series of a name whose labels contain a text."""
    return sum(value for series, value in metrics.items() if re.split(r"[{ ]", series)[0] == name and labels in series)


def cpu_seconds(*pids):
    """What processes have used since they began; their children are not counted."""
    return sum(sum(map(int, stat(pid)[11:13])) for pid in pids) / TICKS


def resident_bytes(*pids):
    """Resident memory of all; what they share is counted as often as they are."""
    return sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * PAGE


def private_bytes(*pids):
    """Memory that would be free without these processes: what they share is divided."""
    rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) for text in rollups) * 1024


def stat(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def snapshot(server):
    """Writes all that the server has as blocks, and gives the bytes of samples and of index, and what is in them."""
    url = f"http://{server.address}/api/v1/admin/tsdb/snapshot"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120).read()
    files = [file for file in (server.directory / "data/snapshots").rglob("*") if file.is_file()]
    size = {part: sum(file.stat().st_size for file in files if part in file.parts[-2:]) for part in ["chunks", "index"]}
    metas = [file.read_text() for file in files if file.name == "meta.json"]
    count = {what: sum(int(re.search(rf'"{what}": (\d+)', meta)[1]) for meta in metas) for what in ["numSamples", "numSeries"]}
    return size | count


def version_of(program):
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr)[0]


def rules(directory, quick):
    """The shipped rules. The ledger's hour is a minute here, so that a run sees it written more than once."""
    to = directory / "rules"
    to.mkdir(exist_ok=True)
    for file in ROOT.glob("rules/*.yml"):
        if not file.stem.startswith("compat"):
            text = file.read_text().replace("interval: 1h", "interval: 1m")
            (to / file.name).write_text(re.sub(r"interval: \dm", "interval: 2s", text) if quick else text)
    return f"{to}/*.yml"
