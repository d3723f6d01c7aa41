//! What a tick and a scrape take, in a form that other programs read.

use std::hint::black_box;

use gpu_cost_exporter::clock;
use gpu_cost_exporter::metrics::Format;

use crate::counting::{Asked, asked_by};
use crate::kinds;
use crate::node::{ANSWERED, Kind, Metered, Sharing, render, series};

/// How often each thing is done; the median counts.
const TIMES: usize = 21;

/// Says for each kind of node, separated by tabs: what is done, how the GPUs are shared, how many holders there are, how
/// many series, nanoseconds, allocations, bytes of them.
pub(crate) fn print() {
    for kind in kinds() {
        let mut node = Metered::new(kind);
        let published = Metered::publish(node.tick());
        let series = series(&render(&published, Format::Text));
        // The mean from one answer of the kubelet to the next.
        say(("tick", ANSWERED), kind, series, || (0..ANSWERED).for_each(|_| drop(black_box(node.tick()))));
        for (name, format) in
            [("text", Format::Text), ("openmetrics", Format::OpenMetrics), ("protobuf", Format::Protobuf)]
        {
            say((name, 1), kind, series, || drop(black_box(render(&published, format))));
        }
    }
}

/// Says of one thing what it takes, where `work` does so many of them.
fn say((what, many): (&str, u64), kind: Kind, series: usize, mut work: impl FnMut()) {
    let mut nanos: Vec<u64> = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = clock::uptime();
        work();
        nanos.push(clock::uptime().since(began).as_nanos());
    }
    nanos.sort_unstable();
    let median = nanos[TIMES / 2] / many;
    let Asked { allocations, bytes, .. } = asked_by(work).1;
    let (allocations, bytes) = (allocations / many, bytes / many);
    let Kind { sharing, holders } = kind;
    let sharing = sharing.as_str();
    println!("{what}\t{sharing}\t{holders}\t{series}\t{median}\t{allocations}\t{bytes}");
}

/// Does what is called `tick-mig-110` or `text-slots-1000` so many times: what one more of them takes is the difference
/// between two runs.
pub(crate) fn count(name: &str, times: usize) {
    let mut words = name.split('-');
    let what = words.next().unwrap_or_default();
    let sharing = words.next();
    let sharing = Sharing::ALL.into_iter().find(|it| Some(it.as_str()) == sharing);
    let holders = words.next().and_then(|holders| holders.parse().ok());
    let (Some(sharing), Some(holders)) = (sharing, holders) else { return println!("no such thing: {name}") };
    let mut node = Metered::new(Kind { sharing, holders });
    let published = Metered::publish(node.tick());
    for _ in 0..times {
        if what == "tick" {
            drop(black_box(node.tick()));
        } else {
            drop(black_box(render(&published, Format::Text)));
        }
    }
}
