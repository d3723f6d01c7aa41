"""The Helm chart, rendered by Helm."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import helm_python
import yaml

import chart_values
import support
from support import CHART, RULES, container, kinds, one, read, render

MATRIX = sorted((CHART / "ci").glob("*-values.yaml"))

NVIDIA = ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_DISABLE_REQUIRE"]


def values(name):
    return support.load(CHART / f"ci/{name}-values.yaml")


def pod(**given):
    """The pod's spec and its container, with these values."""
    daemonset = one(render(given), "DaemonSet")
    return daemonset["spec"]["template"]["spec"], container(daemonset)


def volumes(spec):
    return {volume["name"]: volume for volume in spec["volumes"]}


def mounts(container):
    return {mount["name"]: mount for mount in container["volumeMounts"]}


class EveryCombination(unittest.TestCase):
    def test_is_what_an_api_server_accepts(self):
        for given in [{}, *map(support.load, MATRIX)]:
            with self.subTest(given):
                support.validate(render(given))

    def test_passes_helms_own_lint(self):
        for given in [{}, *map(support.load, MATRIX)]:
            report = helm_python.lint(CHART, given, strict=True)
            complaints = [each for each in report["messages"] if each["severity"] > 1]
            self.assertEqual((complaints, report["errors"]), ([], []), given)

    def test_says_what_to_do_next(self):
        for given in [{}, *map(support.load, MATRIX)]:
            self.assertIn("kubectl -n", support.notes(given))
        self.assertIn("Nothing scrapes it yet", support.notes())
        self.assertIn("releaseLabel", support.notes({"podMonitor": {"enabled": True}}))
        self.assertIn("45d", support.notes(values("everything")))
        self.assertIn("begin anew", support.notes(values("nothing")))
        self.assertIn("is privileged", support.notes(values("gke")))
        budgets = {"budgets": [{"dollars": 1}]}
        ignored, linked = "Budgets are rules", "links of alerts"
        self.assertIn(ignored, support.notes(budgets))
        self.assertNotIn(ignored, support.notes(budgets | {"prometheusRule": {"enabled": True}}))
        self.assertNotIn(ignored, support.notes())
        self.assertIn(linked, support.notes({"prometheusRule": {"enabled": True}}))
        self.assertNotIn(linked, support.notes({"prometheusRule": {"enabled": True, "grafanaUrl": "https://g.example.com"}}))

    def test_stays_out_of_the_way_of_another_release(self):
        one_release = {(each["kind"], each["metadata"]["name"]) for each in render(values("everything"), name="a")}
        other = {(each["kind"], each["metadata"]["name"]) for each in render(values("everything"), name="b")}
        # What is named by the values is the same; these are.
        same = {("ServiceAccount", "gpu-cost"), ("HorizontalPodAutoscaler", "inference")}
        same |= {("ConfigMap", "one"), ("ConfigMap", "two")}
        self.assertEqual(one_release & other, same)

    def test_keeps_names_short_enough(self):
        for each in render(values("everything"), name="r" * 53):
            # A Service's name is a name in DNS, a DaemonSet's becomes a label.
            longest = 63 if each["kind"] in ("Service", "DaemonSet") else 253
            self.assertLessEqual(len(each["metadata"]["name"]), longest)


