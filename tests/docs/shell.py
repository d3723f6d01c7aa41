"""Commands: run where that can be, and otherwise looked at word by word."""

import functools
import pathlib
import re
import shlex
import shutil
import subprocess

import files
import program
from documents import ROOT, named_files, read

import helm_python  # pylint: disable=wrong-import-order
import yaml  # pylint: disable=wrong-import-order

support = files.support

# What runs without a cluster; a pipeline of these is run.
LOCAL = {"curl", "jq", "grep", "sort", "head", "cut", "sha256sum", "gpu-cost-exporter"}

# What the other programs know, as far as the documents use it. One that is not here is a typo, or is to be added.
KUBECTL_VERBS = {
    "annotate", "apply", "create", "delete", "describe", "exec", "get", "label", "logs", "port-forward", "rollout",
}
KUBECTL_FLAGS = {
    "--all-namespaces", "--dry-run", "--field-selector", "--from-file", "--local", "--namespace", "--output",
    "--previous", "--selector", "--server-side", "--since", "--tail", "-f", "-k", "-l", "-n", "-o",
}
KUBECTL_KINDS = {"configmap", "daemonset", "namespace", "node", "nodes", "pod", "pods", "resourceslices"}
HELM_FLAGS = {"--create-namespace", "--namespace", "--reuse-values", "--set", "--values", "--wait"}
DOCKER_FLAGS = {"--platform", "--push", "--tag"}


# === console ===


def elided(line):
    """The line as a pattern, in which `…` is anything."""
    return re.compile(".*".join(re.escape(piece) for piece in line.split("…")))


def alike(documented, printed):
    return len(documented) == len(printed) and all(elided(a).fullmatch(b) for a, b in zip(documented, printed))


def console(block, directory, address):
    """The block as it would look if it were typed now. `cat` of a file that is not there makes the file."""
    said, shown = [], []
    for line in [*block.lines, "$ "]:
        if not line.startswith("$ "):
            said.append(line)
            continue
        if shown:
            shown += answer(shown[-1].removeprefix("$ "), said, directory, address)
        said = []
        shown.append(line)
    return shown[:-1]


def answer(command, said, directory, address):
    words = shlex.split(command)
    if words[0] == "cat" and len(words) == 2:
        (directory / words[1]).write_text("\n".join(said) + "\n", encoding="utf-8")
        return said
    assert words[0] in LOCAL, f"{command}: nobody may run {words[0]} here"
    printed, _ = program.run(command.replace("localhost:8080", address), directory, GPU_COST_URL=f"http://{address}")
    printed = printed.rstrip("\n").split("\n")
    # Blank lines are no more than the end of an answer.
    return [line.rstrip() for line in printed] + [""] * (len(said) - len("\n".join(said).rstrip("\n").split("\n")))


# === sh ===


@functools.cache
def objects():
    """The kinds and names of everything that is installed."""
    found = [
        *support.kustomize(ROOT / "deploy/kustomize/overlays/prometheus"),
        *support.kustomize(ROOT / "deploy/kustomize/overlays/eks"),
    ]
    return {(each["kind"].lower(), each["metadata"]["name"]) for each in found}


@functools.cache
def rendered(values, files_of_values=()):
    """Whether the chart takes these `--set`, after the files that the documents have for `--values`."""
    chosen = {}
    for file in files_of_values:
        assert file in named_files(), f"no document says what is in {file}"
        (text,) = named_files()[file]
        chosen |= yaml.safe_load(text)
    for each in values:
        chosen |= helm_python.parse_set_string(each)
    return support.render(chosen)


