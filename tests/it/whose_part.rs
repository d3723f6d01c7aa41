//! Whose part of a GPU it is: the built binary on nodes whose schedulers write parts into annotations.

use fake_nvml::{Board, Node};
use gpu_cost_exporter::kubelet::messages::PodResources;
use serde_json::{Value, json};

use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, uuid};
use crate::support::spending::{Spending, assert_close, start};

/// HAMi's annotation and resource.
const HAMI: &str = "hami.io/vgpu-devices-allocated";
const GPU: &str = "nvidia.com/gpu";

/// So many busy A100s with 80 GiB each.
fn node(gpus: u32) -> FakeNode {
    FakeNode::new(&Node::new((0..gpus).map(|n| Board::a100_80gb(n).busy(50))))
}

/// The pod `ml/NAME` as its scheduler has written it.
fn annotated(name: &str, annotations: &[(&str, &str)]) -> Value {
    let mut pod = fake_apiserver::pod("ml", name, &format!("uid-{name}"), &[("team", name)]);
    for (key, value) in annotations {
        pod["metadata"]["annotations"][key] = (*value).into();
    }
    pod
}

/// What HAMi and Volcano write of one device.
fn device(gpu: u32, mebibytes: u32, percent: u32) -> String {
    format!("{},NVIDIA,{mebibytes},{percent}:;", uuid(gpu))
}

/// The pod `ml/NAME` with one of HAMi's slots of a GPU.
fn slot(name: &str, gpu: u32, number: u32) -> PodResources {
    pod("ml", name, GPU, &[&format!("{}-{number}", uuid(gpu))])
}

