"""What docs/scale.md says is so: its formula, its tables, its snippets; and measuring works."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import formula
import remote
import tables
from formula import SHAPES
from nodes import Exporter, replayed, samples

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["GPU_COST_EXPORTER"]

# Series of the exporter about itself that a replayed trace has not: it knows no source but the price list.
NOT_REPLAYED = 18
# And of those of a node, what is missing while neither kubelet nor API server was ever reached: the kubelet's time and
# duration, the age of its answer, the API server's four.
NOT_REACHED = 7


class Formula(unittest.TestCase):
    def test_counts_the_series_of_every_shape(self):
        for name, shape in SHAPES.items():
            for level in formula.LEVELS:
                with self.subTest(name, level=level), tempfile.TemporaryDirectory() as directory:
                    with replayed(BINARY, shape, level, directory) as exporter:
                        text = exporter.scrape_until(lambda text: "gpu_cost_node_gpus" in text)
                    self.assertEqual(shape.series(level) - NOT_REPLAYED, len(samples(text)))

    def test_counts_what_a_node_says_about_itself(self):
        with tempfile.TemporaryDirectory() as directory:
            description = pathlib.Path(directory, "node.json")
            description.write_text(os.environ["FAKE_NVML_DESCRIPTION"], encoding="utf-8")
            args = [f"--nvml.library={os.environ['FAKE_NVML_LIBRARY']}", f"--kubelet.socket={directory}/none",
                    "--holders=kubelet", "--kubernetes.api=off", f"--state.dir={directory}/state", "--node.name=n"]
            with Exporter(BINARY, *args, env={"FAKE_NVML_NODE": str(description)}) as exporter:
                text = exporter.scrape_until(lambda text: len(re.findall("_source_last_success", text)) >= 2 + 2)
        ours = [line for line in samples(text) if "gpu_uuid" not in line and "gpu_cost_showback" not in line]
        self.assertEqual(formula.NODE - NOT_REACHED, len(ours), "\n".join(ours))

    def test_counts_what_the_rules_record(self):
        measured = json.loads(tables.MEASURED.read_text(encoding="utf-8"))
        nodes = measured["nodes"]
        # What the demo's node has; a few minutes have one tariff.
        gpus, payers, one = 8, 13, formula.TARIFFS
        for level, found in measured["levels"].items():
            recorded = found["recorded"]
            with self.subTest(level):
                self.assertEqual(recorded["device"], nodes * gpus * formula.GPU_MINUTE)
                self.assertEqual(recorded["node"], nodes * (formula.NODE_MINUTE + formula.NODE_PERIOD + (formula.NODE_HOUR - 1) // one))
                snapshots = formula.snapshots(formula.Shape(payers=payers))
                self.assertAlmostEqual(recorded["snapshot"], nodes * (gpus * formula.GPU_HOUR + snapshots + 1), delta=nodes * 8)
                lines = payers + 4 / 5
                of_payer = formula.PAYER_MINUTE + (formula.PAYER_PERIOD + formula.PAYER_HOUR) / one
                self.assertAlmostEqual(recorded["showback"], lines * of_payer, delta=of_payer)


class Document(unittest.TestCase):
    maxDiff = None

    def test_has_the_tables_of_what_was_measured(self):
        expected = tables.written()
        if os.environ.get("UPDATE_EXPECT"):
            tables.DOCUMENT.write_text(expected, encoding="utf-8")
        self.assertEqual(tables.DOCUMENT.read_text(encoding="utf-8"), expected, "run `make bless`")

    def test_sends_what_is_recorded_and_no_more(self):
        recorded = {name for file in ROOT.glob("rules/*.yml") if not file.stem.startswith("compat")
                    for name in re.findall(r"record: \"?([\w:]+)", file.read_text(encoding="utf-8"))}
        sent = {name for name in recorded if passes(name, "Recorded")}
        self.assertGreater(len(sent), 80)
        kept_here = {name for name in recorded - sent}
        self.assertTrue(all(name.split(":")[0] in ("device", "node_showback", "pod") or name.endswith(":snapshot")
                            for name in kept_here), kept_here)
        raw = set(re.findall(r"^\| `(gpu_cost_\w+)`", (ROOT / "METRICS.md").read_text(encoding="utf-8"), re.MULTILINE))
        self.assertEqual({name for name in raw if passes(name, "Recorded")}, set())
        self.assertEqual({name for name in raw | {"up"} if not passes(name, "Agent")}, set())


def passes(name, which):
    """Whether a name gets through the relabelling of a snippet."""
    (written,) = remote.snippet(which)["remote_write"]
    for rule in written["write_relabel_configs"]:
        if rule.get("source_labels") == ["__name__"]:
            if bool(re.fullmatch(rule["regex"], name)) == (rule["action"] == "drop"):
                return False
    return True


class Measuring(unittest.TestCase):
    def test_works_with_two_nodes(self):
        """A few seconds of each stage; that numbers are there and sums are equal, not what they are."""
        command = [sys.executable, "-B", "measure.py", BINARY, "--nodes=2", "--level=pod", "--quick"]
        run = subprocess.run(command, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        measured = json.loads(run.stdout)
        level = measured["levels"]["pod"]
        self.assertGreater(level["filled"]["scraped"], 1000)
        self.assertGreater(level["disk"]["bytes_per_sample"], 0)
        self.assertGreater(level["recorded"]["showback"], 0)
        for name, found in measured["remote"]["recorded"]["differ"].items():
            self.assertGreater(found["compared"], 20, name)
            self.assertEqual(found["differ"], 0, name)
        self.assertLess(measured["remote"]["agent"]["bill_differs_by"], 1e-12)


if __name__ == "__main__":
    unittest.main()
