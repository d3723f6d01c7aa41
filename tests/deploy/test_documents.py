"""The commands, values and files in the documents work as they are written."""

import pathlib
import re
import shlex
import shutil
import tempfile
import unittest

import helm_python
import yaml

import support
from support import CHART, ROOT, read, render

DOCUMENTS = [ROOT / "README.md", ROOT / "docs/install.md", CHART / "README.md"]
SITE = "https://github.com/gpu-cost-exporter/gpu-cost-exporter//"


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), re.MULTILINE | re.DOTALL)


def commands(document):
    """Each command of the document's shell blocks, with the variables that a command before it sets."""
    variables = {}
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("# or: ").partition("  # ")[0]
            assigned = re.fullmatch(r"([A-Z]+)=(\S+)", line)
            if assigned:
                variables[assigned.group(1)] = assigned.group(2)
            elif line and not line.startswith("#"):
                for name, value in variables.items():
                    line = line.replace(f"${name}", value)
                yield shlex.split(line)


def written(name, document=ROOT / "docs/install.md"):
    """The file that the reader is told to write: its block begins with its name."""
    (text,) = [block for block in blocks(document, "yaml") if block.startswith(f"# {name}\n")]
    return text


def built(text):
    """The objects of a kustomization in the directory `site` of a clone."""
    with tempfile.TemporaryDirectory() as directory:
        for part in ["deploy/kustomize", "rules", "dashboards"]:
            shutil.copytree(ROOT / part, f"{directory}/{part}")
        site = pathlib.Path(directory, "site")
        site.mkdir()
        (site / "kustomization.yaml").write_text(text, encoding="utf-8")
        return support.kustomize(site)


def given(command, option):
    return [value for flag, value in zip(command, command[1:]) if flag == option]


