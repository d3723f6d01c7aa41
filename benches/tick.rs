//! What a tick of the core costs: from what was seen to what is published.

use divan::Bencher;
use divan::counter::ItemsCount;

use crate::kinds;
use crate::node::{Kind, Metered};

/// A second on a node of each kind, by holders.
#[divan::bench(args = kinds())]
fn of_node(bencher: Bencher<'_, '_>, kind: &Kind) {
    let mut node = Metered::new(*kind);
    bencher.counter(ItemsCount::new(kind.holders)).bench_local(|| node.tick());
}
