//! Whose claimed device it is: the built binary in clusters that give out GPUs by claims.

use fake_nvml::{Board, MigDevice, Node, Profile};
use gpu_cost_exporter::kubelet::messages::{ClaimResource, DynamicResource, PodResources};
use serde_json::{Value, json};

use crate::support::fake_apiserver::{self, FakeApiServer, NODE};
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, uuid};
use crate::support::spending::{Spending, assert_close, start};

const DRIVER: &str = "gpu.nvidia.com";

/// What a pod has of a claim: the device's name, and the id of the share if it is one.
type Device<'a> = (&'a str, Option<&'a str>);

/// The pod `ml/NAME` as the API server shows it, with the claims that it names.
fn claiming(name: &str, claims: &[&str]) -> Value {
    let mut pod = fake_apiserver::pod("ml", name, &format!("uid-{name}"), &[("team", name)]);
    let claims = claims.iter().map(|claim| json!({ "name": claim, "resourceClaimName": claim }));
    pod["spec"]["resourceClaims"] = claims.collect();
    pod
}

/// The pod `ml/NAME` as the kubelet lists it, with these devices of each claim; none where it is not prepared.
fn listed(name: &str, claims: &[(&str, &[Device<'_>])]) -> PodResources {
    let mut listed = pod("ml", name, "", &[]);
    let device = |(device, share): &Device<'_>| ClaimResource {
        driver_name: DRIVER.to_owned(),
        pool_name: NODE.to_owned(),
        device_name: (*device).to_owned(),
        share_id: share.map(str::to_owned),
        ..ClaimResource::default()
    };
    let claim = |(claim, devices): &(&str, &[Device<'_>])| DynamicResource {
        claim_name: (*claim).to_owned(),
        claim_namespace: "ml".to_owned(),
        claim_resources: devices.iter().map(device).collect(),
        ..DynamicResource::default()
    };
    listed.containers[0].dynamic_resources = claims.iter().map(claim).collect();
    listed
}

/// The claim `ml/NAME` to which a device was allocated, with more about it.
fn claim(name: &str, device: &str, more: &Value) -> Value {
    let mut result = json!({ "request": "gpu", "driver": DRIVER, "pool": NODE, "device": device });
    result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "metadata": { "namespace": "ml", "name": name },
        "status": { "allocation": { "devices": { "results": [result] } } },
    })
}

/// A share of a device that consumes so much of its memory.
fn share(id: &str, memory: &str) -> Value {
    json!({ "shareID": id, "consumedCapacity": { "memory": memory } })
}

/// A device as `v1` publishes it.
fn published(name: &str, attributes: &[(&str, &str)], memory: &str) -> Value {
    let attributes: serde_json::Map<String, Value> =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), json!({ "string": value }))).collect();
    json!({ "name": name, "attributes": attributes, "capacity": { "memory": { "value": memory } } })
}

/// The same as versions before `v1beta2` publish it.
fn nested(device: &Value) -> Value {
    json!({ "name": device["name"], "basic": { "attributes": device["attributes"], "capacity": device["capacity"] } })
}

fn slice(devices: &[Value]) -> Value {
    json!({
        "metadata": { "name": "slice", "uid": "slice" },
        "spec": {
            "driver": DRIVER, "nodeName": NODE, "devices": devices,
            "pool": { "name": NODE, "generation": 1, "resourceSliceCount": 1 },
        },
    })
}

/// Seven H100s of which the second is cut in two, and how the driver publishes them.
fn cluster() -> (FakeNode, FakeApiServer, Vec<Value>) {
    let [_, _, _, _, three, four, _] = Profile::H100_80GB;
    let busy = |profile, n| MigDevice::new(profile, n, n).counting(50.0, 50.0, 0.0, 0.0);
    let board = |n| {
        let board = Board::h100_80gb(n).counting(50.0, 50.0, 0.0, 0.0);
        if n == 1 { board.cut(7, [Some(busy(four, 1)), Some(busy(three, 2))]) } else { board }
    };
    let node = FakeNode::new(&Node::new((0..7).map(board)));
    // Their names say another device file than they have: the UUID decides.
    let whole =
        |n: u32| published(&format!("gpu-{}", (n + 3) % 7), &[("type", "gpu"), ("uuid", &uuid(n))], "80Gi");
    let mut devices: Vec<Value> = (0..7).filter(|n| *n != 1).map(whole).collect();
    for (name, n, profile) in [("gpu-4-mig-4g40gb-5-0", 1, "4g.40gb"), ("gpu-4-mig-3g40gb-9-4", 2, "3g.40gb")]
    {
        let mig = MigDevice::new(three, n, n).uuid;
        let attributes = [("type", "mig"), ("uuid", &*mig), ("parentUUID", &uuid(1)), ("profile", profile)];
        devices.push(published(name, &attributes, "40Gi"));
    }
    (node, FakeApiServer::start(), devices)
}

