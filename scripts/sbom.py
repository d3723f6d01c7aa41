#!/usr/bin/env python3
"""Writes what the program is made of: CycloneDX 1.5 in JSON, to the file that is named or to standard output.

It is what Cargo would link into the program for one platform, with what runs while it is built; tests bring more, which
is not shipped. The same sources give the same bytes, so that two bills can be compared.
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "gpu-cost-exporter"
TARGET = "x86_64-unknown-linux-gnu"


def main():
    metadata = cargo_metadata()
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    needed, linked = crates("normal,build"), crates("normal,no-proc-macro")
    root = next(key for key in needed if key[0] == PACKAGE)
    locked = checksums()
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "scripts/sbom.py", "version": root[1]}]},
            "component": component(packages[root], None, "application"),
            "properties": [{"name": "cargo:target", "value": TARGET}],
        },
        "components": [
            {
                **component(packages[key], locked[key], "library"),
                # What only builds the program, and is not in it.
                "scope": "required" if key in linked else "excluded",
            }
            for key in sorted(needed - {root})
        ],
        "dependencies": dependencies(metadata, packages, needed),
    }
    content = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    text = json.dumps(bill, indent=2) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


def cargo(*arguments):
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.decode()


def cargo_metadata():
    return json.loads(cargo("metadata", "--format-version=1", f"--filter-platform={TARGET}"))


def crates(edges):
    """The crates of the program by name and version, with the features that it has without its tests."""
    shape = ["--prefix=none", "--no-dedupe", "--format={p}"]
    tree = cargo("tree", f"--edges={edges}", f"--target={TARGET}", f"--package={PACKAGE}", *shape)
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in tree.splitlines()}


def checksums():
    """The SHA-256 of each crate as it was downloaded, by name and version."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}


def dependencies(metadata, packages, needed):
    """Which crate needs which others, in the program or to build it."""
    keys = {package["id"]: key for key, package in packages.items()}
    needs = {}
    for node in metadata["resolve"]["nodes"]:
        deps = (dep for dep in node["deps"] if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"]))
        needs[keys[node["id"]]] = sorted({keys[dep["pkg"]] for dep in deps} & needed)
    return [{"ref": reference(key), "dependsOn": [reference(dep) for dep in needs[key]]} for key in sorted(needed)]


def reference(key):
    return f"pkg:cargo/{key[0]}@{key[1]}"


def component(package, checksum, kind):
    key = (package["name"], package["version"])
    described = {
        "type": kind,
        "bom-ref": reference(key),
        "name": key[0],
        "version": key[1],
        "description": " ".join((package["description"] or "").split()),
        "licenses": [{"expression": expression(package["license"])}],
        "purl": reference(key),
    }
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def expression(license):
    """As SPDX writes it: a slash is how crates wrote `OR` before."""
    return re.sub(r"\s*/\s*", " OR ", license)


if __name__ == "__main__":
    main()
