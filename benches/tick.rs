//! What a tick of the core costs: from what was seen to what is published.

use divan::Bencher;
use divan::counter::ItemsCount;

use crate::kinds;
use crate::node::{ANSWERED, Kind, Metered};

/// The seconds from one answer of the kubelet to the next on a node of each kind, by holders and seconds.
#[divan::bench(args = kinds())]
fn of_node(bencher: Bencher<'_, '_>, kind: &Kind) {
    let mut node = Metered::new(*kind);
    let seconds = usize::try_from(ANSWERED).unwrap_or(1);
    let ticks = || (0..ANSWERED).for_each(|_| drop(node.tick()));
    bencher.counter(ItemsCount::new(kind.holders * seconds)).bench_local(ticks);
}
