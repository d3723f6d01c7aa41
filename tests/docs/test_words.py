"""What stands between backticks in the documents exists, and so does what is linked."""

import re
import unittest

import program
from documents import DOCUMENTS, ROOT, anchors, everywhere, prose, quoted, read
from files import support

SITE = "https://github.com/gpu-cost-exporter/gpu-cost-exporter/blob/main/"

# Flags of other programs that the documents name.
FOREIGN_FLAGS = {
    "--cacert", "--create-namespace", "--enable-feature", "--from-file", "--namespace", "--reuse-values", "--root-dir",
    "--document", "--query.replica-label", "--server-side", "--set", "--storage.tsdb.retention.time", "--test", "--values",
    "--web.enable-remote-write-receiver",
}

# What others write as the chart writes its values.
FOREIGN_VALUES = {
    "allowPrivilegeEscalation", "hostPID", "hostPath", "honorLabels", "maxUnavailable", "overrideHonorLabels", "remoteWrite", "sourceLabels",
    "tcpSocket", "writeRelabelConfigs",
}

# Names of others that begin as ours do.
FOREIGN_NAMES = {"gpu_cost_budget_dollars"}

FILES = (".yaml", ".yml", ".json", ".md", ".sh", ".rs", ".py")


def marked(pattern):
    """What fits the pattern between backticks in the documents that operators read, each with its place."""
    for document in DOCUMENTS:
        for line, text in quoted(document):
            for found in re.finditer(pattern, text):
                yield f"{document.relative_to(ROOT)}:{line}", found


class Words(unittest.TestCase):
    maxDiff = None

    def none(self, found, unknown, at_least):
        """Fails with all that is unknown, or if there was too little to look at: then the looking is wrong."""
        self.assertEqual(unknown, [])
        self.assertGreater(len(found), at_least)

    def test_name_flags_that_exist(self):
        known = set().union(*(program.flags(name) for name in program.helps())) | FOREIGN_FLAGS
        found = list(marked(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]"))
        self.none(found, [f"{place}: {flag[0]}" for place, flag in found if flag[0] not in known], 40)

    def test_name_variables_that_exist(self):
        helps = "".join(program.helps().values())
        found = list(marked(r"\bGPU_COST_[A-Z_]+|\bPRICING_CONFIG\b"))
        self.none(found, [f"{place}: {name[0]}" for place, name in found if f"[env: {name[0]}=" not in helps], 3)

    def test_name_metrics_that_exist_with_their_labels(self):
        found = list(marked(r"(?<![\w:])((?:\w+:)*gpu_cost[\w:]+)(\*?)(?:\{([^}]*)\})?"))
        wrong = [f"{place}: {text[0]}" for place, text in found if not self.is_metric(*text.groups())]
        self.none(found, wrong, 50)

    def is_metric(self, name, star, labels):
        recorded, rules = program.recorded()
        known = set(program.catalogue()) | recorded | FOREIGN_NAMES
        if star or name.endswith("_"):
            return any(each.startswith(name) for each in known)
        if name.startswith("gpu_cost:"):
            return name in rules
        of_it = program.catalogue().get(name)
        return name in known and (of_it is None or set(re.findall(r"(\w+)=", labels or "")) <= of_it)

    def test_name_values_of_the_chart_that_exist(self):
        values = support.load(support.CHART / "values.yaml")
        nested = [
            (place, name) for place, name in marked(r"^([a-z]\w*(?:\.[a-z]\w*)+)(?:=\S*)?$")
            if name[1].partition(".")[0] in values and not name[1].endswith(FILES)
        ]
        plain = [(place, name) for place, name in marked(r"^([a-z]+[A-Z]\w+)(?:: .*)?$") if name[1] not in FOREIGN_VALUES
                 and not name[1].startswith("nvml")]
        found = nested + plain
        self.none(found, [f"{place}: {name[1]}" for place, name in found if not has(values, name[1])], 15)

    def test_say_make_what_can_be_made(self):
        makefile = read(ROOT / "Makefile")
        found = list(marked(r"^make ([a-z][a-z-]*)"))
        wrong = [f"{place}: {it[0]}" for place, it in found if not re.search(rf"(?m)^{it[1]}:", makefile)]
        self.none(found, wrong, 2)

    def test_count_what_is_built_in_as_it_is(self):
        rows = len(read(ROOT / "data/gpu_instance_prices.csv").splitlines()) - 1
        texts = [read(document) for document in DOCUMENTS]
        said = [number for text in texts for number in re.findall(r"([\d,]+)(?: cloud)? instances", text)]
        self.assertEqual(set(said), {f"{rows:,}"})


class Links(unittest.TestCase):
    def test_lead_somewhere(self):
        found, wrong = 0, []
        for document in everywhere():
            for line, text in prose(document):
                for link in re.findall(r"\]\(([^)\s]+)\)", text):
                    if "://" in link and not link.startswith(SITE):
                        continue
                    found += 1
                    if not leads(document, link):
                        wrong.append(f"{document.relative_to(ROOT)}:{line}: {link}")
        self.assertEqual(wrong, [])
        self.assertGreater(found, 80)

    def test_of_the_index_have_every_document(self):
        index = read(ROOT / "docs/README.md")
        missing = [document.name for document in DOCUMENTS[1:] if f"]({document.name})" not in index]
        self.assertEqual(missing, ["README.md"], "docs/README.md does not list them")

    def test_of_alerts_lead_to_their_section(self):
        sections = anchors(ROOT / "docs/alerts.md")
        self.assertEqual(set(re.findall(r"docs/alerts\.md#([\w-]+)", program.recorded()[1])) - sections, set())


class Size(unittest.TestCase):
    def test_of_the_first_page_is_a_screen(self):
        self.assertLessEqual(len(read(ROOT / "README.md").splitlines()), 90)


def has(values, name):
    """Whether the chart has a value of this name, with dots between its keys."""
    for key in name.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def leads(document, link):
    """Whether there is a file where a link leads, and a heading where its anchor does."""
    path, _, anchor = link.removeprefix(SITE).partition("#")
    target = ((ROOT if link.startswith(SITE) else document.parent) / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in anchors(target))


if __name__ == "__main__":
    unittest.main()
