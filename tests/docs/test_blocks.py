"""Every block of the documents is run, or is what the program says. A block that nobody knows how to check fails.

| language | what must hold |
|---|---|
| `console` | what is typed after `$` prints what stands below it; with `UPDATE_EXPECT=1` that is rewritten |
| `sh` | the command is run, or, where it needs a cluster, what it names and every flag exists |
| `promql` | promtool takes it, and its metrics exist |
| `yaml` | whoever reads such a file takes it: the program, Helm, promtool, Kubernetes' schemas |
| `text` | lines of a scrape are what the recorded node says; equations are those of the code |
| `log` | the program has these words |
| `python` | it is what the dashboards' source can read |
"""

import pathlib
import re
import sys
import tempfile
import unittest

import documents
import files
import program
import shell
from documents import DOCUMENTS, ROOT, read

# Labels that no exporter gives: Prometheus or its operator does.
OF_PROMETHEUS = {"cluster", "exported_namespace"}


class Blocks(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(tidied())
        _, cls.address = cls.enterClassContext(program.replay())
        cls.scrape, _ = program.run(f"curl --silent --fail http://{cls.address}/metrics", ROOT)
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def blocks(self, language):
        for document in DOCUMENTS:
            number, count = 0, len(documents.blocks(document))
            while number < count:
                # Read anew, as one that was rewritten may have moved those that follow.
                block = documents.blocks(document)[number]
                number += 1
                if block.language == language:
                    yield block

    def each(self, language, check):
        """Checks each block of a language, all of them even if one is wrong; gives what the checks gave."""
        found = []
        for block in self.blocks(language):
            with self.subTest(str(block)):
                found.append(check(block))
        return found

    def test_of_unknown_languages_are_none(self):
        known = {"console", "log", "promql", "python", "sh", "text", "yaml"}
        for document in DOCUMENTS:
            for block in documents.blocks(document):
                self.assertIn(block.language, known, f"{block}: nobody checks this")
            before = ""
            for number, line in documents.prose(document):
                is_code = line.startswith("    ") and not before.strip() and line.strip()
                self.assertFalse(is_code, f"{document.name}:{number}: an indented block is not checked, fence it")
                before = line if not line.startswith(("  ", "- ")) else "in a list"

    def test_console(self):
        self.assertGreater(len(self.each("console", self.console)), 5)

    def console(self, block):
        with tempfile.TemporaryDirectory() as directory:
            printed = shell.console(block, pathlib.Path(directory), self.address)
        if shell.alike(block.lines, printed):
            return
        if documents.is_blessed():
            documents.replace(block, printed)
        else:
            self.assertEqual(block.lines, printed)

    def test_sh(self):
        site = shell.Site(self.address)
        self.each("sh", site.check)
        self.assertGreater(site.count, 30)

    def test_promql(self):
        queries = self.each("promql", self.query)
        self.assertGreater(len(queries), 60)
        files.check_queries(queries, self.directory)

    def query(self, block):
        """Every metric that is asked for exists, and has the labels by which it is selected."""
        for name in files.metrics_in(block.text):
            self.assertTrue(name in files.known(), f"nobody makes {name}")
        for name, selected in re.findall(r"(\w+)\{([^}]*)\}", block.text):
            known = program.catalogue().get(name)
            for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selected):
                self.assertTrue(known is None or label in known | OF_PROMETHEUS, f"{name} has no label {label}")
        return block.text

    def test_yaml(self):
        kinds = self.each("yaml", lambda block: files.check(block, self.directory))
        known = {"prices", "labels", "web configuration", "values", "scrape", "scraper", "kustomization", "adapter", "relabelling"}
        self.assertEqual(set(kinds), known)

    def test_text(self):
        self.assertEqual(set(self.each("text", self.text)), {"ledger", "energy", "scrape"})

    def text(self, block):
        if "rate × elapsed" in block.text:
            self.assertTrue(f"```text\n{block.text}```" in read(ROOT / "ARCHITECTURE.md"), "another equation")
            return "ledger"
        if " = " in block.lines[0]:
            self.equations(block)
            return "energy"
        said = [line for line in self.scrape.splitlines() if not line.startswith("#")]
        for line in block.lines:
            self.assertTrue(any(shell.elided(line).fullmatch(one) for one in said), f"the node does not say {line}")
            labels = set(re.findall(r"(\w+)=\"", line))
            self.assertLessEqual(labels, program.catalogue()[line.partition("{")[0]], line)
        return "scrape"

    def equations(self, block):
        """Computes `name = expression` line by line for a demo, and compares with what it says."""
        with program.running("--demo", "--sample.interval=1s", until="SIMULATED") as (_, address):
            asked = f"curl --silent --fail http://{address}/metrics"
            metrics = program.eventually(
                lambda: files.sums(program.run(asked, ROOT)[0]),
                lambda sums: sums.get("gpu_cost_device_energy_dollars_total"),
            )
        values = {
            "joules": metrics["gpu_cost_device_energy_joules_total"],
            "host_factor": metrics["gpu_cost_host_power_ratio"],
            "pue": metrics["gpu_cost_power_usage_effectiveness_ratio"],
            "dollars_per_kWh": metrics["gpu_cost_energy_price_dollars_per_kilowatt_hour"],
            "grams_per_kWh": metrics["gpu_cost_grid_intensity_grams_per_kilowatt_hour"],
        }
        for line in block.lines:
            name, expression = line.split("=")
            code = re.sub(r"(\d),(\d)", r"\1\2", expression).replace("×", "*").replace("÷", "/").strip()
            code = re.sub(r"(\$|g)/kWh", lambda unit: {"$": "dollars", "g": "grams"}[unit[1]] + "_per_kWh", code)
            values[name.strip()] = eval(code, {}, values)  # pylint: disable=eval-used
        self.assertAlmostEqual(values["dollars"] / metrics["gpu_cost_device_energy_dollars_total"], 1, 6)
        self.assertAlmostEqual(values["grams"] / metrics["gpu_cost_device_co2e_grams_total"], 1, 6)

    def test_log(self):
        self.assertGreater(sum(self.each("log", self.log)), 15)

    def log(self, block):
        """The words of each line are in the program, between the colons, semicolons and full stops by which it puts
        them together. What differs from node to node is left out of the document as `…`."""
        for line in block.lines:
            pieces = [piece.strip().removeprefix("failed to ") for piece in re.split(r"…|; |: |\. ", line)]
            for piece in pieces:
                self.assertTrue(piece in program.sources(), f"the program does not say: {piece}")
            self.assertGreater(max(map(len, pieces)), 12, f"this says nothing: {line}")
        return len(block.lines)

    def test_python(self):
        sys.path.insert(0, str(ROOT / "dashboards"))
        from source import panels, words  # pylint: disable=import-outside-toplevel,import-error

        names = {**vars(panels), **vars(words)}
        made = self.each("python", lambda block: eval(block.text.rstrip(",\n"), names))  # pylint: disable=eval-used
        self.assertEqual([bool(panel) for panel in made], [True])


