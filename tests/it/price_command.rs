//! `price`: what a GPU costs and by which rule, for a node that is described and for this one.

#![expect(clippy::needless_raw_string_hashes, reason = "snapshots are written by expect-test")]

use std::fs;
use std::process::Stdio;

use expect_test::{Expect, expect};
use fake_nvml::{Board, Node};
use serde_json::{Value, json};

use crate::support::daemon::binary;
use crate::support::fake_apiserver::FakeApiServer;
use crate::support::node::{FakeNode, flag, uuid};

const A3: &[&str] = &["--provider=gcp", "--region=us-central1", "--instance-type=a3-highgpu-8g"];

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = binary().args(args).output().expect("the binary is built");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn check(args: &[&str], expected: &Expect) {
    let (code, out, error) = run(args);
    assert_eq!(code, Some(0), "{error}");
    expected.assert_eq(&out);
}

fn answer(args: &[&str]) -> Value {
    let (code, out, error) = run(&[args, &["--output=json"]].concat());
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn a_described_node_has_a_price_and_a_reason() {
    check(
        &[&["price", "--label=cloud.google.com/gke-spot=true"], A3].concat(),
        &expect![[r#"
            GPU         nvidia-h100-80gb
            node        gcp, us-central1, a3-highgpu-8g
            bought      spot (its label cloud.google.com/gke-spot says spot)
            price       6.326192625 $/h, spot
            per month   4618.12061625 $ in 730 h
            list price  11.06125 $/h
            rule        catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30
            source      gcp-pricing(Cyclenerd)
            as of       2026-07-30
        "#]],
    );
    check(
        &["price", "--gpu=NVIDIA H100 PCIe", "--price-model=capacity_block"],
        &expect![[r#"
            GPU         nvidia-h100-80gb
            node        nothing is known of it
            bought      capacity_block
            price       6.88 $/h, on_demand, since capacity_block has no price
            per month   5022.4 $ in 730 h
            list price  6.88 $/h
            rule        built_in
            source      aws us-east-1 p5.48xlarge / 8 GPUs: on_demand karpenter-provider-aws 2026-07-20, spot skypilot-catalog@00148f2 2026-H1
            as of       2026-01-01
        "#]],
    );
    check(
        &["price", "--gpu=NVIDIA A30"],
        &expect![[r#"
        GPU     nvidia-a30
        node    nothing is known of it
        bought  on_demand
        price   none is known: the GPU is unpriced
    "#]],
    );
    check(
        &["price", "list", "--gpu=Tesla T4", "--provider=azure", "--region=eastus"],
        &expect![[r#"
            GPU        PROVIDER  REGION  INSTANCE TYPE          GPUS  PER GPU  INSTANCE ON DEMAND  INSTANCE SPOT  INSTANCE 1 YEAR  INSTANCE 3 YEARS  AS OF
            nvidia-t4  azure     eastus  Standard_NC16as_T4_v3  1     1.204    1.204               -              -                -                 2026-06-18
            nvidia-t4  azure     eastus  Standard_NC4as_T4_v3   1     0.526    0.526               -              -                -                 2026-06-18
            nvidia-t4  azure     eastus  Standard_NC64as_T4_v3  4     1.088    4.352               -              -                -                 2026-06-18
            nvidia-t4  azure     eastus  Standard_NC8as_T4_v3   1     0.752    0.752               -              -                -                 2026-06-18
        "#]],
    );
}

#[test]
fn a_machine_reads_the_same() {
    let found = answer(&[&["price", "--price-model=spot"], A3].concat());
    assert_eq!(found["dollars_per_hour"], json!(6.326_192_625));
    assert_eq!(found["list_dollars_per_hour"], json!(11.06125));
    assert_eq!(found["rule"], json!("catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30"));
    assert_eq!(found["as_of"], json!("2026-07-30"));
    assert_eq!(answer(&["price", "--gpu=NVIDIA A30"])["dollars_per_hour"], Value::Null);
    let rows = answer(&["price", "list", "--gpu=nvidia-b300"]);
    assert_eq!(
        rows.as_array().map(|rows| rows.iter().all(|row| row["gpu_model"] == "nvidia-b300")),
        Some(true)
    );
    let off = answer(&[&["price", "--pricing.catalogue=off", "--gpu=h100"], A3].concat());
    assert_eq!(off["rule"], json!("built_in"));
}

#[test]
fn the_operators_file_is_asked_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    let path = flag("--pricing.file", &file);
    fs::write(
        &file,
        "overrides: [{ match: { provider: gcp }, node_pricing: { on_demand: 88.49, spot: 50.61 } }]",
    )
    .unwrap();
    let found = answer(&[&["price", &path, "--label=karpenter.sh/capacity-type=spot"], A3].concat());
    assert_eq!((&found["dollars_per_hour"], &found["rule"]), (&json!(6.32625), &json!("override:1")));
    fs::write(&file, "gpu_pricing: {}").unwrap();
    let (code, _, error) = run(&["price", &path, "--gpu=t4"]);
    assert_eq!(code, Some(64));
    assert!(error.contains("pricing.yaml:1: gpu_pricing: expected"), "{error}");
    assert_eq!(run(&["price", "--label=nothing"]).0, Some(64));
}

#[test]
fn how_a_gpu_was_bought_may_depend_on_its_model() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    let path = flag("--pricing.file", &file);
    fs::write(&file, "overrides: [{ match: { gpu_model: nvidia-h100-80gb }, price_model: owned, gpu_pricing: { owned: 1.39 } }]")
        .unwrap();
    let found = answer(&["price", "--gpu=h100", &path]);
    let bought = (&found["price_model"], &found["wanted_price_model"], &found["fell_back"]);
    assert_eq!(bought, (&json!("owned"), &json!("owned"), &json!(false)));
    let (_, table, _) = run(&["price", "--gpu=h100", &path]);
    assert!(table.contains("\nbought      owned\n"), "{table}");
    assert_eq!(answer(&["price", "--gpu=t4", &path])["wanted_price_model"], json!("on_demand"));
}

#[test]
fn a_described_node_has_as_many_gpus_as_its_type() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    fs::write(&file, "overrides: [{ match: { instance_type: p5.48xlarge }, node_pricing: { on_demand: 55.04 }, gpus_per_node: 1 }]")
        .unwrap();
    let node = ["price", "--region=us-east-1", "--instance-type=p5.48xlarge", &flag("--pricing.file", &file)];
    assert_eq!(answer(&node)["dollars_per_hour"], json!(6.88));
    assert_eq!(answer(&[&node[..], &["--gpus=10"]].concat())["dollars_per_hour"], json!(5.504));
}

#[test]
fn a_label_names_the_gpu() {
    for (label, model) in [
        ("nvidia.com/gpu.product=Tesla-T4", "nvidia-t4"),
        ("nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3-SHARED", "nvidia-h100-80gb"),
        ("cloud.google.com/gke-accelerator=nvidia-l4", "nvidia-l4"),
    ] {
        assert_eq!(answer(&["price", "--label", label])["gpu_model"], json!(model));
    }
    let told = answer(&["price", "--gpu=l4", "--label=nvidia.com/gpu.product=Tesla-T4"]);
    assert_eq!(told["gpu_model"], json!("nvidia-l4"));
}

#[test]
fn what_looks_like_a_slip_is_said_beside_the_answer() {
    let h100 = "a3-highgpu-8g has nvidia-h100-80gb, not nvidia-t4: the answer is about nvidia-t4\n";
    let region = "the list price of an instance depends on its region: name it with --region\n";
    let elsewhere = "the catalogue has a3-megagpu-8g in asia-northeast1, asia-southeast1, australia-southeast1 and 6 more, not in us-east-1\n";
    let part = "the catalogue has g6f.large in ap-northeast-1, ap-northeast-2, ap-south-1 and 10 more, not in mars-1\ng6f.large has a part of a GPU, and this is the price of a whole one\n";
    let gpu = "which GPU is not known: name it with --gpu\n";
    for (args, expected) in [
        (&[&["--gpu=t4"], A3].concat()[..], h100),
        (&["--instance-type=p5.48xlarge", "--zone=us-east-1a"], region),
        (&["--zone=us-east-1a"], gpu),
        (&["--region=us-east-1", "--instance-type=a3-megagpu-8g"], elsewhere),
        (&["--region=mars-1", "--instance-type=g6f.large"], part),
        (&["--region=us-east-1", "--instance-type=p99.large"], gpu),
        (A3, ""),
        (&["--gpu=t4"], ""),
    ] {
        let (code, out, error) = run(&[&["price", "--output=json"], args].concat());
        assert_eq!((code, &*error), (Some(0), expected), "{args:?}");
        serde_json::from_str::<Value>(&out).expect("the answer alone");
    }
}

#[test]
fn a_list_says_why_it_is_empty() {
    for (args, expected) in [
        (&["--region=us-nowhere-1"][..], "no instance of the catalogue is in the region us-nowhere-1"),
        (
            &["--provider=nobody", "--region=us-east-1"],
            "no instance of the catalogue is of the provider nobody",
        ),
        (&["--gpu=A30"], "no instance of the catalogue has the GPU nvidia-a30"),
        (&["--provider=aws", "--region=eastus"], "no instance of the catalogue fits all that was asked"),
        (&["--pricing.catalogue=off"], "the catalogue is off"),
    ] {
        let (code, out, error) = run(&[&["price", "list"], args].concat());
        assert_eq!((code, out.as_str()), (Some(0), ""), "{error}");
        assert_eq!(error.lines().collect::<Vec<_>>(), [expected]);
    }
    assert_eq!(answer(&["price", "list", "--region=us-nowhere-1"]), json!([]));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut asked = binary()
        .args(["price", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    drop(asked.stdout.take());
    let output = asked.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn which_prices_are_asked_may_be_said_before_the_command_and_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, dollars: u32| {
        let file = directory.path().join(name);
        fs::write(&file, format!("gpu_pricing: {{ nvidia-t4: {{ on_demand: {dollars} }} }}\n")).unwrap();
        flag("--pricing.file", &file)
    };
    let (one, two) = (path("one.yaml", 1), path("two.yaml", 2));
    let price = |args: &[&str]| answer(args)["dollars_per_hour"].clone();
    assert_eq!(price(&[&one, "price", "--gpu=t4"]), json!(1.0));
    assert_eq!(price(&["price", "--gpu=t4", &one]), json!(1.0));
    assert_eq!(price(&[&one, "price", "--gpu=t4", &two]), json!(2.0));
    let off = "--pricing.catalogue=off";
    let rule = |args: &[&str]| answer(&[args, A3].concat())["rule"].clone();
    assert_eq!(rule(&["price", "--gpu=h100"]), json!("catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30"));
    assert_eq!(rule(&["price", "--gpu=h100", off]), json!("built_in"));
    assert_eq!(rule(&[off, "price", "--gpu=h100"]), json!("built_in"));
    assert_eq!(rule(&[off, "price", "--gpu=h100", "--pricing.catalogue=on"]), rule(&["price", "--gpu=h100"]));
    let rows = |args: &[&str]| run(args).1.lines().count();
    assert!(rows(&["price", "list", "--gpu=t4"]) > 1 && rows(&["price", "list", "--gpu=t4", off]) == 0);
    assert_eq!(rows(&[off, "price", "list", "--gpu=t4"]), 0);
    for command in ["check", "explain"] {
        assert!(!run(&[command, "--help"]).1.contains("--pricing"), "{command}");
        assert_eq!(run(&[command, off]).0, Some(64), "{command}");
    }
}

#[test]
fn this_node_is_asked_when_no_other_is_described() {
    let node = FakeNode::new(&Node::new([Board::t4(0), Board::t4(1)]));
    let server = FakeApiServer::start();
    server.label_node(&[
        ("karpenter.sh/capacity-type", "spot"),
        ("topology.kubernetes.io/region", "us-east-1"),
        ("node.kubernetes.io/instance-type", "g4dn.12xlarge"),
    ]);
    let args = [
        flag("--nvml.library", &node.library()),
        flag("--kubernetes.kubeconfig", &server.kubeconfig()),
        "--node.name=test-node".to_owned(),
    ];
    let output = binary()
        .args(args)
        .args(["price", "--output=json"])
        .env("FAKE_NVML_NODE", node.path("node.json"))
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rule = json!("catalogue:aws/us-east-1/g4dn.12xlarge@2025-11-30");
    assert_eq!(found.as_array().map(Vec::len), Some(2), "{found}");
    assert_eq!((&found[1]["gpu_uuid"], &found[1]["rule"]), (&json!(uuid(1)), &rule));
}
