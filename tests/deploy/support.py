"""What the tests of the manifests share: the programs that render them, and the judges of what was rendered."""

import functools
import os
import pathlib
import subprocess
import tempfile

import helm_python
import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/gpu-cost-exporter"
KUSTOMIZE = ROOT / "deploy/kustomize"
RULES = ROOT / "rules"
DASHBOARDS = ROOT / "dashboards"

# The oldest and the newest Kubernetes whose schemas are used. In between, fields were only added.
KUBERNETES = ("1.27", "1.37")

NAMESPACE = "gpu-cost-exporter"


def read(path):
    return path.read_text(encoding="utf-8")


def load(path):
    return yaml.safe_load(read(path))


def objects(text):
    """The objects of a YAML stream; a key that is there twice is an error."""
    return [each for each in yaml.load_all(text, Loader=StrictLoader) if each is not None]


class StrictLoader(yaml.SafeLoader):
    """Kubernetes' decoders refuse what PyYAML overlooks."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def render(values=None, name="gpu-cost-exporter", namespace=NAMESPACE, chart=None):
    """The chart's objects, as `helm install` would send them."""
    return [each for text in templates(values, name, namespace, chart).values() for each in objects(text)]


def templates(values=None, name="gpu-cost-exporter", namespace=NAMESPACE, chart=None):
    """The chart's rendered manifests by file. Values that the schema refuses are an error, as they are with `helm`."""
    with helm_python.Chart.load(chart or CHART) as loaded:
        loaded.validate_schema(values or {})
        rendered = loaded.render(values or {}, name=name, namespace=namespace)
    return {path: text for path, text in rendered.items() if path.endswith((".yaml", ".yml")) and text.strip()}


def notes(values=None):
    with helm_python.Chart.load(CHART) as loaded:
        rendered = loaded.render(values or {}, name="gpu-cost-exporter", namespace=NAMESPACE)
    return next(text for path, text in rendered.items() if path.endswith("NOTES.txt"))


def kustomize(directory):
    """The objects of a kustomization."""
    program = ROOT / ".tools/bin/kustomize"
    command = [program if program.exists() else "kustomize", "build", directory]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"{directory}: {built.stderr}"
    return objects(built.stdout)


def one(found, kind, name=None):
    """The object of that kind, of which there is one."""
    fitting = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(fitting) == 1, f"{len(fitting)} objects are {kind} {name or ''}"
    return fitting[0]


def kinds(found):
    return sorted(each["kind"] for each in found)


def container(daemonset):
    return daemonset["spec"]["template"]["spec"]["containers"][0]


def validate(found):
    """Fails if an API server would refuse an object, or drop a field of it."""
    assert found, "nothing was rendered"
    for each in found:
        where = f"{each.get('kind')} {each.get('metadata', {}).get('name')}"
        schema = kinds_of_others().get(f"{each['apiVersion']}/{each['kind']}")
        try:
            if schema:
                jsonschema.validate(each, schema, cls=jsonschema.Draft202012Validator)
            else:
                for version in KUBERNETES:
                    kubernetes_validate.validate(each, version, strict=True)
        except Exception as error:
            message = getattr(error, "message", str(error))
            raise AssertionError(f"{where}: {message} at {list(getattr(error, 'path', []))}") from error
    identities = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in found]
    twice = {identity for identity in identities if identities.count(identity) > 1}
    assert not twice, f"{twice} are there twice"


@functools.cache
def kinds_of_others():
    """Of the kinds that Kubernetes itself does not have, the fields that we know. One that is not listed is a typo, or a
    field to be looked up and added."""
    return load(ROOT / "tests/deploy/kinds.yaml")["kinds"]


def check_rules(groups):
    """What promtool says about rules: the check that the Operator's webhook makes, too."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(groups, file)
        file.flush()
        checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def is_blessed():
    return os.environ.get("UPDATE_EXPECT") == "1"
