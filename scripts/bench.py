"""Measures what the exporter costs: benchmarks, instructions, and the built program on a node made of fakes.

Each part prints a table. What is above its aim is marked, and so is an instruction count that differs by more than 5 %
from `benches/instructions.tsv`. Nothing fails: times are those of this machine, at this moment. With `--document` the
figures are written to `docs/performance.md`, `docs/growth.svg` and `benches/instructions.tsv`.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target/release"
INSTRUCTIONS = ROOT / "benches/instructions.tsv"
DOCUMENT = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/growth.svg"

# What is counted: what is done, how the GPUs are shared, by how many holders.
COUNTED = [f"{what}-{of}" for what in ("tick", "text") for of in ("whole-10", "mig-110", "slots-110", "slots-1000")]

# The difference of an instruction count that is worth a look.
NOTABLE = 0.05

MIB = 1 << 20


def run(*command, **how):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, **how)


def built(*command):
    """The program that cargo builds of a benchmark."""
    lines = run("cargo", *command, "--no-run", "--message-format=json", stdout=subprocess.PIPE).stdout.splitlines()
    found = [json.loads(line).get("executable") for line in lines if line.startswith("{")]
    return [path for path in found if path and "/deps/" in path][-1]


def table(head, rows):
    """A table in Markdown, numbers to the right."""
    widths = [max(len(str(row[at])) for row in [head, *rows]) for at in range(len(head))]
    line = lambda cells: "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |"
    return "\n".join([line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


# === instructions ===


def instructions(program, name):
    """How many instructions one tick or one scrape more takes."""
    def all_of(times):
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory, "out")
            run(
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, "--count", name, str(times),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1))
    return (all_of(11) - all_of(1)) // 10


def known_instructions():
    if not INSTRUCTIONS.exists():
        return {}
    lines = [line.split("\t") for line in INSTRUCTIONS.read_text().splitlines() if not line.startswith("#")]
    return {name: int(count) for name, count in lines}


def count(program):
    """Counts, and compares with what is written down."""
    known, rows, counts = known_instructions(), [], {}
    for name in COUNTED:
        counts[name] = instructions(program, name)
        before = known.get(name)
        change = counts[name] / before - 1 if before else None
        said = "new" if change is None else f"{change:+.1%}" + (" <-- look" if abs(change) > NOTABLE else "")
        rows.append([name, f"{counts[name]:,}", f"{before:,}" if before else "-", said])
    print(table(["instructions of", "now", "written down", "change"], rows), flush=True)
    return counts


# === times and allocations ===


def costs(program):
    """What a tick and a scrape take and allocate, by kind of node."""
    lines = run(program, "--table", stdout=subprocess.PIPE).stdout.splitlines()
    keys = ["what", "sharing", "holders", "series", "nanos", "allocations", "bytes"]
    found = [dict(zip(keys, [word if word[0].isalpha() else int(word) for word in line.split("\t")])) for line in lines]
    rows = []
    for it in found:
        per = it["nanos"] / (it["holders"] if it["what"] == "tick" else it["series"]) / 1000
        rows.append([
            it["what"], it["sharing"], f"{it['holders']:,}", f"{it['series']:,}", f"{it['nanos'] / 1000:,.0f}",
            f"{per:.2f}", f"{it['allocations']:,}", f"{it['bytes'] / 1024:,.0f}",
        ])
    head = ["what", "GPUs", "holders", "series", "µs", "µs per holder or series", "allocations", "KiB allocated"]
    text = table(head, rows)
    print(text, flush=True)
    return found, text


# === the program ===


def cpu_of(process):
    """Seconds of CPU so far, to the nanosecond: the kernel's clock of another process."""
    return time.clock_gettime((~process.pid << 3) | 2)


