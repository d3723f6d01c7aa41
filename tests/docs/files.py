"""Queries, and files that somebody reads: each is given to its reader."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

import program
from documents import ROOT, read

sys.path.insert(0, str(ROOT / "tests/deploy"))
import support  # noqa: E402 pylint: disable=wrong-import-position

# A password nobody uses, for the place where a document has `…`.
HASH = "$2y$04$abcdefghijklmnopqrstuu5s2v1.hVGOYKUnVvkmPNXhdK6TlNpHq"

# Beginnings of names that others export. `up` is Prometheus' own.
FOREIGN = ("DCGM_", "vllm:", "sglang:", "tgi_", "nv_", "trtllm_", "llamacpp:", "kube_", "up", "scrape_")
OPTIONAL = {"gpu_cost_budget_dollars"}

WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool", "Inf"}


# === queries ===


def metrics_in(expression):
    """The names of the metrics of an expression: what is left without strings, selectors, lists of labels and calls."""
    text = re.sub(r'"(\\.|[^"\\])*"', '""', expression)
    text = re.sub(r"#.*", "", text)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    found = re.findall(r"(?<![\w$:])([a-zA-Z_:][\w:]*)(?!\w)(\s*\()?", text)
    return {word for word, call in found if not call and word not in WORDS and not word.startswith(FOREIGN)}


@functools.cache
def known():
    return set(program.catalogue()) | program.recorded()[0] | OPTIONAL


def check_queries(queries, directory):
    """What promtool says about queries, each a rule of one file; a block may have several, one in each line."""
    single = [query for block in queries for query in separate(block)]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(single)]
    file = directory / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    promtool("rules", file)


def separate(block):
    """The queries of a block: the whole, or its lines if none of them begins with a space or a bracket."""
    lines = [line for line in block.splitlines() if line.strip()]
    is_whole = any(line[0] in " )}" or line.startswith("and ") for line in lines)
    return [block] if is_whole else lines


def promtool(what, file):
    done = subprocess.run(["promtool", "check", what, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def sums(scrape):
    """The sum of each metric of a scrape over all its labels."""
    found = {}
    for name, value in re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", scrape, re.MULTILINE):
        found[name] = found.get(name, 0) + float(value)
    return found


# === YAML ===


@functools.cache
def keys():
    """The keys at the top of each kind of file."""
    schema = support.load(ROOT / "pricing.schema.json")
    return {
        "prices": set(schema.get("properties") or schema["$defs"]["file"]["properties"]),
        "web configuration": {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"},
        "labels": {"sources", "rules", "namespaces"},
        "scrape": {"global", "scrape_configs", "remote_write"},
        "scraper": {"scheme", "tls_config", "basic_auth"},
        "values": set(support.load(support.CHART / "values.yaml")),
    }


def kind_of(content):
    if isinstance(content, list):
        return "relabelling"
    if content.get("kind") == "Kustomization" or set(content) == {"patches"}:
        return "kustomization"
    if "kind" in content:
        return "manifest"
    if isinstance(content.get("rules"), dict):
        return "adapter"
    return next((kind for kind, names in keys().items() if set(content) <= names), None)


def check(block, directory):
    """Gives the block to whoever reads such a file; fails if they do not take it. Gives what kind of file it is."""
    content = yaml.load(block.text, Loader=support.StrictLoader)
    kind = kind_of(content)
    assert kind, f"{block}: nobody reads a file with {', '.join(content)}"
    file = directory / "file.yaml"
    file.write_text(block.text, encoding="utf-8")
    {
        "prices": prices, "labels": labels, "web configuration": web, "scrape": scrape, "scraper": scraper,
        "values": values, "kustomization": kustomization, "manifest": manifest, "adapter": adapter,
        "relabelling": relabelling,
    }[kind](content, file)
    return kind


def prices(_, file):
    printed, code = program.run(f"gpu-cost-exporter check {file.name}", file.parent)
    assert code == 0, printed


def labels(_, file):
    with program.running("--demo", f"--labels.file={file}", until="the labels of pods|WARN.*labels") as (log, _):
        assert "the labels of pods that have none are read" in log, log


def web(_, file):
    for each in pathlib.Path(os.environ["CERTIFICATES"]).iterdir():
        shutil.copy(each, file.parent)
    file.write_text(read(file).replace("$2y$10$…", HASH), encoding="utf-8")
    until = "serving https|ERROR|WARN.*file.yaml"
    with program.running("--demo", f"--web.config.file={file}", until=until) as (log, _):
        assert "serving https" in log and "the web configuration is read" in log, log
        assert "file.yaml:" not in log, log


def scrape(content, file):
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    promtool("config", file)


def relabelling(content, file):
    scrape({"scrape_configs": [{"job_name": "ours", "relabel_configs": content}]}, file)


def scraper(content, file):
    for name in ("ca.crt", "prometheus.crt", "prometheus.key", "password"):
        certificate = {"prometheus.crt": "tls.crt", "prometheus.key": "tls.key"}.get(name, "ca.crt")
        shutil.copy(pathlib.Path(os.environ["CERTIFICATES"]) / certificate, file.parent / name)
    scrape({"scrape_configs": [{"job_name": "ours", **content}]}, file)


def values(content, _):
    support.validate(support.render({**content, "prometheusRule": {"enabled": True}}))


def kustomization(content, _):
    """Its files exist; tests/deploy builds it."""
    for resource in [*content.get("resources", []), *content.get("components", [])]:
        place = resource.partition("gpu-cost-exporter//")[2].partition("?")[0] or resource.removeprefix("../")
        assert place and (ROOT / place).is_dir(), resource


def manifest(content, _):
    support.validate([content])


def adapter(content, _):
    """It asks for series that exist; tests/deploy compares it with the autoscaler's."""
    for rule in content["rules"]["custom"]:
        for name in metrics_in(rule["seriesQuery"]):
            assert name in known(), name