class Checks(unittest.TestCase):
    """What these checks look for is found where it is."""

    def test_of_blocks_see_them(self):
        text = "a\n```sh\nmake it\n```\n- b\n\n  ```promql\n  up\n  ```\n"
        found = documents.blocks(ROOT / "x.md", text)
        self.assertEqual([(block.language, block.text) for block in found], [("sh", "make it\n"), ("promql", "up\n")])
        self.assertEqual([block.line for block in found], [3, 8])
        with self.assertRaises(AssertionError):
            documents.blocks(ROOT / "x.md", "```sh\nmake it\n")

    def test_of_metrics_see_them(self):
        asked = 'sum by (team) (rate(a_total{x="b_c"}[5m])) / on (y) group_left (z) (c:d:e > 0) and time() offset 1d # f'
        self.assertEqual(files.metrics_in(asked), {"a_total", "c:d:e"})

    def test_of_outputs_see_a_difference(self):
        self.assertTrue(shell.alike(["a … c", "d"], ["a b c", "d"]))
        self.assertFalse(shell.alike(["a … c", "d"], ["a b c", "e"]))
        self.assertFalse(shell.alike(["a"], ["a", "b"]))

    def test_of_commands_refuse_what_does_not_exist(self):
        site = shell.Site("127.0.0.1:1")
        for wrong in [
            "make nothing", "frobnicate", "kubectl apply --server-side -k deploy/nowhere", "kubectl frob pods",
            "kubectl get configmap not-ours", "kubectl get pods --frob", "gpu-cost-exporter --not.a-flag",
            "helm install x deploy/helm/gpu-cost-exporter --set nothing.enabled=true", "python3 nowhere.py",
        ]:
            with self.subTest(wrong), self.assertRaises(AssertionError):
                site.command(wrong, ROOT / "x.md")
        site.command("kubectl apply --server-side -k deploy/kustomize/overlays/eks", ROOT / "x.md")
        site.command("make test", ROOT / "x.md")


def tidied():
    import contextlib  # pylint: disable=import-outside-toplevel

    stack = contextlib.ExitStack()
    stack.callback(program.tidy_up)
    return stack


if __name__ == "__main__":
    unittest.main()