class Defaults(unittest.TestCase):
    def test_need_no_kind_of_somebody_else(self):
        expected = ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "ResourceQuota", "Service", "ServiceAccount"]
        self.assertEqual(kinds(render()), expected)

    def test_ask_for_the_least_rights_that_work(self):
        spec, exporter = pod()
        context = exporter["securityContext"]
        self.assertFalse(context["privileged"] or context["allowPrivilegeEscalation"])
        self.assertTrue(context["readOnlyRootFilesystem"])
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
        self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
        for namespace in ["hostPID", "hostNetwork", "hostIPC"]:
            self.assertNotIn(namespace, spec)
        writable = [name for name, mount in mounts(exporter).items() if not mount.get("readOnly")]
        self.assertEqual(writable, ["state"])
        paths = {volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
        self.assertEqual(paths, {"/var/lib/kubelet/pod-resources", "/proc", "/var/lib/gpu-cost-exporter"})
        self.assertEqual(mounts(exporter)["pod-resources"]["mountPath"], "/var/lib/kubelet/pod-resources")

    def test_ask_for_no_gpu_but_for_all(self):
        _, exporter = pod()
        self.assertNotIn("nvidia.com/gpu", json.dumps(exporter["resources"]))
        given = {each["name"]: each.get("value") for each in exporter["env"]}
        self.assertEqual([given[name] for name in NVIDIA], ["all", "utility", "true"])
        self.assertNotIn("NVIDIA_MIG_MONITOR_DEVICES", given)

    def test_stop_later_than_the_exporter_does(self):
        spec, exporter = pod()
        self.assertIn("--shutdown.grace=35s", exporter["args"])
        self.assertGreater(spec["terminationGracePeriodSeconds"], 35 + 5)

    def test_write_no_price(self):
        found = render()
        self.assertNotIn("ConfigMap", kinds(found))
        spec, exporter = pod()
        self.assertTrue(volumes(spec)["config"]["configMap"]["optional"])
        self.assertNotIn("--pricing", " ".join(exporter["args"]))
        self.assertNotIn("PRICING_CONFIG", [each["name"] for each in exporter["env"]])

    def test_are_described_one_by_one(self):
        self.assertEqual(chart_values.undescribed(read(CHART / "values.yaml")), [])

    def test_are_what_the_schema_knows(self):
        schema = json.loads(read(CHART / "values.schema.json"))

        def compare(known, given, path):
            names = set(known["properties"]) - ({"global"} if not path else set())
            self.assertEqual(names, set(given), path)
            for name, inner in given.items():
                if known["properties"][name].get("additionalProperties") is False and isinstance(inner, dict) and inner:
                    if set(known["properties"][name]["properties"]) >= set(inner) and name not in PARTLY:
                        compare(known["properties"][name], inner, f"{path}{name}.")

        # Objects of Kubernetes, of which the defaults have a part.
        PARTLY = {"resources", "updateStrategy"}
        compare(schema, support.load(CHART / "values.yaml"), "")


class Values(unittest.TestCase):
    def test_that_are_wrong_are_refused_by_name(self):
        for given, expected in [
            ({"podMonitr": {}}, "podMonitr"),
            ({"podMonitor": {"enable": True}}, "enable"),
            ({"podMonitor": {"interval": "30"}}, "interval"),
            ({"driver": {"delivery": "GKE"}}, "delivery"),
            ({"image": {"digest": "sha256:12"}}, "digest"),
            ({"sampleInterval": "1m"}, "sampleInterval"),
            ({"extraArgs": ["demo"]}, "extraArgs"),
            ({"kubeletPath": "pod-resources"}, "kubeletPath"),
            ({"budgets": [{"scope": "team"}]}, "budgets"),
            ({"budgets": [{"dollars": 0}]}, "budgets"),
            ({"costLabels": {"namespace": {}}}, "namespace"),
            ({"pricingModel": "free"}, "pricingModel"),
            ({"pricing": []}, "pricing"),
            ({"webConfig": {"scheme": "HTTPS"}}, "scheme"),
            ({"kyverno": {"failureAction": "enforce"}}, "failureAction"),
            ({"prometheusRule": {"settings": {"a": "b"}}}, "settings"),
            ({"prometheusRule": {"thresholds": {"HighIdleCost": "off"}}}, "thresholds"),
        ]:
            with self.subTest(given), self.assertRaisesRegex(helm_python.HelmError, expected):
                render(given)

    def test_that_contradict_each_other_are_refused_with_the_reason(self):
        for given, expected in [
            ({"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}, "scraped twice"),
            ({"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}, "needs service.enabled"),
            ({"hpa": {"enabled": True, "waitingRequests": 0, "gpuUtilizationPercent": 0}}, "without a metric"),
            ({"openshift": {"enabled": True}, "driver": {"delivery": "gke"}}, "runtimeClassName"),
            ({"prometheusRule": {"enabled": True, "settings": {"utc": 1}}}, "settings.utc: there is no such one; there are utc_offset_hours"),
            ({"prometheusRule": {"enabled": True, "thresholds": {"HighIdle": 1}}}, "thresholds.HighIdle: .* HighIdleCost"),
            ({"prometheusRule": {"enabled": True, "disabled": ["nope"]}}, "disabled: there is no file nope; there are alerts-budget, "),
            ({"prometheusRule": {"enabled": True}, "budgets": [{"dollars": 1, "scope": "team"}]}, "needs its name"),
        ]:
            with self.subTest(given), self.assertRaisesRegex(helm_python.HelmError, expected):
                render(given)

    def test_become_flags(self):
        _, exporter = pod(**values("everything"))
        for flag in [
            "--web.listen-address=:9999",
            "--sample.interval=5s",
            "--log.format=text",
            "--log.level=info,kube=debug",
            "--pricing.model=reserved_1y",
            "--pricing.catalogue=off",
            "--kubelet.resource=example.com/shared-*",
            "--web.config.file=/etc/web-config/web-config.yml",
        ]:
            self.assertIn(flag, exporter["args"])
        self.assertEqual(exporter["args"][-1], "--ledger.idle-threshold=5%", "what is given last counts")
        _, exporter = pod(**values("nothing"))
        self.assertIn("--kubernetes.api=off", exporter["args"])
        self.assertNotIn("--state.dir", " ".join(exporter["args"]))
        self.assertEqual(set(mounts(exporter)), {"pod-resources", "config"})

    def test_name_the_image(self):
        self.assertEqual(pod()[1]["image"], "ghcr.io/gpu-cost-exporter/gpu-cost-exporter:0.1.0")
        _, exporter = pod(**values("servicemonitor"))
        self.assertRegex(exporter["image"], "^ghcr.io/.*exporter@sha256:[0-9a-f]{64}$")

    def test_without_an_api_server_grant_nothing(self):
        found = render(values("nothing"))
        self.assertEqual(kinds(found), ["DaemonSet", "NetworkPolicy"])
        self.assertIs(one(found, "DaemonSet")["spec"]["template"]["spec"]["automountServiceAccountToken"], False)
        self.assertEqual(one(found, "NetworkPolicy")["spec"]["egress"], [])


class Driver(unittest.TestCase):
    def test_by_the_runtime_needs_no_mount(self):
        spec, _ = pod(runtimeClassName="nvidia")
        self.assertEqual(spec["runtimeClassName"], "nvidia")
        self.assertNotIn("driver", volumes(spec))

    def test_of_gke_and_of_the_operator_is_mounted_where_the_exporter_looks(self):
        searched = read(support.ROOT / "src/nvml/library.rs")
        for delivery, host, inside, library in [
            ("gke", "/home/kubernetes/bin/nvidia", "/usr/local/nvidia", "/usr/local/nvidia/lib64"),
            ("operator", "/run/nvidia/driver", "/run/nvidia/driver", "/run/nvidia/driver/usr/lib/x86_64-linux-gnu"),
        ]:
            spec, exporter = pod(driver={"delivery": delivery})
            self.assertEqual(volumes(spec)["driver"]["hostPath"]["path"], host)
            self.assertEqual(mounts(exporter)["driver"]["mountPath"], inside)
            self.assertTrue(mounts(exporter)["driver"]["readOnly"])
            self.assertIn(f'"{library}"', searched)
            context = exporter["securityContext"]
            # Kubernetes refuses other combinations.
            self.assertTrue(context["privileged"] and context["allowPrivilegeEscalation"])
            self.assertNotIn("seccompProfile", context)
            self.assertTrue(context["readOnlyRootFilesystem"])

    def test_of_bottlerocket_is_asked_for_by_a_mount(self):
        spec, exporter = pod(driver={"delivery": "volume-mounts"})
        self.assertEqual(volumes(spec)["driver"]["hostPath"]["path"], "/dev/null")
        self.assertEqual(mounts(exporter)["driver"]["mountPath"], "/var/run/nvidia-container-devices/all")
        self.assertFalse(exporter["securityContext"]["privileged"])


class Prices(unittest.TestCase):
    """What is written in the values is what the program reads."""

    def checked(self, pricing):
        config = one(render({"pricing": pricing}), "ConfigMap")
        self.assertEqual(set(config["data"]), {"pricing.yaml"})
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory, "pricing.yaml")
            file.write_text(config["data"]["pricing.yaml"])
            program = os.environ["GPU_COST_EXPORTER"]
            said = subprocess.run([program, "check", file], capture_output=True, text=True, check=False)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
            return said.stdout, yaml.safe_load(config["data"]["pricing.yaml"])

    def test_of_every_kind_pass_its_check(self):
        for file in sorted((support.ROOT / "tests/pricing").glob("version-*.yaml")):
            written = json.loads(json.dumps(support.load(file), default=str))
            _, read_back = self.checked(written)
            self.assertEqual(json.loads(json.dumps(read_back, default=str)), written)

    def test_of_tokens_keep_their_last_digit(self):
        said, read_back = self.checked(values("prices")["pricing"])
        self.assertIn("1 GPU model, 1 model cost", said)
        tokens = read_back["model_costs"]["llama-2-7b"]
        self.assertEqual([float(tokens[key]) for key in ["input_tokens", "output_tokens"]], [1e-07, 2.5e-07])

    def test_change_without_a_restart_of_any_pod(self):
        some = {"pricing": {"gpu_pricing": {"nvidia-t4": {"on_demand": 1}}}}
        more = {"pricing": {"gpu_pricing": {"nvidia-t4": {"on_demand": 2}}}}
        self.assertNotEqual(one(render(some), "ConfigMap"), one(render(more), "ConfigMap"))
        self.assertEqual(one(render(some), "DaemonSet"), one(render(more), "DaemonSet"))

    def test_name_the_schema_for_editors(self):
        config = one(render({"pricing": {"gpu_pricing": {"nvidia-t4": {"on_demand": 1}}}}), "ConfigMap")
        wanted = (support.ROOT / "pricing.yaml").read_text().splitlines()[0]
        self.assertEqual(config["data"]["pricing.yaml"].splitlines()[0], wanted)


class Monitoring(unittest.TestCase):
    def test_targets_are_nodes_and_lines_name_who_pays(self):
        for kind, given, key in [
            ("PodMonitor", {"podMonitor": {"enabled": True}}, "podMetricsEndpoints"),
            ("ServiceMonitor", {"serviceMonitor": {"enabled": True}}, "endpoints"),
        ]:
            found = render(given)
            monitor = one(found, kind)
            (endpoint,) = monitor["spec"][key]
            self.assertTrue(endpoint["honorLabels"])
            instance, shard, job, dropped = endpoint["relabelings"]
            self.assertEqual(shard, {**instance, "targetLabel": "__tmp_hash"})
            self.assertEqual(job, {"targetLabel": "job", "replacement": "gpu-cost-exporter"})
            self.assertEqual(instance["sourceLabels"], ["__meta_kubernetes_pod_node_name"])
            self.assertEqual(instance["targetLabel"], "instance")
            self.assertEqual(set(dropped["regex"].split("|")), {"pod", "container", "endpoint", "service", "namespace"})
            selected = monitor["spec"]["selector"]["matchLabels"].items()
            target = one(found, "DaemonSet")["spec"]["template"] if kind == "PodMonitor" else one(found, "Service")
            self.assertLessEqual(selected, target["metadata"]["labels"].items())
            self.assertEqual(monitor["spec"]["namespaceSelector"], {"matchNames": [support.NAMESPACE]})
            ports = container(one(found, "DaemonSet"))["ports"] if kind == "PodMonitor" else one(found, "Service")["spec"]["ports"]
            self.assertIn(endpoint["port"], [port["name"] for port in ports])

    def test_carries_the_release_that_prometheus_looks_for(self):
        found = render(values("everything"))
        for kind in ["PodMonitor", "PrometheusRule"]:
            for each in found:
                if each["kind"] == kind:
                    self.assertEqual(each["metadata"]["labels"]["release"], "kube-prometheus-stack")
                    self.assertEqual(each["metadata"]["namespace"], "monitoring")

    def test_with_tls_reaches_probes_and_scrapes(self):
        found = render(values("everything"))
        exporter = container(one(found, "DaemonSet"))
        for probe in ["livenessProbe", "readinessProbe"]:
            self.assertEqual(exporter[probe]["httpGet"]["scheme"], "HTTPS")
        (endpoint,) = one(found, "PodMonitor")["spec"]["podMetricsEndpoints"]
        self.assertEqual(endpoint["scheme"], "https")
        secret = yaml.safe_load(one(found, "Secret")["stringData"]["web-config.yml"])
        self.assertEqual(secret, values("everything")["webConfig"]["content"])


class Rules(unittest.TestCase):
    ON = {"prometheusRule": {"enabled": True, "compat": True}}

    def rendered(self, given):
        return {
            each["metadata"]["name"].removeprefix("gpu-cost-exporter-"): each["spec"]
            for each in render(given)
            if each["kind"] == "PrometheusRule"
        }

    def test_are_the_files_untouched(self):
        rendered = self.rendered(self.ON)
        self.assertEqual(set(rendered), {file.stem for file in RULES.glob("*.yml")})
        for name, spec in rendered.items():
            self.assertEqual(spec, support.load(RULES / f"{name}.yml"), name)
            support.check_rules(spec)

    def test_have_the_values_constants(self):
        options = {
            "enabled": True,
            "thresholds": {"HighIdleCost": 12.5},
            "settings": {"utc_offset_hours": -5},
            "llmNamespaces": "llm-\\d+",
            "grafanaUrl": "https://grafana.example.com/",
        }
        budgets = [{"dollars": 20000}, {"dollars": 0.5, "scope": "team", "name": "nlp"}]
        spec = self.rendered({"prometheusRule": options, "budgets": budgets})["settings"]
        support.check_rules(spec)
        written = {self.identity(rule): rule for rule in self.rules(support.load(RULES / "settings.yml"))}
        changed = [rule for rule in self.rules(spec) if written.get(self.identity(rule)) != rule]
        said = {(rule["record"], *sorted(rule.get("labels", {}).items())): rule["expr"] for rule in changed}
        namespaces = said.pop(("gpu_cost:llm_namespaces",))
        self.assertIn('namespace=~"llm-\\\\d+"', namespaces)
        expected = {
            ("gpu_cost:threshold", ("alert", "HighIdleCost")): "vector(12.5)",
            ("gpu_cost:setting", ("setting", "utc_offset_hours")): "vector(-5)",
            ("gpu_cost:links", ("grafana_url", "https://grafana.example.com")): "vector(1)",
            ("gpu_cost_budget_dollars", ("period", "month"), ("scope", "cluster")): "vector(20000)",
            ("gpu_cost_budget_dollars", ("period", "month"), ("scope", "team"), ("team", "nlp")): "vector(0.5)",
        }
        self.assertEqual(said, expected, "and nothing else")

    def test_switch_off_what_is_set_to_inf(self):
        alerts = [alert for file in RULES.glob("alerts*.yml") for alert in self.rules(support.load(file)) if "alert" in alert]
        compared = {}
        for alert in alerts:
            for sign, name in re.findall(r"([<>]) on \(\) group_left \(\) .*?\bgpu_cost:threshold\{alert=\"(\w+)\"\}", alert["expr"]):
                compared[name] = "vector(Inf)" if sign == ">" else "vector(-Inf)"
        self.assertEqual(
            {name for name, off in compared.items() if off == "vector(-Inf)"},
            {"LowGPUUtilization", "GPUIdleHighCost", "GPUMemoryUnderutilized"},
        )
        options = {"enabled": True, "thresholds": {name: "Inf" for name in compared}}
        spec = self.rendered({"prometheusRule": options})["settings"]
        support.check_rules(spec)
        thresholds = [rule for rule in self.rules(spec) if rule["record"] == "gpu_cost:threshold"]
        self.assertEqual({rule["labels"]["alert"]: rule["expr"] for rule in thresholds}, compared)

    def rules(self, spec):
        return [rule for group in spec["groups"] for rule in group["rules"]]

    def identity(self, rule):
        return json.dumps([rule["record"], rule.get("labels")], sort_keys=True)

    def test_can_be_left_out(self):
        every = set(self.rendered(self.ON))
        self.assertNotIn("alerts", self.rendered({"prometheusRule": {"enabled": True, "disabled": ["alerts"]}}))
        usual = set(self.rendered({"prometheusRule": {"enabled": True}}))
        self.assertEqual(usual, {name for name in every if not name.startswith("compat")})


class Dashboards(unittest.TestCase):
    def test_are_the_files_untouched(self):
        files = {file.name: json.loads(read(file)) for file in support.DASHBOARDS.glob("*.json")}
        maps = [each for each in render({"dashboards": {"enabled": True}}) if each["kind"] == "ConfigMap"]
        self.assertEqual({name: json.loads(text) for each in maps for name, text in each["data"].items()}, files)
        for each in maps:
            self.assertEqual(each["metadata"]["labels"]["grafana_dashboard"], "1")
            self.assertLess(len(json.dumps(each)), 1 << 20, "what a ConfigMap holds at most")


class Package(unittest.TestCase):
    def test_is_the_same_chart_without_the_repository_around_it(self):
        given = values("everything")
        with tempfile.TemporaryDirectory() as directory:
            archive = helm_python.package(CHART, destination=directory)
            with helm_python.Chart.load(archive) as packed:
                names = {file["name"] for file in packed.files}
            self.assertEqual(support.templates(given, chart=archive), support.templates(given))
        rules = {f"files/rules/{file.name}" for file in RULES.glob("*.yml")}
        dashboards = {f"files/dashboards/{file.name}" for file in support.DASHBOARDS.glob("*.json")}
        self.assertEqual({name for name in names if name.startswith("files/")}, rules | dashboards)
        self.assertFalse([name for name in names if name.startswith("ci/")])


class Judges(unittest.TestCase):
    """What judges the objects refuses what it should."""

    def refused(self, kind, change, **options):
        each = one(render(options), kind)
        support.validate([each])
        change(each["spec"])
        with self.assertRaises(AssertionError):
            support.validate([each])

    def test_refuse_fields_that_do_not_exist(self):
        self.refused("DaemonSet", lambda spec: spec.update(tolerationz=[]))
        self.refused("DaemonSet", lambda spec: spec["template"]["spec"]["containers"][0].update(runtimeClassName="nvidia"))
        for kind, option, key in [
            ("PodMonitor", "podMonitor", "podMetricsEndpoints"),
            ("ServiceMonitor", "serviceMonitor", "endpoints"),
        ]:
            on = {option: {"enabled": True}}
            self.refused(kind, lambda spec, key=key: spec[key][0].update(honourLabels=True), **on)
            self.refused(kind, lambda spec, key=key: spec[key][0].update(honorLabels=False), **on)
        self.refused("ClusterPolicy", lambda spec: spec.update(validationFailureAction="audit"), kyverno={"enabled": True})

    def test_refuse_what_is_there_twice(self):
        with self.assertRaisesRegex(yaml.YAMLError, "twice"):
            support.objects("a: 1\nb: 2\na: 3\n")
        with self.assertRaisesRegex(AssertionError, "twice"):
            support.validate(render() + render())

    def test_refuse_rules_that_prometheus_would(self):
        with self.assertRaises(AssertionError):
            support.check_rules({"groups": [{"name": "a", "rules": [{"record": "a", "expr": "sum("}]}]})


class Policies(unittest.TestCase):
    def test_ask_for_the_labels_that_are_read(self):
        policy = one(render(values("everything")), "ClusterPolicy")
        first, second = policy["spec"]["rules"]
        self.assertEqual(set(first["validate"]["pattern"]["metadata"]["labels"]), {"team", "project", "environment"})
        self.assertEqual(second["validate"]["pattern"]["metadata"]["labels"], {"(task-type)": "training", "cost-center": "?*"})

    def test_let_the_exporter_reach_the_api_server(self):
        policy = one(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")
        self.assertEqual([port["port"] for port in policy["spec"]["egress"][0]["ports"]], [443, 6443])

    def test_scale_by_the_queue_and_by_our_metric(self):
        given = {"hpa": {"enabled": True, "gpuUtilizationPercent": 65}}
        metrics = one(render(given), "HorizontalPodAutoscaler")["spec"]["metrics"]
        targets = {each["pods"]["metric"]["name"]: each["pods"]["target"]["averageValue"] for each in metrics}
        self.assertEqual(targets, {"vllm_num_requests_waiting": "5", "gpu_cost_pod_utilization_ratio": "650m"})


if __name__ == "__main__":
    unittest.main()