/// What every kind of claim costs, whichever version of the API says it.
#[track_caller]
fn check_every_kind(versions: &[&'static str], as_published: fn(&Value) -> Value) {
    let (node, server, devices) = cluster();
    server.serve_claims(versions);
    server.apply_slice(&slice(&devices.iter().map(as_published).collect::<Vec<_>>()));
    for claim in [
        claim("whole", "gpu-3", &json!({})),
        claim("mig", "gpu-4-mig-4g40gb-5-0", &json!({})),
        claim("shared", "gpu-5", &json!({})),
        claim("watch-held", "gpu-3", &json!({ "adminAccess": true })),
        claim("watch-free", "gpu-6", &json!({ "adminAccess": true })),
        claim("quarter", "gpu-0", &share("s-1", "20Gi")),
        claim("half", "gpu-0", &share("s-2", "40Gi")),
        claim("unprepared", "gpu-1", &json!({})),
        claim("extended-extended-resources-894rb", "gpu-2", &json!({})),
    ] {
        server.apply_claim(&claim);
    }
    for (name, claims) in [
        ("whole", &["whole"][..]),
        ("mig", &["mig"]),
        ("shared-a", &["shared"]),
        ("shared-b", &["shared"]),
        ("monitor", &["watch-held", "watch-free"]),
        ("quarter", &["quarter"]),
        ("half", &["half"]),
        ("unprepared", &["unprepared"]),
    ] {
        server.apply(&claiming(name, claims));
    }
    let mut extended = claiming("extended", &[]);
    let made = "extended-extended-resources-894rb";
    extended["status"]["extendedResourceClaimStatus"] =
        json!({ "requestMappings": [], "resourceClaimName": made });
    server.apply(&extended);
    node.kubelet.list(vec![
        listed("whole", &[("whole", &[("gpu-3", None)])]),
        listed("mig", &[("mig", &[("gpu-4-mig-4g40gb-5-0", None)])]),
        listed("shared-a", &[("shared", &[("gpu-5", None)])]),
        listed("shared-b", &[("shared", &[("gpu-5", None)])]),
        listed("monitor", &[("watch-held", &[("gpu-3", None)]), ("watch-free", &[("gpu-6", None)])]),
        listed("quarter", &[("quarter", &[("gpu-0", Some("s-1"))])]),
        listed("half", &[("half", &[("gpu-0", Some("s-2"))])]),
        listed("unprepared", &[("unprepared", &[])]),
        listed("extended", &[(made, &[("gpu-2", None)])]),
    ]);
    let daemon = start(&node, &server, &[]);
    let expected = [
        ("whole", 1.0),
        ("mig", 4.0 / 7.0),
        ("shared-a", 0.5),
        ("shared-b", 0.5),
        ("quarter", 0.25),
        ("half", 0.5),
        ("unprepared", 1.0),
        ("extended", 1.0),
        ("monitor", 0.0),
    ];
    let spending = Spending::when(&daemon, &expected);
    spending.assert_clear();
    let unallocated = [(0, 0.0), (1, 3.0 / 7.0), (2, 0.0), (3, 1.0), (4, 0.25), (5, 0.0), (6, 0.0)];
    for (n, free) in unallocated {
        assert_close(&format!("free of {n}"), spending.of_device(&uuid(n), "unallocated"), free);
    }
    let sharing = (0..7).map(|n| spending.sharing(&uuid(n))).collect::<Vec<_>>().join(" ");
    assert_eq!(sharing, "exclusive mig fractional exclusive fractional exclusive exclusive");
}

#[test]
fn every_kind_of_claim_is_charged_for_what_it_has() {
    check_every_kind(&["v1beta1", "v1beta2", "v1"], Value::clone);
}

#[test]
fn an_older_cluster_is_charged_alike() {
    check_every_kind(&["v1alpha3", "v1beta1"], nested);
}

#[test]
fn a_claim_that_is_not_allocated_yet_is_nobodys_that_can_be_named() {
    let (node, server, devices) = cluster();
    server.serve_claims(&["v1"]);
    server.apply_slice(&slice(&devices));
    server.apply(&claiming("chat", &["gpu"]));
    node.kubelet.list(vec![listed("chat", &[("gpu", &[])])]);
    let daemon = start(&node, &server, &[]);
    daemon.scrape_until("a claim that is not known", |scrape| {
        (scrape.value("gpu_cost_exporter_unmapped_devices", &[]) == Some(1.0)).then_some(())
    });
    let spending = Spending::when(&daemon, &[]);
    spending.assert_sums();
    assert_close("unattributed", spending.in_state("unattributed"), 1.0);
    server.apply_claim(&claim("gpu", "gpu-6", &json!({})));
    // A change of the pod is a reason to ask again.
    server.apply(&claiming("chat", &["gpu"]));
    let spending = Spending::when(&daemon, &[("chat", 1.0)]);
    spending.assert_clear();
    assert_close("free", spending.of_device(&uuid(3), "unallocated"), 0.0);
}

#[test]
fn a_driver_that_takes_its_slices_back_changes_nobodys_bill() {
    let (node, server, devices) = cluster();
    server.serve_claims(&["v1"]);
    server.apply_slice(&slice(&devices));
    server.apply_claim(&claim("gpu", "gpu-3", &json!({})));
    server.apply(&claiming("chat", &["gpu"]));
    node.kubelet.list(vec![listed("chat", &[("gpu", &[("gpu-3", None)])])]);
    let daemon = start(&node, &server, &[]);
    Spending::when(&daemon, &[("chat", 1.0)]).assert_clear();
    server.delete_slice("slice");
    let spending = Spending::when(&daemon, &[("chat", 1.0)]);
    spending.assert_clear();
    assert_close("free", spending.of_device(&uuid(0), "unallocated"), 0.0);
}
