//! Whatever comes in from outside is read or refused, and never ends the program.
//!
//! Each test is a fuzz target: `cargo test` runs it ten thousand times, `cargo bolero test <name>` for as long as one
//! likes, by what the code does with it. What they are fed is real, with some of it changed, because noise gets no
//! further than the first byte. Two more are beside what they try: `procfs::cgroup` and `apiserver::fractions`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bolero::check;
use gpu_cost_exporter::kubelet::messages::{AllocatableResourcesResponse, ListPodResourcesResponse};
use gpu_cost_exporter::kubelet::{ResourceNames, advertised_by, allocations_of, device_id};
use gpu_cost_exporter::observation::DeviceTarget;
use gpu_cost_exporter::{labels_file, pricing_file};
use prost::Message;

/// How often `cargo test` runs each.
const TIMES: usize = 10_000;

/// Which seed, and what is changed in it: what is done, where, and with what.
type Changes = (u8, Vec<(u8, u16, u8)>);

/// One of the seeds with these changes, each of which is something that happens to bytes on their way.
fn changed<'a>(seeds: &'a [Vec<u8>], (seed, changes): &Changes) -> std::borrow::Cow<'a, [u8]> {
    let seed = &seeds[usize::from(*seed) % seeds.len()];
    if changes.is_empty() {
        return seed.into();
    }
    let mut bytes = seed.clone();
    for (what, place, with) in changes.iter().take(8) {
        let place = usize::from(*place) % (bytes.len() + 1);
        let rest = bytes.len() - place;
        let length = usize::from(*with).min(rest);
        match what % 6 {
            0 if rest > 0 => bytes[place] = *with,
            1 if rest > 0 => bytes[place] ^= 1 << (with % 8),
            2 => bytes.insert(place, *with),
            3 => drop(bytes.drain(place..place + length)),
            4 => bytes.truncate(place),
            _ => {
                let copy = bytes[place..place + length].to_vec();
                bytes.splice(place..place, copy);
            }
        }
    }
    bytes.into()
}

/// The files of a directory of the repository with this ending.
fn seeds(directory: &str, ending: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| fs::read(path).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn any_device_id() {
    let ids = [
        "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c",
        "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c::3",
        "MIG-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c",
        "MIG-GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c/7/0",
        "nvidia0/gi3/vgpu1",
        "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c-12",
    ];
    let seeds = ids.map(|id| id.as_bytes().to_vec());
    check!().with_iterations(TIMES).with_type::<Changes>().for_each(|changes| {
        let bytes = changed(&seeds, changes);
        let id = String::from_utf8_lossy(&bytes);
        match device_id::parse(&id).target {
            DeviceTarget::Unreadable(kept) => assert_eq!(*kept, *id, "nothing is lost"),
            DeviceTarget::Gpu(uuid) | DeviceTarget::MigDevice(uuid) => {
                assert!(id.to_lowercase().contains(&uuid[4..]), "{id:?} became {uuid}");
            }
            _ => {}
        }
    });
}

#[test]
fn any_answer_of_a_kubelet() {
    let seeds = seeds("tests/captures/pod-resources", ".pb");
    check!().with_iterations(TIMES).with_type::<Changes>().for_each(|changes| {
        let bytes = changed(&seeds, changes);
        let resources = ResourceNames::default();
        if let Ok(answer) = ListPodResourcesResponse::decode(&*bytes) {
            let allocations = allocations_of(&answer, &resources);
            let named: BTreeSet<_> =
                answer.pod_resources.iter().map(|pod| (&*pod.namespace, &*pod.name)).collect();
            for allocation in &allocations {
                assert!(named.contains(&(&*allocation.pod.namespace, &*allocation.pod.name)));
                assert!(allocation.devices.is_sorted() && !allocation.devices.is_empty());
            }
            let again = ListPodResourcesResponse::decode(&*answer.encode_to_vec()).unwrap();
            assert_eq!(allocations_of(&again, &resources), allocations);
        }
        if let Ok(answer) = AllocatableResourcesResponse::decode(&*bytes) {
            assert!(advertised_by(&answer, &resources).is_sorted_by(|one, other| one < other));
        }
    });
}

#[test]
fn any_price_file() {
    let mut seeds = seeds("tests/pricing", ".yaml");
    seeds.push(fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("pricing.yaml")).unwrap());
    check!().with_iterations(TIMES).with_type::<Changes>().for_each(|changes| {
        let bytes = changed(&seeds, changes);
        let text = String::from_utf8_lossy(&bytes);
        match pricing_file::parse(&text, None) {
            Ok(file) => drop(pricing_file::sheet(Some(file), None)),
            Err(problems) => assert!(!problems.is_empty(), "who refuses says why"),
        }
    });
}

#[test]
fn any_labels_file() {
    let text = "sources: { environment: [app.example.com/env] }\nrules:\n  - match: { namespace: \"ml-*\", labels: { app: a } }\n    set: { team: nlp }\nnamespaces:\n  ml-search: { team: search }\n";
    assert!(labels_file::parse(text).is_ok());
    let seeds = [text.as_bytes().to_vec()];
    check!().with_iterations(TIMES).with_type::<Changes>().for_each(|changes| {
        let bytes = changed(&seeds, changes);
        if let Err(problems) = labels_file::parse(&String::from_utf8_lossy(&bytes)) {
            assert!(!problems.is_empty(), "who refuses says why");
        }
    });
}
