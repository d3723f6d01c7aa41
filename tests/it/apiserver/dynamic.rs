//! Claims and the devices behind them.

use std::fs;

use gpu_cost_exporter::apiserver::Latest;
use gpu_cost_exporter::observation::{ClaimedDevice, PublishedDevice};
use serde_json::{Value, json};

use super::Follower;
use crate::support::fake_apiserver::{FakeApiServer, NODE, pod};

const GIB: u64 = 1 << 30;

/// A GPU or MIG device in the form of `v1`.
fn device(name: &str, attributes: &[(&str, &str)], memory: &str) -> Value {
    let attributes: serde_json::Map<String, Value> =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), json!({ "string": value }))).collect();
    json!({ "name": name, "attributes": attributes, "capacity": { "memory": { "value": memory } } })
}

fn gpu(name: &str, uuid: &str) -> Value {
    device(name, &[("type", "gpu"), ("uuid", uuid)], "80Gi")
}

fn slice(name: &str, generation: u64, devices: &[Value]) -> Value {
    json!({
        "metadata": { "name": name, "uid": name },
        "spec": {
            "driver": "gpu.nvidia.com", "nodeName": NODE,
            "pool": { "name": NODE, "generation": generation, "resourceSliceCount": 1 }, "devices": devices,
        },
    })
}

/// A pod for which the claim of its name was made from a template.
fn claiming(name: &str, uid: &str) -> Value {
    let mut pod = pod("ml", name, uid, &[]);
    pod["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimTemplateName": "one-gpu" }]);
    pod["status"]["resourceClaimStatuses"] = json!([{ "name": "gpu", "resourceClaimName": name }]);
    pod
}

