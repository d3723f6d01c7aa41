"""The kustomizations, built by kustomize; and that they and the chart install the same."""

import csv
import json
import pathlib
import re
import shutil
import tempfile
import unittest

import yaml

import support
from support import KUSTOMIZE, ROOT, container, kinds, kustomize, one, read, render

OVERLAYS = sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "components").iterdir())

# Flags that the manifests already pass and the program gets from other changes. It is to become empty.
COMING = set()


def base():
    return kustomize(KUSTOMIZE / "base")


def with_components(*names):
    """The base with these components, as a user's kustomization has them. It is beside a copy of ours, because other tests
    read the repository at the same time."""
    with tempfile.TemporaryDirectory() as directory:
        for part in ["deploy/kustomize", "rules", "dashboards"]:
            shutil.copytree(ROOT / part, f"{directory}/{part}")
        wanted = {
            "resources": ["../deploy/kustomize/base"],
            "components": [f"../deploy/kustomize/components/{name}" for name in names],
        }
        ours = pathlib.Path(directory, "ours")
        ours.mkdir()
        (ours / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
        return kustomize(ours)


class Kustomizations(unittest.TestCase):
    def test_are_there_for_every_cloud(self):
        self.assertLessEqual({"gke", "eks", "aks", "openshift", "ack", "prometheus"}, set(OVERLAYS))

    def test_are_what_an_api_server_accepts(self):
        support.validate(base())
        for name in OVERLAYS:
            with self.subTest(name):
                found = kustomize(KUSTOMIZE / "overlays" / name)
                support.validate(found)
                for each in found:
                    if each["kind"] == "PrometheusRule":
                        support.check_rules(each["spec"])

    def test_components_fit_the_base_one_by_one_and_together(self):
        for name in COMPONENTS:
            with self.subTest(name):
                found = with_components(name)
                support.validate(found)
                self.assertNotEqual(found, base(), "it changes something")
        support.validate(with_components(*[name for name in COMPONENTS if name not in ("gke", "servicemonitor")]))

    def test_of_the_base_need_no_kind_of_somebody_else(self):
        for each in base():
            self.assertNotIn(f"{each['apiVersion']}/{each['kind']}", support.kinds_of_others())

    def test_of_gke_mount_its_driver(self):
        daemonset = one(kustomize(KUSTOMIZE / "overlays/gke"), "DaemonSet")
        chart = one(render({"driver": {"delivery": "gke"}}), "DaemonSet")
        self.assertEqual(container(daemonset)["securityContext"], container(chart)["securityContext"])
        self.same_volumes(daemonset, chart)

    def test_of_openshift_are_the_charts(self):
        found, chart = with_components("openshift", "runtimeclass"), render(support.load(support.CHART / "ci/openshift-values.yaml"))
        self.assertEqual(container(one(found, "DaemonSet"))["securityContext"], container(one(chart, "DaemonSet"))["securityContext"])
        constraints = [one(objects, "SecurityContextConstraints") for objects in [found, chart]]
        for each in constraints:
            del each["metadata"]["labels"]
        self.assertEqual(*constraints)

    def same_volumes(self, ours, chart):
        for part in [lambda it: it["spec"]["template"]["spec"]["volumes"], lambda it: container(it)["volumeMounts"]]:
            by_name = [{each["name"]: each for each in part(daemonset)} for daemonset in [ours, chart]]
            self.assertEqual(*by_name)


class Agreement(unittest.TestCase):
    """Two ways to install, one result."""

    maxDiff = None

    def test_of_the_daemonsets(self):
        ours, chart = one(base(), "DaemonSet"), one(render(), "DaemonSet")
        for part in ["args", "env", "ports", "image", "securityContext", "resources", "livenessProbe", "readinessProbe"]:
            self.assertEqual(container(ours)[part], container(chart)[part], part)
        Kustomizations.same_volumes(self, ours, chart)
        specs = [each["spec"]["template"]["spec"] for each in [ours, chart]]
        for part in ["affinity", "tolerations", "nodeSelector", "priorityClassName", "terminationGracePeriodSeconds", "enableServiceLinks", "serviceAccountName"]:
            self.assertEqual(*(spec[part] for spec in specs), part)
        for namespace in ["hostPID", "hostNetwork", "hostIPC"]:
            self.assertFalse([spec for spec in specs if namespace in spec])
        self.assertEqual(ours["spec"]["updateStrategy"], chart["spec"]["updateStrategy"])

    def test_of_what_is_granted(self):
        ours, chart = base(), render()
        self.assertEqual(one(ours, "ClusterRole")["rules"], one(chart, "ClusterRole")["rules"])
        for part in ["roleRef", "subjects"]:
            self.assertEqual(one(ours, "ClusterRoleBinding")[part], one(chart, "ClusterRoleBinding")[part])
        for each in ours + chart:
            for rule in each.get("rules", []):
                self.assertLessEqual(set(rule["verbs"]), {"get", "list", "watch"}, "it only reads")

    def test_of_the_rest(self):
        chart = render({option: {"enabled": True} for option in ["podMonitor", "networkPolicy", "kyverno", "hpa"]})
        ours = with_components("podmonitor", "networkpolicy", "kyverno", "hpa")
        self.assertEqual(one(ours, "Service")["spec"]["ports"], one(chart, "Service")["spec"]["ports"])
        self.assertEqual(one(ours, "ResourceQuota")["spec"], one(chart, "ResourceQuota")["spec"])
        self.assertEqual(one(ours, "PodMonitor")["spec"]["podMetricsEndpoints"], one(chart, "PodMonitor")["spec"]["podMetricsEndpoints"])
        for part in ["ingress", "egress", "policyTypes"]:
            self.assertEqual(*(one(objects, "NetworkPolicy")["spec"][part] for objects in [ours, chart]))
        patterns = [[(r["match"], r["validate"]["pattern"]) for r in one(objects, "ClusterPolicy")["spec"]["rules"]] for objects in [ours, chart]]
        self.assertEqual(*patterns)
        self.assertEqual(one(ours, "HorizontalPodAutoscaler")["spec"], one(chart, "HorizontalPodAutoscaler")["spec"])


class Program(unittest.TestCase):
    """What the manifests say about it is so."""

    def test_has_every_flag(self):
        known = set(re.findall(r"--[a-z][a-z0-9.-]*", read(ROOT / "tests/it/golden/help.txt")))
        rendered = [render(support.load(file)) for file in (support.CHART / "ci").glob("*.yaml")]
        used = {
            arg.partition("=")[0]
            for found in [*rendered, base()]
            for arg in container(one(found, "DaemonSet"))["args"]
        }
        self.assertGreater(len(used), 10)
        self.assertEqual(used - known - COMING, set(), "the program has no such flags")
        self.assertEqual(COMING & known, set(), "it has them now: take them out of COMING")
        self.assertLessEqual(COMING, used, "nobody passes them: take them out of COMING")

    def test_runs_on_every_aws_instance_whose_price_it_knows(self):
        with open(ROOT / "data/gpu_instance_prices.csv", encoding="utf-8") as file:
            known = {row["instance_type"] for row in csv.DictReader(line for line in file if not line.startswith("#")) if row["provider"] == "aws"}
        spec = one(base(), "DaemonSet")["spec"]["template"]["spec"]
        terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        values = [each["values"] for term in terms for each in term["matchExpressions"] if each["key"] == "node.kubernetes.io/instance-type"]
        self.assertEqual(values and set(values[0]), known)

    def test_is_scraped_by_a_prometheus_without_the_operator_as_with_it(self):
        found = kustomize(KUSTOMIZE / "overlays/prometheus")
        (job,) = yaml.safe_load(one(found, "ConfigMap", "gpu-cost-exporter-prometheus")["data"]["scrape.yml"])
        self.assertTrue(job["honor_labels"])
        self.assertEqual(job["relabel_configs"][-1], {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "instance"})
        rules = one(found, "ConfigMap", "gpu-cost-exporter-rules")["data"]
        usual = [file for file in support.RULES.glob("*.yml") if not file.stem.startswith("compat")]
        self.assertEqual(rules, {file.name: read(file) for file in usual})
        self.assertNotIn("PodMonitor", kinds(found))

    def test_needs_no_more_of_the_namespace_than_it_says(self):
        namespace = one(base(), "Namespace")
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged")
        self.assertIn("hostPath", json.dumps(one(base(), "DaemonSet")))


if __name__ == "__main__":
    unittest.main()
