//! Figures about this process, counted as things happen and shown in the
//! text form that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the classes of request times, seconds.
const CLASSES: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Requests by the first digit of their answer's status (index 0 unused).
    requests: [AtomicU64; 6],
    times: [AtomicU64; CLASSES.len()],
    time_micros: AtomicU64,
    /// Bytes that came in as uploads and results.
    pub(crate) bytes_in: AtomicU64,
    /// Bytes that went out as sources and outputs.
    pub(crate) bytes_out: AtomicU64,
    /// Deliveries to webhooks that were taken.
    pub(crate) hooks_delivered: AtomicU64,
    /// Attempts at such deliveries that failed.
    pub(crate) hooks_failed: AtomicU64,
    /// Sources fetched by URL or from a library.
    pub(crate) fetched: AtomicU64,
    /// Attempts at that which failed.
    pub(crate) fetch_failed: AtomicU64,
}

/// The figures of this process.
pub(crate) fn metrics() -> &'static Metrics {
    static METRICS: std::sync::OnceLock<Metrics> = std::sync::OnceLock::new();
    METRICS.get_or_init(Metrics::default)
}

/// Adds to a figure.
pub(crate) fn add(figure: &AtomicU64, count: u64) {
    figure.fetch_add(count, Ordering::Relaxed);
}

impl Metrics {
    /// A request was answered with `status` after `time`.
    pub(crate) fn answered(&self, status: u16, time: Duration) {
        if let Some(count) = self.requests.get(usize::from(status / 100)) {
            add(count, 1);
        }
        for (class, count) in CLASSES.iter().zip(&self.times) {
            if time.as_secs_f64() <= *class {
                add(count, 1);
            }
        }
        add(&self.time_micros, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes all figures.
    pub(crate) fn write(&self, page: &mut Page) {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let mut requests =
            page.family("reelmill_http_requests_total", "counter", "Requests answered.");
        let mut all = 0;
        for (class, count) in self.requests.iter().enumerate().skip(1) {
            all += read(count);
            requests.sample(&format!("class=\"{class}xx\""), read(count) as f64);
        }
        let name = "reelmill_http_request_seconds";
        let mut times = page.family(name, "histogram", "Time until a request's answer began.");
        for (class, count) in CLASSES.iter().zip(&self.times) {
            times.named("_bucket", &format!("le=\"{class}\""), read(count) as f64);
        }
        times.named("_bucket", "le=\"+Inf\"", all as f64);
        times.named("_sum", "", read(&self.time_micros) as f64 / 1e6);
        times.named("_count", "", all as f64);
        let mut bytes = page.family("reelmill_transfer_bytes_total", "counter", "Bytes moved.");
        bytes.sample("direction=\"in\"", read(&self.bytes_in) as f64);
        bytes.sample("direction=\"out\"", read(&self.bytes_out) as f64);
        let name = "reelmill_webhook_deliveries_total";
        let mut hooks = page.family(name, "counter", "Attempts to tell webhooks.");
        hooks.sample("outcome=\"delivered\"", read(&self.hooks_delivered) as f64);
        hooks.sample("outcome=\"failed\"", read(&self.hooks_failed) as f64);
        let name = "reelmill_source_fetches_total";
        let mut fetches = page.family(name, "counter", "Attempts to fetch sources.");
        fetches.sample("outcome=\"fetched\"", read(&self.fetched) as f64);
        fetches.sample("outcome=\"failed\"", read(&self.fetch_failed) as f64);
    }
}

/// A page of figures.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// Figures of one name.
pub(crate) struct Family<'a> {
    page: &'a mut String,
    name: String,
}

impl Page {
    /// Begins the figures called `name`.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name: name.to_owned() }
    }

    /// One figure that has its name for itself.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help).sample("", value);
    }

    /// Figures by the word of one label.
    pub(crate) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &BTreeMap<String, f64>,
    ) {
        let mut family = self.family(name, "gauge", help);
        for (word, value) in values {
            family.sample(&format!("{label}=\"{word}\""), *value);
        }
    }

    /// The text.
    pub(crate) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// A figure with these labels.
    pub(crate) fn sample(&mut self, labels: &str, value: f64) {
        self.named("", labels, value);
    }

    fn named(&mut self, ending: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.page, "{}{ending}{labels} {value}", self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_type_for_every_figure_and_cumulative_classes() {
        let metrics = Metrics::default();
        metrics.answered(200, Duration::from_millis(20));
        metrics.answered(404, Duration::from_millis(2));
        let mut page = Page::default();
        metrics.write(&mut page);
        page.gauge("reelmill_up", "Whether it is.", 1.0);
        let text = page.text();
        for line in [
            "reelmill_http_requests_total{class=\"2xx\"} 1",
            "reelmill_http_requests_total{class=\"4xx\"} 1",
            "reelmill_http_request_seconds_bucket{le=\"0.005\"} 1",
            "reelmill_http_request_seconds_bucket{le=\"0.025\"} 2",
            "reelmill_http_request_seconds_bucket{le=\"+Inf\"} 2",
            "reelmill_http_request_seconds_count 2",
            "# TYPE reelmill_http_request_seconds histogram",
            "reelmill_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().fold(name, |n, e| n.trim_end_matches(e));
            assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
        }
    }
}
