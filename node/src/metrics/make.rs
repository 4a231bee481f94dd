//! One metric of each type, made and registered.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, process_collector::ProcessCollector,
};

/// Buckets from half a millisecond to 32 s.
const LATENCY_BUCKETS: [f64; 17] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0,
    16.0, 32.0,
];

const UNIQUE: &str = "each metric is registered once, under a valid name";

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let metric = IntGauge::new(name, help).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    let metric = Gauge::new(name, help).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let metric = IntCounter::new(name, help).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
    let metric = Histogram::with_opts(options).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn histograms(registry: &Registry, name: &str, help: &str, label: &str) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
    let metric = HistogramVec::new(options, &[label]).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    labelled(registry, name, help, &[label])
}

/// A gauge that is not always there.
pub(super) fn passing_gauge(registry: &Registry, name: &str, help: &str) -> IntGaugeVec {
    labelled(registry, name, help, &[])
}

fn labelled(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn float_gauges(registry: &Registry, name: &str, help: &str, label: &str) -> GaugeVec {
    let metric = GaugeVec::new(Opts::new(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}

pub(super) fn build_info(registry: &Registry) {
    let options = Opts::new("quorate_build_info", "The release; always 1.");
    let info = GaugeVec::new(options, &["version"]).expect(UNIQUE);
    info.with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
    registry.register(Box::new(info)).expect(UNIQUE);
}

/// `process_*`, as every exporter has them: memory, CPU time, open files. Read from `/proc` when they are asked for.
pub(super) fn process(registry: &Registry) {
    let collector = ProcessCollector::for_self();
    registry.register(Box::new(collector)).expect(UNIQUE);
}

pub(super) fn start_time(registry: &Registry) {
    let help = "Start of the process, in seconds since the Unix epoch.";
    let gauge = Gauge::new("quorate_start_time_seconds", help).expect(UNIQUE);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    gauge.set(since.unwrap_or_default().as_secs_f64());
    registry.register(Box::new(gauge)).expect(UNIQUE);
}
