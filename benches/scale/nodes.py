"""Nodes of our own: the real program over a made-up trace of any shape, or over its demo."""

import gzip
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

SECOND = 10**9
BEGIN = 100 * SECOND
WALL = 1795320000000
LABELS = ["team", "project", "model", "environment", "cost_center", "department", "task_type"]
GIB = 1 << 30
PROTOBUF = ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.9,"
            "text/plain;version=0.0.4;q=0.1")


# === Traces ===


def write_trace(path, shape):
    """Writes what a node of this shape saw: first nobody, then the pods that ended, in turns, then those that stay."""
    assert not shape.energy, "a trace has no prices"
    turns = [[], *ended(shape), staying(shape), staying(shape)]
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"trace": "gpu-cost-exporter", "version": 1, "recorded_by": "0"}) + "\n")
        for at, pods in enumerate(turns):
            file.write(json.dumps(observation(at, pods, shape)) + "\n")


def staying(shape):
    pods = [pod(shape, "pod", at) for at in range(shape.pods)]
    for at in range(shape.held):
        pods[at % shape.pods]["devices"].append(device(shape, at))
    return pods


def ended(shape):
    """Pods that have a GPU each, as many at a time as there are GPUs."""
    for first in range(0, shape.ended, shape.gpus):
        pods = [pod(shape, "ended", at) for at in range(first, min(first + shape.gpus, shape.ended))]
        for at, one in enumerate(pods):
            one["devices"].append(device(shape, at))
        yield pods


def pod(shape, name, at):
    return {"name": f"{name}-{at}-7d9c5b8f64-x{at:04}", "payer": at % shape.payers, "devices": []}


def device(shape, at):
    if shape.mig_devices:
        return {"device": {"mig_device": mig_uuid(at % shape.mig_devices)}}
    if shape.held > shape.gpus:
        return {"device": {"gpu": gpu_uuid(at % shape.gpus)}, "replica": at // shape.gpus}
    return {"device": {"gpu": gpu_uuid(at % shape.gpus)}}


def gpu_uuid(at):
    return f"GPU-{at:08x}-9f8a-4b6d-80fb-09b08c6842a5"


def mig_uuid(at):
    return f"MIG-{at:08x}-d9fb-482a-8af4-a0a184c068c6"


def observation(at, pods, shape):
    return {
        "at": BEGIN + at * SECOND, "wall": WALL + at * 1000, "boot": "7d1f6a0e-3c52-4f0b-9a55-0c9d1b7e2f11",
        "driver_version": "580.82.07", "gpus": [gpu(index, at, pods, shape) for index in range(shape.gpus)],
        "allocations_read_at": BEGIN + at * SECOND,
        "allocations": {"containers": [one for pod in pods for one in containers(pod, shape)]},
        "pods": [told(pod) for pod in pods], "node": {"name": "gpu-node"},
    }


def containers(pod, shape):
    """The containers of a pod, each with its part of the pod's devices."""
    return [{"pod": key(pod), "container": f"main-{at}", "devices": pod["devices"][at::shape.containers]}
            for at in range(shape.containers)]


def key(pod):
    return {"namespace": f"team-{pod['payer']}", "name": pod["name"]}


def told(pod):
    labels = {label: f"{label}-{pod['payer']}" for label in LABELS}
    return {"key": key(pod), "uid": f"{pod['name'][-4:]}-44cc-4e5a-8504-{hash_of(pod['name']):012x}", "created": WALL,
            "labels": labels, "workload": {"kind": "Deployment", "name": pod["name"][:-17]}}


def hash_of(text):
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 16**12


def gpu(index, at, pods, shape):
    seen = {
        "uuid": gpu_uuid(index), "index": index, "minor": index, "pci_bus_id": f"00000000:{index:02x}:00.0",
        "product": "NVIDIA H100 80GB HBM3", "memory": {"used": 70 * GIB + at, "total": 80 * GIB},
        "power_milliwatts": 638345, "power_limit_milliwatts": 700000, "energy_millijoules": 10**9 + at * 638345,
        "utilization_source": "gpm", "processes": [],
    }
    if index < shape.mig_gpus:
        each = shape.mig_devices // shape.mig_gpus
        seen["partition"] = {"compute_slices": 7, "memory_slices": 8, "devices": [
            mig(index * each + part, part) for part in range(each)]}
    else:
        seen["activity"] = activity()
        seen["processes"] = [{"pid": 1, "pod": key(pod), "utilization": 900000 // shape.gpus} for pod in pods
                             if any(one["device"] == {"gpu": gpu_uuid(index)} for one in pod["devices"])]
    return seen


def activity():
    return {"utilization": 876543, "sm_active": 712345, "tensor_active": 430842, "dram_active": 531677}


def mig(at, part):
    return {"uuid": mig_uuid(at), "profile": "1g.10gb", "gpu_instance": 7 + part, "compute_instance": 0,
            "gpu_instance_slices": 1, "compute_slices": 1, "memory_slices": 1,
            "memory": {"used": 9 * GIB, "total": 10 * GIB}, "activity": activity()}


# === The program ===


class Exporter:
    """A running exporter, as a context."""

    def __init__(self, binary, *args, env=None, port=None):
        self.port = port or free_port()
        self.command = [binary, f"--web.listen-address=127.0.0.1:{self.port}", "--shutdown.grace=0s", *args]
        self.env = env

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=os.environ | (self.env or {}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def scrape(self, **headers):
        """The bytes of a scrape as they come over the wire."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers=headers)
        return urllib.request.urlopen(request, timeout=10).read()

    def scrape_until(self, condition, seconds=30):
        """Scrapes until the text is as wanted, and gives it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition(text := self.scrape().decode()):
                    return text
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"waited {seconds} s in vain for {self.command}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def samples(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def name_of(sample):
    return sample.split("{")[0].split(" ")[0]


def replayed(binary, shape, level, directory):
    """An exporter that has seen a node of this shape and shows it at this level."""
    trace = pathlib.Path(directory) / "trace.ndjson"
    write_trace(trace, shape)
    return Exporter(binary, f"--replay={trace}", "--node.name=gpu-node-0001", f"--metrics.level={level}")


def bytes_of(exporter):
    """The bytes of a scrape in each form that Prometheus asks for."""
    text = exporter.scrape()
    return {
        "series": len(samples(text.decode())),
        "text": len(text),
        "text_gzip": len(exporter.scrape(Accept_Encoding="gzip")),
        "protobuf": len(exporter.scrape(Accept=PROTOBUF)),
        "protobuf_gzip": len(exporter.scrape(Accept=PROTOBUF, Accept_Encoding="gzip")),
        "ratio": round(len(text) / len(gzip.compress(text)), 1),
    }