/// A claim in the namespace `ml` to which these were allocated, each a device with more about it.
fn claim(name: &str, results: &[(&str, Value)]) -> Value {
    let result = |(device, more): &(&str, Value)| {
        let mut result =
            json!({ "request": "r", "driver": "gpu.nvidia.com", "pool": NODE, "device": device });
        result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        result
    };
    let results: Vec<Value> = results.iter().map(result).collect();
    json!({
        "metadata": { "namespace": "ml", "name": name },
        "spec": { "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "gpu.nvidia.com" } }] } },
        "status": { "allocation": { "devices": { "results": results } } },
    })
}

fn unallocated(name: &str) -> Value {
    json!({ "metadata": { "namespace": "ml", "name": name }, "status": {} })
}

/// The devices, each as its name and what is known of it.
fn devices(latest: &Latest) -> String {
    let written = |published: &PublishedDevice| {
        let PublishedDevice { name, uuid, parent, minor, profile, memory } = published;
        assert_eq!(*name.driver, *"gpu.nvidia.com");
        let minor = minor.map(|minor| format!("/dev/nvidia{minor}"));
        let memory = memory.map(|bytes| format!("{}Gi", bytes / GIB));
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let known = [text(uuid), text(parent), minor, text(profile), memory];
        format!("{}: {}", name.device, known.into_iter().flatten().collect::<Vec<_>>().join(" "))
    };
    latest.dynamic.devices.iter().map(written).collect::<Vec<_>>().join("\n")
}

/// The claims, each with its devices.
fn claims(latest: &Latest) -> String {
    let written = |device: &ClaimedDevice| {
        let ClaimedDevice { name, share_id, admin, consumed } = device;
        let share = share_id.as_ref().map(|id| format!("#{id}"));
        let admin = admin.then(|| "admin".to_owned());
        let consumed = consumed.map(|bytes| format!("{}Gi", bytes / GIB));
        let parts = [Some(name.device.to_string()), share, admin, consumed];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let claims = latest.dynamic.claims.iter().map(|claim| {
        let devices: Vec<_> = claim.devices.iter().map(written).collect();
        format!("{}: {}", claim.key, devices.join(", "))
    });
    claims.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn until_devices(follower: &mut Follower, expected: &str) -> Latest {
    follower.until(|latest| devices(latest) == expected)
}

#[track_caller]
fn until_claims(follower: &mut Follower, expected: &str) -> Latest {
    follower.until(|latest| claims(latest) == expected)
}

/// How often a claim was asked for.
fn asked_for(server: &FakeApiServer, claim: &str) -> usize {
    let end = format!("/resourceclaims/{claim}");
    server.asked_of_claims().iter().filter(|path| path.ends_with(&end)).count()
}

#[test]
fn the_devices_of_a_captured_slice_are_told() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/resourceslice-nvidia-h100.yaml");
    let captured: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    server.apply_slice(&captured["items"][0]);
    let mut follower = Follower::start(&server);
    let expected: Vec<String> =
        (0..8).map(|n| format!("gpu-{n}: GPU-01000100-0000-0000-0000-00000000000{n} 80Gi")).collect();
    let latest = until_devices(&mut follower, &expected.join("\n"));
    assert_eq!(&*latest.dynamic.devices[0].name.pool, "rig-node");
    assert_eq!((latest.errors, latest.message), (0, None));
}

#[test]
fn every_version_says_the_same_of_a_device() {
    let mig = [
        ("type", "mig"),
        ("gpu.nvidia.com/uuid", "MIG-1"),
        ("parentUUID", "GPU-0"),
        ("profile", "1g.10gb"),
        ("resource.kubernetes.io/pcieRoot", "pci0000:17"),
    ];
    let flat = [
        gpu("gpu-0", "GPU-0"),
        device("gpu-0-mig-1g10gb-19-6", &mig, "9856Mi"),
        device("gpu-1-mig-2g20gb-14-0", &[("parentUUID", "GPU-1"), ("profile", "2g.20gb")], "20Gi"),
        device("gpu-2-mig-19-0-1", &[], "10Gi"),
        device("gpu-vfio-3", &[("uuid", "")], "80Gi"),
    ];
    let nested = |capacity_of: fn(&Value) -> Value| {
        flat.clone().map(|device| {
            let memory = capacity_of(&device["capacity"]["memory"]);
            let mut attributes = device["attributes"].clone();
            attributes["minor"] = json!({ "int": 7 });
            attributes["index"] = json!({ "int": 5 });
            let basic = json!({ "attributes": attributes, "capacity": { "memory": memory } });
            json!({ "name": device["name"], "basic": basic })
        })
    };
    let by_name = "\
gpu-0: GPU-0 80Gi
gpu-0-mig-1g10gb-19-6: MIG-1 GPU-0 1g.10gb 9Gi
gpu-1-mig-2g20gb-14-0: GPU-1 /dev/nvidia1 2g.20gb 20Gi
gpu-2-mig-19-0-1: /dev/nvidia2 19 10Gi
gpu-vfio-3: 80Gi";
    let with_minor = "\
gpu-0: GPU-0 /dev/nvidia7 80Gi
gpu-0-mig-1g10gb-19-6: MIG-1 GPU-0 /dev/nvidia7 1g.10gb 9Gi
gpu-1-mig-2g20gb-14-0: GPU-1 /dev/nvidia7 2g.20gb 20Gi
gpu-2-mig-19-0-1: /dev/nvidia7 19 10Gi
gpu-vfio-3: /dev/nvidia7 80Gi";
    for (versions, read, slice_devices, expected) in [
        (&["v1", "v1beta2", "v1beta1"][..], "v1", flat.clone(), by_name),
        (&["v1beta1", "v1beta2"], "v1beta2", flat.clone(), by_name),
        (&["v1alpha3", "v1beta1"], "v1beta1", nested(Value::clone), with_minor),
        (&["v2", "v1alpha3", "v1alpha2"], "v1alpha3", nested(|of| of["value"].clone()), with_minor),
    ] {
        let server = FakeApiServer::start();
        server.serve_claims(versions);
        server.apply_slice(&slice("a", 1, &slice_devices));
        let mut follower = Follower::start(&server);
        until_devices(&mut follower, expected);
        let asked = server.asked_of_claims();
        assert_eq!(asked[..3], [String::new(), format!("/{read}"), format!("/{read}/resourceslices")]);
    }
}

#[test]
fn the_newest_generation_of_a_pool_counts() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    let mut other_pool = slice("other", 1, &[gpu("gpu-9", "GPU-9")]);
    other_pool["spec"]["pool"]["name"] = "other".into();
    let mut other_driver = slice("nics", 9, &[gpu("nic-0", "NIC-0")]);
    other_driver["spec"]["driver"] = "nics.example.com".into();
    server.apply_slice(&other_pool);
    server.apply_slice(&other_driver);
    server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0")]));
    server.apply_slice(&slice("b", 1, &[gpu("gpu-1", "GPU-1")]));
    let mut follower = Follower::start(&server);
    // Sorted by pool.
    until_devices(&mut follower, "gpu-9: GPU-9 80Gi\ngpu-0: GPU-0 80Gi\ngpu-1: GPU-1 80Gi");
    server.apply_slice(&slice("b", 2, &[gpu("gpu-1", "GPU-new")]));
    until_devices(&mut follower, "gpu-9: GPU-9 80Gi\ngpu-1: GPU-new 80Gi");
    server.apply_slice(&slice("a", 2, &[gpu("gpu-0", "GPU-0")]));
    until_devices(&mut follower, "gpu-9: GPU-9 80Gi\ngpu-0: GPU-0 80Gi\ngpu-1: GPU-new 80Gi");
    server.delete_slice("b");
    until_devices(&mut follower, "gpu-9: GPU-9 80Gi\ngpu-0: GPU-0 80Gi");
}

#[test]
fn a_device_that_a_claim_has_outlives_its_slice() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0"), gpu("gpu-1", "GPU-1")]));
    server.apply_claim(&claim("job", &[("gpu-1", json!({}))]));
    server.apply(&claiming("job", "u1"));
    let mut follower = Follower::start(&server);
    until_claims(&mut follower, "ml/job: gpu-1");
    until_devices(&mut follower, "gpu-0: GPU-0 80Gi\ngpu-1: GPU-1 80Gi");
    // As a kubelet does that is restarted.
    server.delete_slice("a");
    until_devices(&mut follower, "gpu-1: GPU-1 80Gi");
    server.apply_slice(&slice("a2", 1, &[gpu("gpu-0", "GPU-0")]));
    until_devices(&mut follower, "gpu-0: GPU-0 80Gi\ngpu-1: GPU-1 80Gi");
    server.delete("ml", "job");
    until_devices(&mut follower, "gpu-0: GPU-0 80Gi");
}

