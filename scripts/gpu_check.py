"""Runs the exporter for a minute on real GPUs and compares its numbers with the driver's and nvidia-smi's.

Three phases: a process that keeps the first GPU busy, one that only holds memory, none. Needs nothing but Python and
the driver: NVML and CUDA are called through ctypes, beside the exporter and independent of its bindings.
"""

import argparse
import ctypes
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

NO_DRIVER = 2
PHASE_SECONDS = 20
# The first ticks of a phase still see the one before: the driver's utilization is over up to a second.
SETTLE_TICKS = 3
STARTUP_SECONDS = 30

# A kernel that does nothing for a number of clock cycles, for any GPU since Volta.
SPIN = b"""
.version 6.3
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
    .reg .pred %done;
    .reg .b64 %limit, %start, %now;
    ld.param.u64 %limit, [cycles];
    mov.u64 %start, %clock64;
again:
    mov.u64 %now, %clock64;
    sub.s64 %now, %now, %start;
    setp.lt.u64 %done, %now, %limit;
    @%done bra again;
    ret;
}
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("exporter", nargs="?", help="the program to check")
    arguments.add_argument("--driver-only", action="store_true", help="only say whether there is a driver")
    arguments.add_argument("--load", choices=["busy", "memory"], help="be the process that loads the first GPU")
    options = arguments.parse_args()
    if options.load:
        load(options.load)
        return 0
    try:
        nvml = Nvml()
    except (OSError, DriverError) as error:
        print(f"no NVIDIA driver on this machine, nothing to compare with: {error}")
        return NO_DRIVER
    if options.driver_only:
        return 0
    return check(options.exporter, nvml)


def check(program, nvml):
    with Exporter(program) as exporter:
        verdict = Verdict()
        first = Moment(exporter, nvml)
        for name, kind in [("busy", "busy"), ("memory held", "memory"), ("nothing", None)]:
            with Load(kind):
                phase(name, exporter, nvml, verdict)
        last = Moment(exporter, nvml)
        for gpu in nvml.gpus:
            energy(gpu, first, last, verdict)
            dollars(gpu, first, last, verdict)
    return verdict.conclude()


def phase(name, exporter, nvml, verdict):
    """Compares utilization over a phase, and memory at its end."""
    exporter.ticks(SETTLE_TICKS)
    cursors = {gpu.uuid: gpu.newest_sample() for gpu in nvml.gpus}
    said = {gpu.uuid: [] for gpu in nvml.gpus}
    seen = {gpu.uuid: [] for gpu in nvml.gpus}
    for _ in range(PHASE_SECONDS - SETTLE_TICKS):
        metrics = exporter.next_tick()
        for gpu in nvml.gpus:
            said[gpu.uuid] += metrics.values("gpu_cost_device_utilization_ratio", gpu)
            samples, cursors[gpu.uuid] = gpu.samples_since(cursors[gpu.uuid])
            seen[gpu.uuid] += samples
    smi = memory_by_nvidia_smi()
    for gpu in nvml.gpus:
        percent = [100 * ratio for ratio in said[gpu.uuid]]
        verdict.add(gpu, name, "utilization, %", mean(percent), mean(seen[gpu.uuid]), within=2)
        for what, metric in [("used", "gpu_cost_device_memory_used_bytes"), ("total", "gpu_cost_device_memory_total_bytes")]:
            mebibytes = [value / 2**20 for value in metrics.values(metric, gpu)]
            # nvidia-smi shows whole mebibytes.
            verdict.add(gpu, name, f"memory {what}, MiB", mean(mebibytes), smi.get(gpu.uuid, {}).get(what), within=1)


def energy(gpu, first, last, verdict):
    metric = "gpu_cost_device_energy_joules_total"
    said = difference(first.metrics.values(metric, gpu), last.metrics.values(metric, gpu))
    before, after = first.joules[gpu.uuid], last.joules[gpu.uuid]
    seen = None if before is None or after is None else after - before
    verdict.add(gpu, "all", "energy, J", said, seen, within=0.01 * (seen or 0))


def dollars(gpu, first, last, verdict):
    """Dollars must be rate x time, and time must be time."""
    seconds = difference(*(moment.metrics.values("gpu_cost_device_seconds_total", gpu) for moment in (first, last)))
    elapsed = last.at - first.at
    verdict.add(gpu, "all", "time, s", seconds, elapsed, within=0.5)
    rate = last.metrics.values("gpu_cost_device_price_dollars_per_hour", gpu, basis="effective")
    if not rate:
        verdict.skip(gpu, "all", "dollars", "no price is known for this model")
        return
    said = difference(*(moment.metrics.values("gpu_cost_device_dollars_total", gpu) for moment in (first, last)))
    bill = rate[0] * (seconds or 0) / 3600
    verdict.add(gpu, "all", "dollars", said, bill, within=0.001 * bill)


def memory_by_nvidia_smi():
    query = ["nvidia-smi", "--query-gpu=uuid,memory.used,memory.total", "--format=csv,noheader,nounits"]
    rows = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [[field.strip() for field in row.split(",")] for row in rows]
    return {uuid: {"used": number(used), "total": number(total)} for uuid, used, total in fields}


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def mean(values):
    return sum(values) / len(values) if values else None


def difference(before, after):
    return sum(after) - sum(before) if before and after else None


class Verdict:
    """The table, and whether all of it holds."""

    def __init__(self):
        self.rows = []
        self.failed = 0
        self.compared = 0

    def add(self, gpu, phase, what, said, seen, within):
        if said is None and seen is None:
            self.skip(gpu, phase, what, "neither can say, as on a GPU in MIG mode")
            return
        good = said is not None and seen is not None and abs(said - seen) <= within
        self.compared += 1
        self.failed += not good
        shown = ["-" if value is None else f"{value:.6g}" for value in (said, seen)]
        self.rows.append((gpu.name, phase, what, *shown, f"{within:.3g}", "ok" if good else "WRONG"))

    def skip(self, gpu, phase, what, why):
        self.rows.append((gpu.name, phase, what, "-", "-", "-", f"skipped: {why}"))

    def conclude(self):
        head = ("GPU", "phase", "what", "exporter", "driver", "may differ by", "verdict")
        widths = [max(len(row[n]) for row in [head, *self.rows]) for n in range(len(head))]
        for row in [head, *self.rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if self.failed or not self.compared:
            print(f"\nWRONG: {self.failed} of {self.compared} comparisons do not hold")
            return 1
        print(f"\nOK: all {self.compared} comparisons hold")
        return 0


class Moment:
    """What both sides say at the same time: right after a tick, when the exporter's numbers are fresh."""

    def __init__(self, exporter, nvml):
        self.metrics = exporter.next_tick()
        self.at = time.monotonic()
        self.joules = {gpu.uuid: gpu.joules() for gpu in nvml.gpus}