class Site:
    """Where commands are checked: with an exporter that answers at an address."""

    def __init__(self, address):
        self.address = address
        self.count = 0

    def check(self, block):
        for line in lines(block.text):
            self.command(line, block.document, self.variables(block.document))

    def variables(self, document):
        """What a command of the document sets."""
        return dict(re.findall(r"^([A-Z]+)=(\S+)$", read(document), re.MULTILINE))

    def command(self, line, document, variables=None):
        """Fails if the command could not work."""
        if re.fullmatch(r"[A-Z]+=\S+", line):
            return
        for name, value in (variables or {}).items():
            line = line.replace(f"${name}", value)
        line = re.sub(r"\$\((printf [^)]*)\)", lambda inner: bash(inner[1]), line)
        assert "$(" not in line and not re.search(r"\$[A-Z]", line), f"{line}: what is that?"
        self.count += 1
        pipeline = pieces(line)
        for words in pipeline:
            self.program(words, document)
        if all(words[0] in LOCAL for words in pipeline):
            self.run(line)

    def program(self, words, document):
        name = words[0]
        assert name in LOCAL or hasattr(self, name), f"{name}: nobody knows how to check this"
        getattr(self, name.replace("gpu-cost-exporter", "ours"), lambda *_: None)(words[1:])

    def run(self, line):
        """Runs it against the recorded node, over HTTP where the document has TLS."""
        line = re.sub(r"--(cacert|cert|key|user) \S+ ", "", line)
        line = re.sub(r"(https?://)?localhost:8080", f"http://{self.address}", line)
        directory = pathlib.Path(program.programs()) / "files"
        directory.mkdir(exist_ok=True)
        shutil.copy(ROOT / "pricing.yaml", directory)
        printed, code = program.run(line, directory, GPU_COST_URL=f"http://{self.address}")
        assert code == 0 and printed.strip(), f"{line} ended with {code}:\n{printed}"

    # Each of these gets the words behind the program's name.

    def make(self, words):
        assert re.search(rf"^{words[0]}:", read(ROOT / "Makefile"), re.MULTILINE), f"no target {words[0]}"

    def ours(self, words):
        command = next((word for word in words if word in ("check", "explain", "price")), "")
        known = program.flags(command) | program.flags("price list" if "list" in words else command)
        for flag in options(words):
            assert flag in known, f"gpu-cost-exporter {command} has no {flag}"

    def helm(self, words):
        verb = words[0]
        assert verb in ("install", "rollback", "template", "uninstall", "upgrade"), f"helm {verb}"
        for flag in options(words):
            assert flag in HELM_FLAGS, f"helm {flag}"
        if verb in ("install", "template", "upgrade"):
            assert ROOT / words[2] == support.CHART, f"{words[2]} is no chart of ours"
            try:
                rendered(tuple(given(words, "--set")), tuple(given(words, "--values")))
            except Exception as error:
                raise AssertionError(f"helm {verb}: {error}") from error

    def kubectl(self, words):
        inner = words[words.index("--") + 1 :] if "--" in words else []
        words = words[: words.index("--")] if "--" in words else words
        for flag in options(words):
            assert flag in KUBECTL_FLAGS, f"kubectl {flag}"
        plain = arguments(words, {"-n", "-k", "-f", "-l", "-o", "--namespace", "--output", "--selector"})
        assert plain[0] in KUBECTL_VERBS, f"kubectl {plain[0]}"
        for namespace in [*given(words, "-n"), *given(words, "--namespace")]:
            assert ("namespace", namespace) in objects() or is_free(namespace), f"no namespace {namespace}"
        for directory in given(words, "-k"):
            assert "--server-side" in words, words
            # What the reader has written tests/deploy builds.
            assert f"{directory}/kustomization.yaml" in named_files() or support.kustomize(ROOT / directory), directory
        self.named(plain[0], plain[1:])
        if inner:
            self.program(inner, None)

    oc = kubectl

    def named(self, verb, words):
        """`KIND/NAME`, or `KIND NAME`: the kind is one, and the object is one of ours, or the reader's in capitals."""
        words = words[1:] if verb == "rollout" else words
        if not words or verb in ("apply", "create"):
            return
        kind, _, name = words[0].partition("/")
        name = name or (words[1] if len(words) > 1 and "=" not in words[1] and not words[1].isdigit() else "")
        if is_free(kind) or "=" in kind:
            return
        assert kind in KUBECTL_KINDS, f"{kind} is no kind"
        assert not name or is_free(name) or (kind, name) in objects(), f"there is no {kind} {name}"

    def git(self, words):
        assert words == ["clone", "https://github.com/gpu-cost-exporter/gpu-cost-exporter"], words

    def cd(self, words):
        assert words == ["gpu-cost-exporter"], f"{words} is not what git clone makes"

    def docker(self, words):
        assert words[:2] == ["buildx", "build"] and (ROOT / "Dockerfile").exists(), words
        for flag in options(words):
            assert flag in DOCKER_FLAGS, f"docker {flag}"

    def jq(self, words):
        """Fields that do not exist are null to jq, and nobody is told."""
        ledger, _ = program.run(f"curl --silent --fail http://{self.address}/api/v1/ledger", ROOT)
        for field in re.findall(r"\.(\w+)", words[-1]):
            assert f'"{field}":' in ledger, f"the ledger has no {field}"

    def python3(self, words):
        assert (ROOT / words[0]).exists(), words[0]

    def cargo(self, words):
        assert words[0] in ("build", "run", "test"), words


def lines(text):
    """The commands of a block, without comments, each in one line."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+#\s.*", "", line.removeprefix("# or: ").removeprefix("    "))
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def pieces(line):
    """The commands of a pipeline, each as its words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    found = [[]]
    for word in lexer:
        if word == "|":
            found.append([])
        else:
            found[-1].append(word)
    return found


def options(words):
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


def given(words, option):
    """The values of an option, written with a space or with `=`."""
    behind = [value for flag, value in zip(words, words[1:]) if flag == option]
    return behind + [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]


def arguments(words, with_value):
    """The words that are no options and no values of options."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in with_value
        else:
            found.append(word)
    return found


def is_free(name):
    """Whether the reader is to write a name of their own there."""
    return re.fullmatch(r"[A-Z]+", name) is not None


def bash(command):
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
