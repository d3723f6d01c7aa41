//! The bill of materials that `make sbom` writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::tools::{python, run};

#[test]
fn the_bill_names_what_is_in_the_program_and_nothing_of_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = run(Command::new(python()).arg(root.join("scripts/sbom.py")), b"", "install Python 3.11");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let bill: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert!(bill["serialNumber"].as_str().unwrap().starts_with("urn:uuid:"));

    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let components = bill["components"].as_array().unwrap();
    for component in components {
        let text = |key: &str| component[key].as_str().unwrap_or_else(|| panic!("{key} of {component}"));
        let (name, version) = (text("name"), text("version"));
        let locked = format!(
            "name = \"{name}\"\nversion = \"{version}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
             checksum = \"{}\"\n",
            component["hashes"][0]["content"].as_str().unwrap()
        );
        assert!(lock.contains(&locked), "{locked} is not in Cargo.lock");
        assert_eq!(text("purl"), format!("pkg:cargo/{name}@{version}"));
        assert!(!component["licenses"][0]["expression"].as_str().unwrap().contains('/'), "{component}");
    }

    let names: BTreeSet<&str> =
        components.iter().filter_map(|component| component["name"].as_str()).collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let section =
        |name: &str| manifest.split_once(&format!("\n[{name}]\n")).unwrap().1.split("\n[").next().unwrap();
    for line in section("dependencies").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split_once("package = \"").map_or(line, |(_, package)| package);
        let name = name.split([' ', '"']).next().unwrap();
        assert!(names.contains(name), "{name} is missing");
    }
    for of_tests in ["rcgen", "proptest", "ureq", "axum", "tempfile", "expect-test"] {
        assert!(!names.contains(of_tests), "{of_tests} is only in tests");
    }
    let scope = |name: &str| components.iter().find(|it| it["name"] == name).map(|it| it["scope"].clone());
    assert_eq!((scope("tokio"), scope("serde_derive")), (Some("required".into()), Some("excluded".into())));

    let known: BTreeSet<&str> =
        bill["dependencies"].as_array().unwrap().iter().filter_map(|it| it["ref"].as_str()).collect();
    assert_eq!(known.len(), components.len() + 1);
    let needed =
        bill["dependencies"].as_array().unwrap().iter().flat_map(|it| it["dependsOn"].as_array().unwrap());
    assert!(needed.into_iter().all(|reference| known.contains(reference.as_str().unwrap())));
}
