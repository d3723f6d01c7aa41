//! What a tick and a scrape ask of the allocator: counts, which are the same on every machine.
//!
//! A program of its own, because there is one allocator in a program.

#[path = "../../benches/node.rs"]
mod node;

mod counting;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

#[cfg(test)]
mod tests {
    use gpu_cost_exporter::metrics::Format;

    use super::counting::{Asked, asked_by};
    use super::node::{ANSWERED, Kind, Metered, Sharing, render, series};

    /// Three minutes of ticks, three times as long as work is looked back at.
    const TICKS: u64 = 180;

    /// The ticks from one answer of the kubelet to the next, whose reports nobody keeps.
    fn ticks(node: &mut Metered) -> Asked {
        asked_by(|| (0..ANSWERED).for_each(|_| drop(node.tick()))).1
    }

    /// A node on which nothing changes but the time.
    fn steady(sharing: Sharing) -> Metered {
        Metered::new(Kind { sharing, holders: 110 })
    }

    #[test]
    fn a_tick_of_a_steady_node_asks_for_the_same_again_and_again_and_keeps_nothing() {
        for sharing in Sharing::ALL {
            let mut node = steady(sharing);
            let first = ticks(&mut node);
            let (mut most, mut kept) = (first, 0);
            for _ in 0..TICKS / ANSWERED {
                let asked = ticks(&mut node);
                kept += asked.kept;
                most.allocations = most.allocations.max(asked.allocations);
                most.bytes = most.bytes.max(asked.bytes);
            }
            assert_eq!(
                (most.allocations, most.bytes, kept),
                (first.allocations, first.bytes, 0),
                "{sharing:?}"
            );
        }
    }

    #[test]
    fn a_scrape_asks_for_a_few_pieces_however_many_series_there_are() {
        for sharing in Sharing::ALL {
            let published = Metered::publish(steady(sharing).tick());
            let (text, asked) = asked_by(|| render(&published, Format::Text));
            let series = u64::try_from(series(&text)).unwrap();
            let bytes = u64::try_from(text.len()).unwrap();
            assert!(series > 1_500, "{series} series");
            assert!(asked.allocations < series / 2, "{} pieces for {series} series", asked.allocations);
            assert!(asked.bytes < 8 * bytes, "{} bytes for {bytes}", asked.bytes);
            let ((), again) = asked_by(|| drop(render(&published, Format::Text)));
            assert_eq!((again.allocations, again.kept), (asked.allocations, 0), "{sharing:?}");
        }
    }
}