/// So many of gpushare's units of a GPU.
fn units(name: &str, gpu: u32, units: std::ops::Range<u32>) -> PodResources {
    let ids: Vec<String> = units.map(|n| format!("{}-_-{n}", uuid(gpu))).collect();
    pod("ml", name, "aliyun.com/gpu-mem", &ids.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_annotation_decides_and_not_the_slot_that_the_kubelet_lists() {
    let (node, server) = (node(3), FakeApiServer::start());
    // By cores on the first GPU, by memory on the second; every slot is said to be of another GPU.
    for (name, gpu, mebibytes, percent) in
        [("a", 0, 8_192, 30), ("b", 0, 8_192, 50), ("c", 1, 20_480, 0), ("d", 1, 10_240, 90)]
    {
        server.apply(&annotated(name, &[(HAMI, &device(gpu, mebibytes, percent))]));
    }
    node.kubelet.list(vec![slot("a", 1, 3), slot("b", 2, 0), slot("c", 2, 1), slot("d", 0, 9)]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("a", 0.3), ("b", 0.5), ("c", 0.25), ("d", 0.125)]);
    spending.assert_clear();
    assert_close("free of the first", spending.of_device(&uuid(0), "unallocated"), 0.2);
    assert_close("free of the second", spending.of_device(&uuid(1), "unallocated"), 0.625);
    assert_close("free of the third", spending.of_device(&uuid(2), "unallocated"), 1.0);
    assert_eq!([0, 1, 2].map(|n| spending.sharing(&uuid(n))), ["fractional", "fractional", "exclusive"]);
}

#[test]
fn volcano_and_alibaba_say_it_in_their_own_ways() {
    let (node, server) = (node(4), FakeApiServer::start());
    server.apply(&annotated("volcano", &[("volcano.sh/vgpu-ids-new", &device(3, 4_096, 40))]));
    let gpushare = [
        ("ALIYUN_COM_GPU_MEM_IDX", "1"),
        ("ALIYUN_COM_GPU_MEM_POD", "16"),
        ("ALIYUN_COM_GPU_MEM_DEV", "80"),
        ("ALIYUN_COM_GPU_MEM_ASSIGNED", "true"),
    ];
    server.apply(&annotated("gpushare", &gpushare));
    let ack = r#"{"0":{"2":10},"1":{"2":30}}"#;
    server.apply(&annotated("ack", &[("scheduler.framework.gpushare.allocation", ack)]));
    // Two GPUs, and the annotation of cores beside that of memory.
    let two = [
        ("scheduler.framework.gpushare.allocation", r#"{"0":{"0":8,"2":8}}"#),
        ("gpushare.alibabacloud.com/core-percentage", r#"{"0":{"0":25,"2":5}}"#),
    ];
    server.apply(&annotated("two", &two));
    node.kubelet.list(vec![
        pod("ml", "volcano", "volcano.sh/vgpu-number", &[&format!("{}-7", uuid(0))]),
        units("gpushare", 0, 0..16),
        units("ack", 0, 16..56),
        units("two", 1, 3..19),
    ]);
    let daemon = start(&node, &server, &[]);
    // On the third GPU one has no limit of cores, so that memory decides there.
    let spending =
        Spending::when(&daemon, &[("volcano", 0.4), ("gpushare", 0.2), ("ack", 0.5), ("two", 0.25 + 0.1)]);
    spending.assert_clear();
    let free = [0, 1, 2, 3].map(|n| spending.of_device(&uuid(n), "unallocated"));
    for (found, expected) in free.into_iter().zip([0.75, 0.8, 0.4, 0.6]) {
        assert_close("free", found, expected);
    }
}

/// A pod of KAI's in its group, of which the kubelet knows nothing.
fn member(name: &str, group: &str, part: (&str, &str)) -> Value {
    let mut pod = annotated(name, &[part]);
    pod["metadata"]["labels"]["runai-gpu-group"] = group.into();
    pod
}

#[test]
fn the_gpu_of_a_reservation_is_its_groups() {
    let (node, server) = (node(2), FakeApiServer::start());
    let (namespace, name) = ("kai-resource-reservation", "gpu-reservation-test-node-x7k2p");
    server.apply(&fake_apiserver::pod(namespace, name, "uid-r", &[("runai-gpu-group", "g1")]));
    server.apply(&member("half", "g1", ("gpu-fraction", "0.5")));
    server.apply(&member("quarter", "g1", ("gpu-fraction", "0.25")));
    // Of a group that nobody has reserved anything for.
    server.apply(&member("elsewhere", "g2", ("gpu-fraction", "0.5")));
    node.kubelet.list(vec![pod(namespace, name, GPU, &[&uuid(1)])]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("half", 0.5), ("quarter", 0.25)]);
    spending.assert_clear();
    assert_close("the scheduler's own pod", spending.of_pod(name), 0.0);
    assert_close("free", spending.of_device(&uuid(1), "unallocated"), 0.25);
    assert_eq!(spending.sharing(&uuid(1)), "fractional");
    // One leaves, and another gets mebibytes of what it had.
    server.delete("ml", "half");
    server.apply(&member("memory", "g1", ("gpu-memory", "20480")));
    server.apply(&member("quarter", "g1", ("gpu-memory", "40960")));
    Spending::when(&daemon, &[("memory", 0.25), ("quarter", 0.5)]).assert_clear();
}

#[test]
fn what_was_promised_twice_is_divided_in_proportion() {
    let (node, server) = (node(1), FakeApiServer::start());
    server.apply(&annotated("a", &[(HAMI, &device(0, 0, 80))]));
    server.apply(&annotated("b", &[(HAMI, &device(0, 0, 60))]));
    server.apply(&annotated("c", &[(HAMI, &device(0, 0, 60))]));
    node.kubelet.list(vec![slot("a", 0, 0), slot("b", 0, 1), slot("c", 0, 2)]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("a", 0.4), ("b", 0.3), ("c", 0.3)]);
    spending.assert_clear();
    assert_close("free", spending.in_state("unallocated"), 0.0);
    assert_eq!(spending.sharing(&uuid(0)), "fractional");
}

#[test]
fn nobody_writes_himself_a_small_part_of_his_gpu() {
    let (node, server) = (node(2), FakeApiServer::start());
    server.apply(&annotated("hami", &[(HAMI, &device(0, 1, 1))]));
    let mut kai = member("kai", "g1", ("gpu-fraction", "0.01"));
    kai["metadata"]["annotations"]["ALIYUN_COM_GPU_MEM_IDX"] = "0".into();
    server.apply(&kai);
    node.kubelet.list(vec![pod("ml", "hami", GPU, &[&uuid(0)]), pod("ml", "kai", GPU, &[&uuid(1)])]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("hami", 1.0), ("kai", 1.0)]);
    spending.assert_clear();
    assert_eq!([0, 1].map(|n| spending.sharing(&uuid(n))), ["exclusive", "exclusive"]);
}

#[test]
fn a_slot_whose_gpu_nobody_has_told_yet_is_not_free() {
    let (node, server) = (node(2), FakeApiServer::start());
    let mut late = annotated("late", &[]);
    server.apply(&late);
    node.kubelet.list(vec![slot("late", 1, 0)]);
    let daemon = start(&node, &server, &[]);
    daemon.scrape_until("a device that is not mapped", |scrape| {
        (scrape.value("gpu_cost_exporter_unmapped_devices", &[]) == Some(1.0)).then_some(())
    });
    let spending = Spending::when(&daemon, &[]);
    assert_close("unattributed", spending.in_state("unattributed"), 1.0);
    assert_close("free", spending.in_state("unallocated"), 1.0);
    late["metadata"]["annotations"] = json!({ HAMI: device(1, 0, 100) });
    server.apply(&late);
    let spending = Spending::when(&daemon, &[("late", 1.0)]);
    spending.assert_clear();
    assert_close("free", spending.of_device(&uuid(0), "unallocated"), 1.0);
}