class Commands(unittest.TestCase):
    def test_of_helm_install_something_valid(self):
        count = 0
        for document in DOCUMENTS:
            for command in commands(document):
                if command[:2] != ["helm", "install"]:
                    continue
                count += 1
                with self.subTest(command):
                    self.assertEqual(ROOT / command[3], CHART)
                    values = {}
                    for file in given(command, "--values"):
                        values |= yaml.safe_load(written(file, document))
                    for each in given(command, "--set"):
                        values |= helm_python.parse_set_string(each)
                    self.assertNotIn("$", " ".join(command))
                    support.validate(render(values, name=command[2], namespace=given(command, "--namespace")[0]))
        self.assertGreater(count, 7)

    def test_of_helm_install_use_the_image_that_is_built_before(self):
        for document in [ROOT / "README.md", ROOT / "docs/install.md"]:
            (image,) = [name for command in commands(document) for name in given(command, "--tag")]
            for command in commands(document):
                if command[:2] != ["helm", "install"]:
                    continue
                values = {}
                for file in given(command, "--values"):
                    values |= yaml.safe_load(written(file, document))
                for each in given(command, "--set"):
                    values |= helm_python.parse_set_string(each)
                rendered = render(values)
                self.assertEqual(support.container(support.one(rendered, "DaemonSet"))["image"], image, command)
                (monitor,) = [each for each in rendered if each["kind"] == "PodMonitor"]
                self.assertEqual(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack")

    def test_of_kubectl_apply_something_valid(self):
        applied = {
            directory for document in DOCUMENTS for command in commands(document) for directory in given(command, "-k")
            if "--server-side" in command
        }
        self.assertEqual(applied, {"site"})
        (image,) = [name for command in commands(ROOT / "docs/install.md") for name in given(command, "--tag")]
        named = set(re.findall(r"`overlays/(\w+)`", read(ROOT / "docs/install.md")))
        self.assertEqual(named, {path.name for path in (ROOT / "deploy/kustomize/overlays").iterdir()})
        for name in sorted(named):
            with self.subTest(name):
                found = built(written("site/kustomization.yaml").replace("overlays/eks", f"overlays/{name}"))
                support.validate(found)
                self.assertEqual(support.container(support.one(found, "DaemonSet"))["image"], image)
                read_by_the_stack = [each for each in found if each["kind"] in ("PodMonitor", "PrometheusRule")]
                self.assertEqual(bool(read_by_the_stack), name != "prometheus")
                for each in read_by_the_stack:
                    self.assertEqual(each["metadata"]["labels"]["release"], "kube-prometheus-stack")

    def test_name_what_is_installed(self):
        prometheus = {
            (each["kind"].lower(), each["metadata"]["name"])
            for each in support.kustomize(ROOT / "deploy/kustomize/overlays/prometheus")
        }
        count = 0
        for document in DOCUMENTS:
            for command in commands(document):
                for kind in ["configmap", "namespace", "daemonset"]:
                    for name in given(command, kind):
                        count += 1
                        self.assertIn((kind, name), prometheus, command)
        self.assertGreater(count, 2)


class Files(unittest.TestCase):
    def test_of_values_are_values(self):
        count = 0
        for block in blocks(ROOT / "docs/install.md", "yaml"):
            values = yaml.safe_load(block)
            if set(values) & {"pricing", "budgets"}:
                count += 1
                support.validate(render({**values, "prometheusRule": {"enabled": True}}))
        self.assertEqual(count, 2)

    def test_of_kustomize_can_be_built(self):
        (wanted,) = [block for block in blocks(ROOT / "docs/install.md", "yaml") if SITE in block]
        found = built(re.sub(r"\?ref=\S+", "", wanted.replace(SITE, "../")))
        support.validate(found)
        image = support.container(support.one(found, "DaemonSet"))["image"]
        self.assertTrue(image.startswith("registry.example.com/"), image)

    def test_of_patches_set_prices_thresholds_and_budgets(self):
        (patches,) = [block for block in blocks(ROOT / "docs/install.md", "yaml") if block.startswith("patches:")]
        found = built(written("site/kustomization.yaml") + patches)
        support.validate(found)
        settings = support.one(found, "PrometheusRule", "gpu-cost-exporter-settings")["spec"]
        support.check_rules(settings)
        rules = [rule for group in settings["groups"] for rule in group["rules"]]
        (threshold,) = [rule["expr"] for rule in rules if rule.get("labels", {}).get("alert") == "HighIdleCost"]
        self.assertEqual(threshold, "vector(50)")
        budgets = [rule for rule in rules if rule["record"] == "gpu_cost_budget_dollars"]
        values = next(block for block in blocks(ROOT / "docs/install.md", "yaml") if "budgets:" in block)
        rendered = render(yaml.safe_load(values) | {"prometheusRule": {"enabled": True}})
        of_the_chart = support.one(rendered, "PrometheusRule", "gpu-cost-exporter-settings")["spec"]["groups"]
        self.assertEqual(budgets, [rule for group in of_the_chart for rule in group["rules"] if "budget" in rule["record"]])
        prices = support.one(found, "ConfigMap", "gpu-cost-exporter-config")["data"]["pricing.yaml"]
        self.assertEqual(yaml.safe_load(prices)["gpu_pricing"], yaml.safe_load(values)["pricing"]["gpu_pricing"])

    def test_of_the_adapter_serve_what_the_autoscaler_asks_for(self):
        (written,) = [block for block in blocks(ROOT / "docs/install.md", "yaml") if "seriesQuery" in block]
        served = set()
        for rule in yaml.safe_load(written)["rules"]["custom"]:
            series = rule["seriesQuery"].partition("{")[0]
            replacement = rule["name"]["as"].replace("$1", r"\1")
            served.add(re.sub(rule["name"]["matches"], replacement, series))
        asked = support.one(render({"hpa": {"enabled": True}}), "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertEqual({each["pods"]["metric"]["name"] for each in asked}, served)

    def test_name_values_that_exist(self):
        values = support.load(CHART / "values.yaml")
        named = re.findall(r"`([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+)[=`]", read(ROOT / "docs/install.md"))
        named += re.findall(r"--set ([a-z][A-Za-z.]*)=", read(ROOT / "docs/install.md"))
        ours = [name for name in named if name.split(".")[0] in values]
        self.assertGreater(len(ours), 12)
        for name in ours:
            value = values
            for key in name.split("."):
                self.assertIn(key, value, name)
                value = value[key]

    def test_that_are_linked_exist(self):
        for document in DOCUMENTS:
            for link in re.findall(r"\]\(([^)#]+)\)", read(document)):
                if "://" not in link:
                    self.assertTrue((document.parent / link).exists(), f"{document} links {link}")


if __name__ == "__main__":
    unittest.main()