def scrape(process, port, connections, scrapes, encoding):
    """Seconds of the process's CPU, and the latencies in microseconds, sorted; bytes and series of the last scrape."""
    before = cpu_of(process)
    lines = run(
        STAGE, "scrape", str(port), str(connections), str(scrapes), encoding, stdout=subprocess.PIPE
    ).stdout.splitlines()
    spent = cpu_of(process) - before
    _, size, _, series = lines.pop().split()
    return spent, sorted(map(int, lines)), int(size), int(series)


def least(size):
    """Of a program that only sends so many bytes: seconds of CPU for 1,000 scrapes, and their p99 in milliseconds on one
    connection and on 16."""
    process = subprocess.Popen([STAGE, "serve", str(size)], stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip()
        scrape(process, port, 1, 200, "identity")
        spent, micros, *_ = scrape(process, port, 1, 3000, "identity")
        crowded = scrape(process, port, 16, 4800, "identity")[1]
    finally:
        process.kill()
        process.wait()
    return spent / 3, quantile(micros, 0.99) / 1000, quantile(crowded, 0.99) / 1000


class Exporter:
    """The released program on a node made of fakes."""

    def __init__(self, stage, sharing, holders, *flags):
        self.stage = subprocess.Popen(
            [stage, "node", sharing, str(holders)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        node = json.loads(self.stage.stdout.readline())
        library = pathlib.Path(node["directory"], "libnvidia-ml.so.1")
        shutil.copy(RELEASE / "libfake_nvml.so", library)
        ours = {key: value for key, value in os.environ.items() if not key.startswith("GPU_COST_")}
        began = time.monotonic()
        self.process = subprocess.Popen(
            [
                RELEASE / "gpu-cost-exporter", "--web.listen-address=127.0.0.1:0", f"--node.name={node['node']}",
                f"--nvml.library={library}", f"--kubelet.socket={node['socket']}", "--holders=kubelet",
                f"--kubernetes.kubeconfig={node['kubeconfig']}", "--shutdown.grace=0s",
                f"--state.dir={node['directory']}/state", *flags,
            ],
            env={**ours, "FAKE_NVML_NODE": node["description"]},
            stderr=subprocess.PIPE, text=True,
        )
        for line in self.process.stderr:
            if found := re.search(r"localhost:(\d+)/", line):
                self.port = int(found.group(1))
                break
        # What it says later must go somewhere.
        self.log = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)
        while not self.has_money():
            time.sleep(0.001)
        self.first_scrape = time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.kill()
        self.stage.stdin.close()
        self.stage.wait()

    def has_money(self):
        import urllib.request
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                return b"\ngpu_cost_device_dollars_total{" in answer.read()
        except OSError:
            return False

    def cpu(self):
        return cpu_of(self.process)

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M).group(1))

    def resident(self):
        return self.status("VmRSS") * 1024

    def anonymous(self):
        return self.status("RssAnon") * 1024

    def used(self):
        """Bytes of its memory that it looks at in ten seconds; none where the system does not say."""
        process = pathlib.Path(f"/proc/{self.process.pid}")
        try:
            # What was looked at is forgotten, of all kinds of pages (proc_pid_clear_refs(5)).
            process.joinpath("clear_refs").write_text("1")
        except OSError:
            return None
        time.sleep(9)
        self.scrape(1, 1, "gzip")
        time.sleep(1)
        said = process.joinpath("smaps_rollup").read_text()
        return int(re.search(r"^Referenced:\s+(\d+)", said, re.M).group(1)) * 1024

    def scrape(self, connections, scrapes, encoding):
        return scrape(self.process, self.port, connections, scrapes, encoding)


def aim(value, most, form):
    """A figure, marked if it is above its aim."""
    said = form.format(value)
    return said if most is None or value <= most else f"{said} (above)"


def quantile(sorted_values, q):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * q))]


