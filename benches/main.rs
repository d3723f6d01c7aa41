//! What the exporter costs: a tick, a scrape, a very large answer of the kubelet.
//!
//! `make bench` runs all of it and compares; `cargo bench --bench costs -- tick` only some.
//!
//! Besides what divan measures there are two ways to call it that other programs read: `--count NAME TIMES` does one thing
//! so often, for an instrument that counts instructions, and `--table` says what each thing takes and allocates, by holders.

#![expect(clippy::print_stdout, reason = "the figures go to standard output")]

mod decode;
mod render;
mod table;
mod tick;

mod node;

#[path = "../tests/allocations/counting.rs"]
mod counting;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// Every way to share with so many holders.
fn kinds() -> Vec<node::Kind> {
    let of = |sharing| [10, 110, 1_000, 10_000].map(|holders| node::Kind { sharing, holders });
    node::Sharing::ALL.into_iter().flat_map(of).collect()
}

fn main() {
    // As the program does.
    gpu_cost_exporter::allocator::settle();
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("--count") => {
            let [name, times] = [args.next(), args.next()].map(Option::unwrap_or_default);
            table::count(&name, times.parse().unwrap_or(1));
        }
        Some("--table") => table::print(),
        _ => divan::main(),
    }
}