#[test]
fn claims_are_read_by_the_names_that_pods_have_for_them() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    server.apply(&claiming("template", "u1"));
    server.apply_claim(&claim("template", &[("gpu-1", json!({})), ("gpu-0", json!({}))]));
    let mut direct = pod("ml", "direct", "u2", &[]);
    direct["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimName": "shared" }]);
    server.apply(&direct);
    server.apply_claim(&claim("shared", &[("gpu-2", json!({}))]));
    let mut extended = pod("ml", "extended", "u3", &[]);
    extended["status"]["extendedResourceClaimStatus"] =
        json!({ "requestMappings": [], "resourceClaimName": "extended-extended-resources-894rb" });
    server.apply(&extended);
    server.apply_claim(&claim("extended-extended-resources-894rb", &[("gpu-3", json!({}))]));
    let mut ended = claiming("ended", "u4");
    ended["status"]["phase"] = "Succeeded".into();
    server.apply(&ended);
    server.apply_claim(&claim("ended", &[("gpu-4", json!({}))]));
    server.apply_claim(&claim("of-another-node", &[("gpu-5", json!({}))]));
    let mut nic = claim("nic", &[("gpu-6", json!({ "driver": "nics.example.com" }))]);
    nic["status"]["allocation"]["devices"]["results"][0]["device"] = "nic-0".into();
    server.apply_claim(&nic);
    let mut networked = claiming("nic", "u5");
    networked["status"]["resourceClaimStatuses"] =
        json!([{ "name": "nic", "resourceClaimName": "nic" }, { "name": "not-needed" }]);
    server.apply(&networked);
    let mut follower = Follower::start(&server);
    until_claims(
        &mut follower,
        "ml/extended-extended-resources-894rb: gpu-3\nml/nic: \nml/shared: gpu-2\nml/template: gpu-0, gpu-1",
    );
    // A pod that changes otherwise does not change what it has.
    server.apply(&claiming("template", "u1"));
    server.delete("ml", "direct");
    until_claims(
        &mut follower,
        "ml/extended-extended-resources-894rb: gpu-3\nml/nic: \nml/template: gpu-0, gpu-1",
    );
    server.delete("ml", "extended");
    ended["status"]["phase"] = "Running".into();
    server.apply(&ended);
    let latest = until_claims(&mut follower, "ml/ended: gpu-4\nml/nic: \nml/template: gpu-0, gpu-1");
    let asked = ["template", "shared", "ended", "of-another-node"].map(|name| asked_for(&server, name));
    assert_eq!(asked, [1, 1, 1, 0]);
    assert_eq!((latest.errors, latest.message), (0, None));
    // Another pod under the old name has another claim under the old name.
    server.delete("ml", "template");
    server.apply_claim(&claim("template", &[("gpu-7", json!({}))]));
    server.apply(&claiming("template", "u9"));
    until_claims(&mut follower, "ml/ended: gpu-4\nml/nic: \nml/template: gpu-7");
}

