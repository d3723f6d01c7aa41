//! What the binary says on a terminal, and how it exits.

use std::fs::{self, File};
use std::process::Output;

use expect_test::expect_file;

use crate::support::daemon::binary;

fn run(args: &[&str]) -> Output {
    binary().args(args).env("COLUMNS", "110").output().expect("the binary is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn help_is_what_people_read_first() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    expect_file!["golden/help.txt"].assert_eq(&text(&output.stdout));
}

#[test]
fn so_is_the_help_of_explain() {
    let output = run(&["explain", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    expect_file!["golden/explain-help.txt"].assert_eq(&text(&output.stdout));
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(
        text(&run(&["--version"]).stdout),
        format!("gpu-cost-exporter {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn what_is_typed_wrong_is_said_and_exits_with_64() {
    let cases = [
        (vec!["--bogus"], "--bogus"),
        (vec!["--sample.interval=1"], "such as 30s"),
        (vec!["--sample.interval=1h"], "between 10ms and 10s"),
        (vec!["--pricing.model=free"], "on_demand"),
        (vec!["--ledger.idle-threshold=1"], "percentage"),
        (vec!["--web.listen-address=8080"], ":8080"),
        (vec!["--web.telemetry-path=/"], "/metrics"),
        (vec!["--demo", "--replay=x"], "cannot be used with"),
        (vec!["--log.level=loud"], "--log.level"),
        (vec!["--kubelet.resource=*"], "--kubelet.resource"),
        (vec!["--node.name="], "--node.name"),
        (vec!["check"], "<FILE>"),
        (vec!["explain", "--url=https://localhost:8080"], "http://localhost:8080"),
        (vec!["explain", "--output=yaml"], "json"),
        (vec!["--web.telemetry-path=/api/v1/ledger"], "/api/"),
    ];
    for (args, expected) in cases {
        let output = run(&args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn a_variable_without_a_value_is_not_set() {
    let help = text(&run(&["--help"]).stdout);
    let variables: Vec<&str> =
        help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next()).collect();
    assert!(variables.contains(&"PRICING_CONFIG") && variables.contains(&"NODE_NAME"), "{variables:?}");
    let mut command = binary();
    command.envs(variables.iter().map(|name| (name, ""))).env("GPU_COST_WEB_LISTEN_ADDRESS", "127.0.0.1:0");
    // It gets as far as looking for the trace.
    let output = command.arg("--replay=/nonexistent").output().expect("the binary is built");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("open trace /nonexistent"), "{}", text(&output.stderr));
}

#[test]
fn a_price_file_can_be_checked_before_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    let check = |content: &str| {
        fs::write(&file, content).unwrap();
        let output = run(&["check", file.to_str().unwrap()]);
        let said = text(&output.stdout).replace(directory.path().to_str().unwrap(), "");
        (output.status.code(), said)
    };
    let (code, said) = check("gpu_pricing:\n  nvidia-t4: { on_demand: 0.526, spot: 0.2 }\n");
    assert_eq!((code, said.as_str()), (Some(0), "/pricing.yaml: ok, 1 GPU model, 0 model costs\n"));
    let (code, said) = check("gpu_pricing:\n  nvidia-t4: { on_demand: -1, sport: 0.2 }\n  nvidia-t4: {}\n");
    assert_eq!(code, Some(64));
    assert_eq!(said.lines().filter(|line| line.starts_with("/pricing.yaml:")).count(), 3, "{said}");
    let missing = run(&["check", "/nonexistent/pricing.yaml"]);
    assert_eq!(missing.status.code(), Some(64));
}

#[test]
fn the_prices_of_the_manifest_replace_no_built_in_one() {
    let manifest = include_str!("../../deploy/kustomize/base/config.yaml");
    let (_, prices) = manifest.split_once("  pricing.yaml: |\n").expect("a file in the manifest");
    let prices: Vec<&str> = prices.lines().map(|line| line.strip_prefix("    ").expect("indented")).collect();
    let built_in: Vec<&str> = include_str!("../../pricing.yaml").lines().collect();
    let (at, _) = prices.iter().enumerate().find(|(_, line)| **line == "model_costs:").expect("model costs");
    let said: Vec<_> = prices[at + 1..].iter().filter(|line| !line.contains('#')).collect();
    assert!(said.iter().all(|line| built_in.contains(line)), "{said:?}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    fs::write(&file, prices.join("\n")).unwrap();
    let output = run(&["check", file.to_str().unwrap()]);
    let expected = format!("{}: ok, 0 GPU models, 1 model cost\n", file.display());
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_die() {
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let mut command = binary();
    // It logs why it cannot start, and exits for that reason and no other.
    command.args(["--replay=/nonexistent", "--web.listen-address=127.0.0.1:0"]).stderr(full);
    assert_eq!(command.status().expect("the binary is built").code(), Some(1));
}

#[test]
fn a_trace_that_cannot_be_read_is_said() {
    let output = run(&["--replay=/nonexistent", "--web.listen-address=127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent"), "{}", text(&output.stderr));
}
