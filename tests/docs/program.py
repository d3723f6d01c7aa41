"""The program that the documents are about: its help, its metrics, and a node of which it has a recording.

The node `gpu-7` of the documents is some minutes of the demo, recorded once: `node.ndjson`. A replay of it says the
same whenever it is asked, so what the documents print is compared to the last digit.
"""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from documents import ROOT, read

BINARY = pathlib.Path(os.environ.get("GPU_COST_EXPORTER", ROOT / "target/debug/gpu-cost-exporter")).resolve()
NODE = ROOT / "tests/docs/node.ndjson"
# How many seconds anything may take. Generous: a busy machine is no defect.
PATIENCE = 120


@functools.cache
def programs():
    """A directory with the program under its own name, first in the path of every command that is run."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="documents-"))
    (directory / "gpu-cost-exporter").symlink_to(BINARY)
    return directory


def environment(**more):
    """The environment of a command: nothing of ours but what is said here."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GPU_COST") and name not in ("PRICING_CONFIG", "NODE_NAME", "KUBECONFIG")
    }
    return {**kept, "PATH": f"{programs()}:{os.environ['PATH']}", **more}


def run(command, directory, **more):
    """What a command prints, on both outputs in their order, and its exit code."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=directory, env=environment(**more), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
    )
    return done.stdout, done.returncode


@contextlib.contextmanager
def running(*arguments, until, directory=None):
    """The program while it serves, from when its log has said `until`; gives its log and its address."""
    log = tempfile.NamedTemporaryFile("w+", prefix="documents-", suffix=".log")
    process = subprocess.Popen(
        [BINARY, "--web.listen-address=127.0.0.1:0", "--shutdown.grace=0s", *arguments],
        env=environment(), cwd=directory, stdout=log, stderr=log,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not re.search(until, text := pathlib.Path(log.name).read_text(encoding="utf-8")):
            assert process.poll() is None and time.monotonic() < deadline, f"it never said {until}:\n{text}"
            time.sleep(0.02)
        port = re.search(r"://localhost:(\d+)/", text)
        yield text, f"127.0.0.1:{port[1]}" if port else None
    finally:
        process.kill()
        process.wait()
        log.close()


def eventually(look, is_good):
    """What `look` gives as soon as it is good."""
    deadline = time.monotonic() + PATIENCE
    while not is_good(seen := look()):
        assert time.monotonic() < deadline, f"it stayed {seen}"
        time.sleep(0.05)
    return seen


def replay():
    """The recorded node, once all of it was replayed."""
    return running(f"--replay={NODE}", "--node.name=gpu-7", until="replayed the trace")


@functools.cache
def helps():
    """The help of the program and of each of its commands, by the command's name."""
    asked = {"": [], **{name: [name] for name in ("check", "explain", "price")}, "price list": ["price", "list"]}
    return {
        name: subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, check=True).stdout
        for name, words in asked.items()
    }


@functools.cache
def flags(command=""):
    """The long flags of a command; those of the program itself hold for no command."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*", helps()[command]))


@functools.cache
def catalogue():
    """The labels of each metric in METRICS.md, by its name."""
    metrics = {}
    for name, labels in re.findall(r"^\| `(\w+)` \| [^|]*\| ([^|]*)\|", read(ROOT / "METRICS.md"), re.MULTILINE):
        node = [] if name.startswith("gpu_cost_exporter_") else ["node"]
        metrics[name] = {*re.findall(r"`(\w+)`", labels), *node}
    metrics.update({name: set() for name in re.findall(r"`(process_\w+)`", read(ROOT / "METRICS.md"))})
    assert len(metrics) > 60, "METRICS.md has another form"
    return metrics


@functools.cache
def recorded():
    """The names of the series that rules/ makes."""
    rules = "".join(read(file) for file in sorted((ROOT / "rules").glob("*.yml")))
    return set(re.findall(r'record: "?([\w:]+)', rules)), rules


@functools.cache
def sources():
    """All texts of the program, with the strings that go over several lines in one piece."""
    files = sorted((ROOT / "src").rglob("*.rs"))
    return re.sub(r"\\\n\s*", "", "".join(read(file) for file in files))


def tidy_up():
    if programs.cache_info().currsize:
        shutil.rmtree(programs(), ignore_errors=True)
