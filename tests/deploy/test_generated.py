"""Files that are made of others are of their present state. `UPDATE_EXPECT=1` (make bless) writes them."""

import re
import unittest

import yaml

import chart_values
import support
from support import CHART, DASHBOARDS, ROOT, RULES, read

NOTICE = "# Generated from {} (make bless).\n"


class Generated(unittest.TestCase):
    maxDiff = None

    def same(self, path, expected):
        if support.is_blessed() and not (path.exists() and read(path) == expected):
            path.write_text(expected, encoding="utf-8")
        self.assertEqual(read(path) if path.exists() else "", expected, f"{path} is old: run `make bless`")

    def test_rules_are_objects_of_the_operator(self):
        self.same(RULES / "prometheusrule.yaml", prometheus_rules(rule_files(), "rules/*.yml"))
        compat = sorted(RULES.glob("compat*.yml"))
        self.same(RULES / "compat/prometheusrule.yaml", prometheus_rules(compat, "rules/compat*.yml"))

    def test_rules_are_files_of_a_config_map(self):
        self.same(RULES / "configmap/configmap.yaml", config_map(rule_files()))

    def test_dashboards_are_config_maps(self):
        self.same(DASHBOARDS / "kustomization.yaml", dashboards(sorted(DASHBOARDS.glob("*.json"))))

    def test_the_charts_readme_has_its_values(self):
        before, _, rest = read(CHART / "README.md").partition(chart_values.BEGIN)
        _, _, after = rest.partition(chart_values.END)
        table = chart_values.table(read(CHART / "values.yaml"))
        self.same(CHART / "README.md", before + chart_values.BEGIN + table + chart_values.END + after)

    def test_the_alerts_document_has_its_table(self):
        document = ROOT / "docs/alerts.md"
        before, _, rest = read(document).partition("<!-- alerts -->\n")
        _, _, after = rest.partition("<!-- end -->")
        self.same(document, f"{before}<!-- alerts -->\n{alerts(before + after)}<!-- end -->{after}")

    def test_the_units_of_thresholds_are_those_of_all_alerts_that_have_one(self):
        thresholds = support.load(RULES / "settings.yml")["groups"][0]["rules"]
        self.assertEqual({rule["labels"]["alert"] for rule in thresholds if rule["record"] == "gpu_cost:threshold"}, set(units()))


def alerts(document):
    """A row for each alert, in the order of the document's sections."""
    values = {
        rule["labels"]["alert"]: rule["expr"].removeprefix("vector(").removesuffix(")")
        for rule in support.load(RULES / "settings.yml")["groups"][0]["rules"] if rule["record"] == "gpu_cost:threshold"
    }
    rows = {}
    for file in sorted(RULES.glob("alerts*.yml")):
        for rule in (rule for group in support.load(file)["groups"] for rule in group["rules"]):
            name = rule["alert"]
            sign = re.search(rf'([<>]) on \(\) group_left \(\) \(?max\(gpu_cost:threshold{{alert="{name}"}}\)', rule["expr"])
            threshold = f"{sign[1]} {values[name]}: {units()[name]}" if sign else ""
            rows[name] = f"| [{name}](#{name.lower()}) | {rule['labels']['severity']} | {rule.get('for', '')} | {threshold} |\n"
    order = re.findall(r"^### (\w+)$", document, re.MULTILINE)
    assert sorted(order) == sorted(rows), set(order) ^ set(rows)
    head = "| alert | severity | holds for | threshold, as settings.yml has it |\n|---|---|---|---|\n"
    return head + "".join(rows[name] for name in order)


def units():
    """What each threshold is in, as rules/README.md says."""
    _, _, table = read(RULES / "README.md").partition("| `gpu_cost:threshold{alert=…}` |")
    rows = re.findall(r"^\| (`\w+`.*?) \| (.*?) \| .*? \|$", table, re.MULTILINE)
    return {name: unit for names, unit in rows for name in re.findall(r"`(\w+)`", names)}


def rule_files():
    """The files of rules that everybody has. The names of other tools' metrics are asked for."""
    files = [file for file in sorted(RULES.glob("*.yml")) if not file.stem.startswith("compat")]
    assert files, "there are no rules"
    return files


def prometheus_rules(files, source):
    """The files with their comments, a deeper indentation, and nothing else done to them."""
    parts = [NOTICE.format(source)]
    for file in files:
        head = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": f"gpu-cost-exporter-{file.stem}",
                "labels": {"app.kubernetes.io/name": "gpu-cost-exporter"},
            },
        }
        parts.append(yaml.safe_dump(head, sort_keys=False) + "spec:\n" + indented(read(file), 2))
    return "---\n".join(parts)


def config_map(files):
    head = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "gpu-cost-exporter-rules",
            "labels": {"app.kubernetes.io/name": "gpu-cost-exporter"},
        },
    }
    data = "".join(f"  {file.name}: |\n" + indented(read(file), 4) for file in files)
    return NOTICE.format("rules/*.yml") + yaml.safe_dump(head, sort_keys=False) + "data:\n" + data


def dashboards(files):
    generators = [
        {
            "name": f"gpu-cost-exporter-{file.stem}",
            "files": [file.name],
            "options": {
                "disableNameSuffixHash": True,
                "labels": {"app.kubernetes.io/name": "gpu-cost-exporter", "grafana_dashboard": "1"},
                "annotations": {"grafana_folder": "GPU cost"},
            },
        }
        for file in files
    ]
    head = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "gpu-cost-exporter",
        "configMapGenerator": generators,
    }
    return NOTICE.format("dashboards/*.json") + yaml.safe_dump(head, sort_keys=False)


def indented(text, by):
    return "".join(" " * by + line if line.strip() else line for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    unittest.main()