def cold(exporter, encoding):
    """Microseconds of CPU per series of the first scrape after a tick: what a second with one costs more than one without."""
    scrapes = 20
    before = exporter.cpu()
    time.sleep(scrapes)
    unseen = exporter.cpu() - before
    series = exporter.scrape(1, 1, "identity")[3]
    before, began = exporter.cpu(), time.monotonic()
    for n in range(1, scrapes + 1):
        exporter.scrape(1, 1, encoding)
        time.sleep(max(0, began + n - time.monotonic()))
    return (exporter.cpu() - before - unseen) / scrapes / series * 1e6


def daemon(stage):
    """The figures of a running exporter, each with its aim."""
    rows = []

    def row(what, value, most, form="{:.1f}"):
        rows.append([what, aim(value, most, form), "" if most is None else form.format(most)])

    row("program, stripped, MB", (RELEASE / "gpu-cost-exporter").stat().st_size / 1e6, 11)
    with Exporter(stage, "mig", 110) as it:
        row("first scrape with money after exec, ms", it.first_scrape * 1000, 150, "{:.0f}")
        time.sleep(15)
        before = it.cpu()
        time.sleep(30)
        unseen = (it.cpu() - before) * 2
        row("CPU per minute of 1 s ticks, nobody scrapes, s", unseen, 0.3, "{:.3f}")
        row("resident in the calm, MiB", it.resident() / MIB, 12)
        row("threads in the calm", it.status("Threads"), 5, "{:.0f}")
        for encoding, name, most in (("identity", "plain", 0.5), ("gzip", "gzip", None)):
            row(f"CPU of a cold scrape over HTTP, {name}, µs per series", cold(it, encoding), most, "{:.2f}")
        row("resident after 40 scrapes, MiB", it.resident() / MIB, 12)
        row("of it anonymous, MiB", it.anonymous() / MIB, None)
        if (used := it.used()) is not None:
            row("of it used within ten seconds, one scrape among them, MiB", used / MIB, None)
    # Hardly any tick comes between, so that what is measured is a buffer that is sent.
    with Exporter(stage, "mig", 110, "--sample.interval=10s") as it:
        series = it.scrape(1, 1, "identity")[3]
        rows.append(["series of these scrapes", f"{series:,}", ""])
        for encoding, name in (("identity", "plain"), ("gzip", "gzip")):
            it.scrape(1, 200, encoding)
            spent, micros, size, _ = it.scrape(1, 3000, encoding)
            row(f"CPU of 1,000 warm scrapes, {name}, {size:,} bytes, s", spent / 3, 0.1, "{:.3f}")
            row(f"p99 on one connection, {name}, ms", quantile(micros, 0.99) / 1000, 0.5, "{:.2f}")
            _, micros, _, _ = it.scrape(16, 4800, encoding)
            row(f"p99 on 16 connections, {name}, ms", quantile(micros, 0.99) / 1000, 3, "{:.2f}")
            if name == "plain":
                spent, alone, crowded = least(size)
                row("for comparison: CPU of 1,000 times sending as many bytes and nothing else, s", spent, None, "{:.3f}")
                row("for comparison: p99 of that on one connection, ms", alone, None, "{:.2f}")
                row("for comparison: p99 of that on 16 connections, a thread each, ms", crowded, None, "{:.2f}")
    text = table(["what", "measured", "aim"], rows)
    print(text, flush=True)
    return text


def memory(stage):
    """Anonymous memory by holders, before anybody has scraped much."""
    found = []
    for holders in (110, 1000, 3000, 10000):
        with Exporter(stage, "slots", holders) as it:
            time.sleep(8)
            found.append((holders, it.anonymous(), it.resident()))
    base = found[0]
    rows = [
        [f"{holders:,}", f"{anonymous / MIB:.1f}", f"{resident / MIB:.1f}",
         "" if holders == base[0] else f"{(anonymous - base[1]) / (holders - base[0]) / 1024:.2f}"]
        for holders, anonymous, resident in found
    ]
    text = table(["holders", "anonymous, MiB", "resident, MiB", "KiB per holder more"], rows)
    print(text, flush=True)
    return found, text