#[test]
fn a_claim_says_on_which_terms_it_has_a_device() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    let mut parts = gpu("gpu-5", "GPU-5");
    parts["capacity"]["shares"] = json!({ "value": "4" });
    server.apply_slice(&slice("a", 1, &[parts]));
    let share = |consumed: Value| json!({ "shareID": "s-1", "consumedCapacity": consumed });
    let mut newer = claim("newer", &[("gpu-0", json!({}))]);
    newer["spec"]["devices"]["requests"][0]["exactly"]["adminAccess"] = true.into();
    let mut older = claim("older", &[("gpu-0", json!({ "request": "r/alternative" }))]);
    older["spec"]["devices"]["requests"] = json!([{ "name": "x" }, { "name": "r", "adminAccess": true }]);
    for claim in [
        claim(
            "admin",
            &[("gpu-0", json!({ "adminAccess": true })), ("gpu-1", json!({ "adminAccess": false }))],
        ),
        newer,
        older,
        claim("memory", &[("gpu-2", share(json!({ "memory": "10Gi" })))]),
        claim("qualified", &[("gpu-2", share(json!({ "gpu.nvidia.com/memory": "20480Mi", "shares": "1" })))]),
        claim("nothing", &[("gpu-3", share(json!({ "memory": "0" })))]),
        claim("shares", &[("gpu-5", share(json!({ "memory": "0", "shares": "3" })))]),
    ] {
        let name = claim["metadata"]["name"].as_str().unwrap().to_owned();
        server.apply_claim(&claim);
        server.apply(&claiming(&name, &name));
    }
    let mut follower = Follower::start(&server);
    until_claims(
        &mut follower,
        "ml/admin: gpu-0 admin, gpu-1\nml/memory: gpu-2 #s-1 10Gi\nml/newer: gpu-0 admin\n\
         ml/nothing: gpu-3 #s-1\nml/older: gpu-0 admin\nml/qualified: gpu-2 #s-1 20Gi\nml/shares: gpu-5 #s-1 60Gi",
    );
}

#[test]
fn a_claim_that_is_not_there_yet_is_asked_for_again() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    server.apply(&claiming("early", "u1"));
    let mut follower = Follower::start(&server);
    follower.until_asked(|| asked_for(&server, "early") >= 2);
    server.apply_claim(&unallocated("early"));
    until_claims(&mut follower, "ml/early: ");
    server.apply_claim(&claim("early", &[("gpu-0", json!({}))]));
    let latest = until_claims(&mut follower, "ml/early: gpu-0");
    assert_eq!((latest.up, latest.errors, latest.message), (true, 0, None));
    let asked = asked_for(&server, "early");
    // Who is told late that a pod is gone does not forget what it has.
    server.delete_claim("ml", "early");
    let mut sharing = pod("ml", "late", "u2", &[]);
    sharing["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimName": "early" }]);
    server.apply(&sharing);
    follower.until_asked(|| asked_for(&server, "early") > asked);
    until_claims(&mut follower, "ml/early: gpu-0");
    server.delete("ml", "early");
    server.delete("ml", "late");
    until_claims(&mut follower, "");
}

#[test]
fn without_such_an_api_nothing_is_asked_and_nothing_is_wrong() {
    let server = FakeApiServer::start();
    let mut follower = Follower::start(&server);
    follower.until_asked(|| !server.asked_of_claims().is_empty());
    server.apply(&pod("ml", "plain", "u1", &[]));
    let latest = follower.until_pods("ml/plain=u1:");
    assert_eq!((latest.errors, latest.message), (0, None));
    assert_eq!((server.asked_of_claims(), latest.dynamic.devices.len()), (vec![String::new()], 0));
    // Somebody switches it on, and a pod makes use of it.
    server.serve_claims(&["v1"]);
    server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0")]));
    server.apply_claim(&claim("job", &[("gpu-0", json!({}))]));
    server.apply(&claiming("job", "u2"));
    until_claims(&mut follower, "ml/job: gpu-0");
    until_devices(&mut follower, "gpu-0: GPU-0 80Gi");
}