class Exporter:
    """The program under check, as long as it is needed."""

    def __init__(self, program):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.command = [program, f"--web.listen-address={self.address}", "--sample.interval=1s"]

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        self.last_tick = -1.0
        try:
            self.ticks(SETTLE_TICKS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=10)

    def ticks(self, n):
        for _ in range(n):
            self.next_tick()

    def next_tick(self):
        """Waits until the exporter has looked again."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            metrics = self.scrape()
            tick = metrics and max(metrics.all("gpu_cost_exporter_ticks_total"), default=-1.0)
            if metrics and tick > self.last_tick:
                self.last_tick = tick
                return metrics
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.log.seek(0)
        sys.exit(f"the exporter makes no ticks; it said:\n{self.log.read().decode(errors='replace')}")

    def scrape(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as answer:
                return Metrics(answer.read().decode())
        except OSError:
            return None


class Metrics:
    """One scrape."""

    LINE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
    LABEL = re.compile(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.samples = [
            (name, dict(self.LABEL.findall(labels or "")), float(value)) for name, labels, value in self.LINE.findall(text)
        ]

    def all(self, name):
        return [value for found, _, value in self.samples if found == name]

    def values(self, metric, gpu, **wanted):
        wanted["gpu_uuid"] = gpu.uuid
        return [
            value
            for name, labels, value in self.samples
            if name == metric and all(labels.get(label) == value for label, value in wanted.items())
        ]


class Load:
    """A process that uses the first GPU, or none."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        self.process = None
        if self.kind:
            command = [sys.executable, __file__, "--load", self.kind]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            if self.process.stdout.readline() != "ready\n":
                sys.exit(f"the process that should load the GPU ended with {self.process.wait()}")
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


