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
    """Each command of the document's shell blocks, with the variables that the document sets."""
    variables = dict(re.findall(r"`?\b(MONITORING)` stands for `([^`]+)`", read(document)))
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
                    for each in given(command, "--set"):
                        values |= helm_python.parse_set_string(each)
                    self.assertNotIn("$", " ".join(command))
                    support.validate(render(values, name=command[2], namespace=given(command, "--namespace")[0]))
        self.assertGreater(count, 7)

    def test_of_kubectl_apply_something_valid(self):
        applied = set()
        for document in DOCUMENTS:
            for command in commands(document):
                for directory in given(command, "-k"):
                    self.assertIn("--server-side", command)
                    support.validate(support.kustomize(ROOT / directory))
                    applied.add(pathlib.Path(directory).name)
        self.assertEqual(applied, {path.name for path in (ROOT / "deploy/kustomize/overlays").iterdir()})

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
        (wanted,) = [block for block in blocks(ROOT / "docs/install.md", "yaml") if "Kustomization" in block]
        self.assertIn(SITE, wanted)
        with tempfile.TemporaryDirectory() as directory:
            for part in ["deploy/kustomize", "rules", "dashboards"]:
                shutil.copytree(ROOT / part, f"{directory}/{part}")
            ours = pathlib.Path(directory, "ours")
            ours.mkdir()
            (ours / "kustomization.yaml").write_text(re.sub(r"\?ref=\S+", "", wanted.replace(SITE, "../")))
            found = support.kustomize(ours)
        support.validate(found)
        image = support.container(support.one(found, "DaemonSet"))["image"]
        self.assertTrue(image.startswith("registry.example.com/"), image)

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
