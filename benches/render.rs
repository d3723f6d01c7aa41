//! What a scrape costs that nobody has made yet, beside the encoder of the crate `prometheus` in the same run.
//!
//! Divide a time by the number of items in its row, which are series.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use gpu_cost_exporter::cost::meter::{Meter, Policy};
use gpu_cost_exporter::demo::Demo;
use gpu_cost_exporter::metrics::Format;
use gpu_cost_exporter::observation::{UnixTime, Uptime};
use gpu_cost_exporter::pricing_file;
use gpu_cost_exporter::status::{Published, Status};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::kinds;
use crate::node::{Kind, Metered, render, series};

/// How many pods there are.
const PODS: [usize; 4] = [10, 110, 1_000, 10_000];

/// The text of a node of each kind.
#[divan::bench(args = kinds())]
fn of_node(bencher: Bencher<'_, '_>, kind: &Kind) {
    let published = Metered::publish(Metered::new(*kind).tick());
    let series = series(&render(&published, Format::Text));
    bencher.counter(ItemsCount::new(series)).bench_local(|| render(&published, Format::Text));
}

/// The demo's node with so many pods.
fn published(pods: usize) -> Published {
    let mut meter = Meter::new(Policy::default(), Arc::new(pricing_file::sheet(None, None)));
    let demo = Demo::new("node-1".into());
    let mut look = |second: u64| {
        let wall = UnixTime::from_millis(1_784_548_800_000 + second * 1_000);
        meter.observe(&demo.observe(Uptime::from_nanos(second * 1_000_000_000), wall, "boot".into()))
    };
    (100..700).for_each(|second| drop(look(second)));
    let mut report = (*look(700)).clone();
    let templates = std::mem::take(&mut report.pods);
    for (n, template) in (0..pods).zip(templates.iter().cycle()) {
        let mut line = template.clone();
        line.pod = format!("{}-{n:05}", line.pod).into();
        report.pods.push(line);
    }
    report.pods.sort_by(|one, other| (&one.namespace, &one.pod).cmp(&(&other.namespace, &other.pod)));
    let status = Status { node: "node-1".into(), ..Status::default() };
    Published { report: Some(Arc::new(report)), status: Arc::new(status) }
}

fn bench(bencher: Bencher<'_, '_>, pods: usize, format: Format) {
    let published = published(pods);
    bencher.counter(ItemsCount::new(samples(&published).len())).bench_local(|| render(&published, format));
}

#[divan::bench(args = PODS)]
fn text(bencher: Bencher<'_, '_>, pods: usize) {
    bench(bencher, pods, Format::Text);
}

#[divan::bench(args = PODS)]
fn openmetrics(bencher: Bencher<'_, '_>, pods: usize) {
    bench(bencher, pods, Format::OpenMetrics);
}

#[divan::bench(args = PODS)]
fn protobuf(bencher: Bencher<'_, '_>, pods: usize) {
    bench(bencher, pods, Format::Protobuf);
}

// === theirs ===

/// A line of the text: name, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// The samples of a scrape. The labels of the demo have no quotes, commas or braces in them.
fn samples(published: &Published) -> Vec<Sample> {
    let text = String::from_utf8(render(published, Format::Text)).unwrap_or_default();
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        Some((name.to_owned(), pairs.collect(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The model that the crate wants, made of the samples.
fn families(samples: &[Sample]) -> Vec<MetricFamily> {
    let mut families: BTreeMap<&str, MetricFamily> = BTreeMap::new();
    for (name, labels, value) in samples {
        let is_counter = name.ends_with("_total");
        let family = families.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.clone());
            family.set_help("Help.".into());
            family.set_field_type(if is_counter { MetricType::COUNTER } else { MetricType::GAUGE });
            family
        });
        let pair = |(name, value): &(String, String)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(pair).collect());
        if is_counter {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        family.mut_metric().push(metric);
    }
    families.into_values().collect()
}

/// Their encoder alone, its model at hand.
#[divan::bench(args = PODS)]
fn crate_prometheus_encoder(bencher: Bencher<'_, '_>, pods: usize) {
    let samples = samples(&published(pods));
    let families = families(&samples);
    bencher
        .counter(ItemsCount::new(samples.len()))
        .bench_local(|| TextEncoder::new().encode_to_string(&families));
}

/// Their encoder and the model that it needs.
#[divan::bench(args = PODS)]
fn crate_prometheus_model_and_encoder(bencher: Bencher<'_, '_>, pods: usize) {
    let samples = samples(&published(pods));
    bencher
        .counter(ItemsCount::new(samples.len()))
        .bench_local(|| TextEncoder::new().encode_to_string(&families(&samples)));
}