# === the document ===


def plot(ticks, held):
    """Time of a tick and memory by holders, each over holders, as an SVG without anybody's help."""
    width, height, left, bottom = 360, 220, 60, 40
    panels = []
    for at, (title, points) in enumerate((
        ("one tick, ms", [(it["holders"], it["nanos"] / 1e6) for it in ticks]),
        ("anonymous memory, MiB", [(holders, anonymous / MIB) for holders, anonymous, _ in held]),
    )):
        most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.1
        place = lambda x, y: (
            at * (width + 20) + left + x / most_x * (width - left - 10), height - bottom - y / most_y * (height - bottom - 30)
        )
        (x0, y0), (x1, y1) = place(0, 0), place(most_x, most_y)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        dots = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="#1f6feb"/>'.format(*place(*point)) for point in points)
        ticks_x = "".join(
            f'<text x="{place(x, 0)[0]:.1f}" y="{y0 + 16:.1f}" text-anchor="{anchor}">{x:,}</text>'
            for x, anchor in ((0, "middle"), (most_x // 2, "middle"), (most_x, "end"))
        )
        ticks_y = "".join(
            f'<text x="{x0 - 6:.1f}" y="{place(0, y)[1] + 4:.1f}" text-anchor="end">{y:.1f}</text>' for y in (0, most_y / 2, most_y)
        )
        panels.append(
            f'<text x="{x0:.1f}" y="18" font-weight="bold">{title}</text>'
            f'<path d="M{x0:.1f},{y1:.1f}V{y0:.1f}H{x1:.1f}" fill="none" stroke="#888"/>'
            f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>{dots}{ticks_x}{ticks_y}'
            f'<text x="{(x0 + x1) / 2:.1f}" y="{height - 6}" text-anchor="middle">holders</text>'
        )
    size = f'width="{2 * width + 20}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#555">'
        + "".join(panels) + "</svg>\n"
    )


def machine():
    """What the figures were measured on."""
    cpu = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.split()[1]
    return f"{os.cpu_count()} cores of {cpu.group(1) if cpu else 'a machine without a name'}, Rust {rustc}, {time.strftime('%Y-%m-%d')}"


def document(parts):
    """Puts each part where the document has its marks."""
    text = DOCUMENT.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin + "\n")
        text = before + begin + "\n" + part + "\n" + end + rest.split(end)[1]
    DOCUMENT.write_text(text)


def main():
    global STAGE
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--document", action="store_true", help="write the figures down")
    parser.add_argument("--only", help="only what divan has of this name")
    parser.add_argument("--daemon", action="store_true", help="only the running program")
    args = parser.parse_args()
    if args.only:
        return run("cargo", "bench", "--locked", "--bench", "costs", "--", args.only)
    parts = {"machine": machine()}
    run("cargo", "build", "--release", "--locked")
    # Apart, for together they would be built with other features.
    run("cargo", "build", "--release", "--locked", "--package=fake-nvml")
    STAGE = built("bench", "--locked", "--profile=dev", "--bench=stage")
    if not args.daemon:
        program = built("bench", "--locked", "--bench=costs")
        if not args.document:
            run(program, "--bench")
        found, parts["costs"] = costs(program)
        if shutil.which("valgrind"):
            counts = count(program)
            if args.document:
                head = f"# Instructions of one tick and one scrape, by callgrind; {parts['machine']}.\n"
                INSTRUCTIONS.write_text(head + "".join(f"{name}\t{it}\n" for name, it in counts.items()))
    parts["program"] = daemon(STAGE)
    held, parts["memory"] = memory(STAGE)
    if args.document:
        ticks = [it for it in found if (it["what"], it["sharing"]) == ("tick", "slots")]
        PLOT.write_text(plot(ticks, held))
        parts["memory"] = "![one tick and memory by holders](growth.svg)\n\n" + parts["memory"]
        document(parts)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
