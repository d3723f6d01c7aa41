"""The image, built by buildah from the Dockerfile without a network, started, scraped, and given a driver's library.

The base is a file system of Debian's packages, the same as distroless has, and the program is the one under test; the
stage that becomes the image is the published one. Nothing of the machine's own containers is touched: images are kept in
a directory of the test, and the container is a chroot.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from support import ROOT, read

ROOTFS = ROOT / ".tools/rootfs.tar"
PROGRAM = os.environ["GPU_COST_EXPORTER"]
FAKE_DRIVER = os.environ["FAKE_NVML_LIBRARY"]
FAKE_NODE = os.environ["FAKE_NVML_DESCRIPTION"]

PATIENCE = 60


class Context(unittest.TestCase):
    def test_has_all_that_is_compiled_in(self):
        sent = [line[1:].strip() for line in read(ROOT / ".dockerignore").splitlines() if line.startswith("!")]
        found = 0
        for file in (ROOT / "src").rglob("*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', read(file).partition("#[cfg(test)]")[0]):
                path = (file.parent / name).resolve().relative_to(ROOT)
                fits = [pattern for pattern in sent if path.match(pattern) or str(path).startswith(f"{pattern}/")]
                self.assertTrue(fits, f"{file} includes {path}, which .dockerignore leaves out")
                found += 1
        self.assertGreater(found, 3)


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for needed in [ROOTFS, PROGRAM, FAKE_DRIVER]:
            assert pathlib.Path(needed).exists(), f"there is no {needed}: make tools"
        assert shutil.which("buildah"), "there is no buildah: make tools"
        assert os.geteuid() == 0, "buildah needs root here to make a chroot: run the tests as root, as CI does"
        cls.directory = cls.enterClassContext(tempfile.TemporaryDirectory())
        context = pathlib.Path(cls.directory, "context")
        context.mkdir()
        shutil.copy(ROOT / "LICENSE", context)
        # Without what only a debugger reads it is a tenth as large.
        subprocess.run(["strip", "-o", context / "gpu-cost-exporter", PROGRAM], check=True)
        shutil.copy(ROOTFS, context / "rootfs.tar")
        (context / "Base").write_text("FROM scratch\nADD rootfs.tar /\n")
        cls.buildah("bud", "-f", context / "Base", "-t", "localhost/base", context)
        arguments = ["RUNTIME=localhost/base", "PROGRAM=given", "VERSION=1.2.3", "REVISION=abc"]
        given = [f"--build-arg={argument}" for argument in arguments]
        cls.buildah("bud", *given, "-f", ROOT / "Dockerfile", "--ignorefile=/dev/null", "-t", "localhost/image", context)
        cls.container = cls.buildah("from", "--pull-never", "localhost/image").strip()
        cls.root = pathlib.Path(cls.buildah("mount", cls.container).strip())

    @classmethod
    def buildah(cls, command, *arguments):
        isolated = ["--isolation=chroot"] if command in ("bud", "run") else []
        storage = [f"--root={cls.directory}/images", f"--runroot={cls.directory}/run", "--storage-driver=vfs"]
        # Its progress is said on both; only the output of the others is of interest.
        said = subprocess.run(["buildah", *storage, command, *isolated, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert said.returncode == 0, f"buildah {command} failed:\n{said.stderr}{said.stdout}"
        return said.stdout

    def inspected(self, template):
        return self.buildah("inspect", f"--format={template}", "--type=image", "localhost/image").strip()

    def test_says_what_it_is(self):
        self.assertEqual(self.inspected("{{.OCIv1.Config.Entrypoint}}"), "[/usr/bin/gpu-cost-exporter]")
        self.assertEqual(self.inspected("{{.OCIv1.Config.User}}"), "0:0")
        self.assertEqual(self.inspected("{{.OCIv1.Config.StopSignal}}"), "SIGTERM")
        self.assertIn("8080", self.inspected("{{.OCIv1.Config.ExposedPorts}}"))
        self.assertEqual(self.inspected('{{index .OCIv1.Config.Labels "org.opencontainers.image.version"}}'), "1.2.3")
        self.assertEqual(self.inspected('{{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}'), "abc")
        environment = self.inspected("{{.OCIv1.Config.Env}}")
        for setting in ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=utility"]:
            self.assertIn(setting, environment)

    def test_holds_the_program_and_no_shell(self):
        said = self.buildah("run", self.container, "--", "/usr/bin/gpu-cost-exporter", "--version")
        self.assertRegex(said, "^gpu-cost-exporter [0-9]")
        for absent in ["bin/sh", "usr/bin/sh", "bin/bash"]:
            self.assertFalse((self.root / absent).exists(), absent)

    def test_finds_the_driver_where_gke_and_the_gpu_operator_put_it(self):
        machine = os.uname().machine
        for inside, library in [
            ("/usr/local/nvidia", "lib64"),
            ("/run/nvidia/driver", f"usr/lib/{machine}-linux-gnu"),
        ]:
            with self.subTest(inside), tempfile.TemporaryDirectory() as host:
                self.assertIn(inside, read(ROOT / "deploy/helm/gpu-cost-exporter/templates/daemonset.yaml"))
                where = pathlib.Path(host, library)
                where.mkdir(parents=True)
                shutil.copy(FAKE_DRIVER, where / "libnvidia-ml.so.1")
                node = pathlib.Path(host, "node.json")
                node.write_text(FAKE_NODE)
                with self.started(f"{host}:{inside}", {"FAKE_NVML_NODE": f"{inside}/node.json"}) as exporter:
                    metrics = exporter.until("/metrics", r"(?m)^gpu_cost_device_info\{")
                    self.assertIn('gpu_model="nvidia-h100-80gb"', metrics)
                    exporter.until("/-/ready", "^ready")

    def test_stays_up_without_a_driver_and_says_what_to_do(self):
        with self.started(None, {}) as exporter:
            said = exporter.until("/-/ready", "libnvidia-ml", status=503)
            self.assertIn("not ready", said)
            self.assertRegex(exporter.until("/metrics", "source_up"), r'gpu_cost_exporter_source_up\{source="nvml"\} 0')

    @contextlib.contextmanager
    def started(self, mount, environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        volumes = [f"--volume={mount}:ro"] if mount else []
        given = [f"--env={name}={value}" for name, value in environment.items()]
        storage = [f"--root={self.directory}/images", f"--runroot={self.directory}/run", "--storage-driver=vfs"]
        flags = [f"--web.listen-address=127.0.0.1:{port}", "--holders=node", "--node.name=image", "--sample.interval=100ms"]
        command = ["buildah", *storage, "run", "--isolation=chroot", *volumes, *given, self.container, "--"]
        command += ["/usr/bin/gpu-cost-exporter", *flags]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                yield Exporter(port, process, log)
            finally:
                stop(process, port)


def stop(process, port):
    """Ends what buildah started; it is the child of its child, and knows itself by its port."""
    flag = f"--web.listen-address=127.0.0.1:{port}".encode()
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes().split(b"\0")[0:1] == [b"/usr/bin/gpu-cost-exporter"] and flag in entry.read_bytes():
                os.kill(int(entry.parent.name), 15)
    process.wait(timeout=PATIENCE)


class Exporter:
    """A container that serves on a port."""

    def __init__(self, port, process, log):
        self.port, self.process, self.log = port, process, log

    def until(self, path, pattern, status=200):
        """What it answers once it answers so."""
        deadline = time.monotonic() + PATIENCE
        answer = "nothing"
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                    code, answer = response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                code, answer = error.code, error.read().decode()
            except OSError:
                code = None
            if code == status and re.search(pattern, answer):
                return answer
            time.sleep(0.02)
        self.log.seek(0)
        raise AssertionError(f"{path} never was {pattern!r} with {status}, but\n{answer}\nlog:\n{self.log.read().decode(errors='replace')}")


if __name__ == "__main__":
    unittest.main()