def load(kind):
    """Holds two gibibytes of the first GPU for ever, and keeps it busy if asked to."""
    cuda = Cuda()
    cuda.allocate(2 << 30)
    work = cuda.spin if kind == "busy" else lambda: time.sleep(3600)
    if kind == "busy":
        cuda.spin()
    print("ready", flush=True)
    while True:
        work()


class Cuda:
    """CUDA's driver interface on the first GPU."""

    # A few hundredths of a second at the clocks of today's GPUs.
    CYCLES = 50_000_000

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self.call("cuCtxCreate_v2", ctypes.byref(context), ctypes.c_uint(0), device)
        module, self.kernel = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(SPIN))
        self.call("cuModuleGetFunction", ctypes.byref(self.kernel), module, ctypes.c_char_p(b"spin"))

    def allocate(self, size):
        self.call("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(size))

    def spin(self):
        cycles = ctypes.c_uint64(self.CYCLES)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(cycles))
        one, none = ctypes.c_uint(1), ctypes.c_void_p()
        self.call("cuLaunchKernel", self.kernel, one, one, one, one, one, one, ctypes.c_uint(0), none, parameters, none)
        self.call("cuCtxSynchronize")

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result != 0:
            raise DriverError(f"{name} says {result}")


class DriverError(Exception):
    pass


class Sample(ctypes.Structure):
    _fields_ = [("timestamp", ctypes.c_uint64), ("value", ctypes.c_uint64)]


class Nvml:
    """NVIDIA's management library."""

    def __init__(self):
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.call("nvmlInit_v2")
        count = ctypes.c_uint()
        self.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self.gpus = [Gpu(self, index) for index in range(count.value)]
        if not self.gpus:
            raise DriverError("it shows no GPU")

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result != 0:
            raise DriverError(f"{name} says {result}")


class Gpu:
    """One GPU as NVML sees it."""

    UTILIZATION_SAMPLES = 1

    def __init__(self, nvml, index):
        self.nvml = nvml
        self.handle = ctypes.c_void_p()
        nvml.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self.handle))
        uuid = ctypes.create_string_buffer(96)
        nvml.call("nvmlDeviceGetUUID", self.handle, uuid, ctypes.c_uint(len(uuid)))
        self.uuid = uuid.value.decode()
        self.name = f"{index} {self.uuid[:12]}"

    def joules(self):
        millijoules = ctypes.c_uint64()
        try:
            self.nvml.call("nvmlDeviceGetTotalEnergyConsumption", self.handle, ctypes.byref(millijoules))
        except DriverError:
            return None
        return millijoules.value / 1000

    def newest_sample(self):
        return self.samples_since(0)[1]

    def samples_since(self, cursor):
        """The utilizations in percent that the driver sampled after `cursor`, and the next cursor."""
        count, kind = ctypes.c_uint(), ctypes.c_int()
        request = (self.handle, ctypes.c_int(self.UTILIZATION_SAMPLES), ctypes.c_uint64(cursor), ctypes.byref(kind))
        try:
            self.nvml.call("nvmlDeviceGetSamples", *request, ctypes.byref(count), None)
            buffer = (Sample * count.value)()
            self.nvml.call("nvmlDeviceGetSamples", *request, ctypes.byref(count), buffer)
        except DriverError:
            # Nothing new, or not on this GPU.
            return [], cursor
        # The driver may repeat samples. The value is an unsigned 32-bit integer in a union of eight bytes.
        fresh = {sample.timestamp: sample.value & 0xFFFF_FFFF for sample in buffer[: count.value] if sample.timestamp > cursor}
        return list(fresh.values()), max(fresh, default=cursor)


if __name__ == "__main__":
    sys.exit(main())