#[test]
fn a_version_with_other_kinds_only_is_no_such_api() {
    let server = FakeApiServer::start();
    server.serve(&["v1alpha3"], &["devicetaintrules"]);
    let mut follower = Follower::start(&server);
    follower.until_asked(|| server.asked_of_claims().len() >= 2);
    server.apply(&pod("ml", "plain", "u1", &[]));
    let latest = follower.until_pods("ml/plain=u1:");
    assert_eq!((latest.errors, latest.message), (0, None));
    assert_eq!(server.asked_of_claims(), ["", "/v1alpha3"]);
}

#[test]
fn a_version_that_is_gone_is_followed_by_another() {
    let server = FakeApiServer::start();
    server.serve_claims(&["v1beta1"]);
    server.apply(&claiming("first", "u1"));
    server.apply_claim(&claim("first", &[("gpu-0", json!({}))]));
    server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0")]));
    let mut follower = Follower::start(&server);
    until_claims(&mut follower, "ml/first: gpu-0");
    server.serve_claims(&["v1beta2", "v1"]);
    server.apply_slice(&slice("a", 2, &[gpu("gpu-0", "GPU-0"), gpu("gpu-1", "GPU-1")]));
    let latest = until_devices(&mut follower, "gpu-0: GPU-0 80Gi\ngpu-1: GPU-1 80Gi");
    assert_eq!(claims(&latest), "ml/first: gpu-0");
    assert_eq!((latest.errors, latest.message), (0, None));
    server.apply_claim(&claim("second", &[("gpu-1", json!({}))]));
    server.apply(&claiming("second", "u2"));
    until_claims(&mut follower, "ml/first: gpu-0\nml/second: gpu-1");
    assert!(server.asked_of_claims().contains(&"/v1/namespaces/ml/resourceclaims/second".to_owned()));
}

#[test]
fn who_may_not_read_devices_or_claims_has_pods_all_the_same() {
    for kind in ["/resourceslices", "/resourceclaims", "/apis/"] {
        let server = FakeApiServer::start();
        server.serve_claims(&["v1"]);
        server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0")]));
        server.apply_claim(&claim("job", &[("gpu-0", json!({}))]));
        server.apply(&claiming("job", "u1"));
        server.refuse_only(kind, 403, "it is forbidden");
        let mut follower = Follower::start(&server);
        let latest = follower.until(|latest| latest.up && latest.errors >= 2);
        let message = latest.message.as_deref().unwrap();
        for part in ["403: it is forbidden", "get on resourceclaims", "deploy/kustomize/base/rbac.yaml"] {
            assert!(message.contains(part), "{message}");
        }
        server.apply(&pod("ml", "other", "u2", &[("team", "nlp")]));
        follower.until_pods("ml/job=u1: ml/other=u2:nlp");
        server.allow();
        until_claims(&mut follower, "ml/job: gpu-0");
        until_devices(&mut follower, "gpu-0: GPU-0 80Gi");
        follower.until(|latest| latest.up && latest.message.is_none());
    }
}

#[test]
fn while_the_api_server_is_away_claims_and_devices_stay() {
    let mut server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    server.apply_slice(&slice("a", 1, &[gpu("gpu-0", "GPU-0")]));
    server.apply_claim(&claim("job", &[("gpu-0", json!({}))]));
    server.apply(&claiming("job", "u1"));
    let mut follower = Follower::start(&server);
    until_claims(&mut follower, "ml/job: gpu-0");
    let before = until_devices(&mut follower, "gpu-0: GPU-0 80Gi");
    server.die();
    let away = follower.until(|latest| !latest.up && latest.errors >= 3);
    assert_eq!(away.dynamic, before.dynamic);
    server.apply_claim(&claim("next", &[("gpu-0", json!({}))]));
    server.delete("ml", "job");
    server.apply(&claiming("next", "u2"));
    server.come_back();
    until_claims(&mut follower, "ml/next: gpu-0");
    follower.until(|latest| latest.up && latest.message.is_none());
}
