//! Log lines and metrics: one JSON object a line on standard output.
//!
//! Log lines come from `tracing`; counts that alarms need are CloudWatch's embedded metrics, which cost no call.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
//!
//! Neither ever carries a secret, an address with one in it, or a word of a message.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::clock::Clock;

const NAMESPACE: &str = "NBHD";

/// Everything emitted so far, when [`capture`] was asked to keep it instead of printing.
static CAPTURED: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();

/// Starts logging for the function `name`; call it once, before anything else.
pub fn init(name: &'static str) {
    start(name, LevelFilter::INFO);
}

/// Keeps every line the process emits from now on, and returns what was kept so far. For tests.
pub fn capture() -> String {
    let kept = CAPTURED.get_or_init(|| {
        start("test", LevelFilter::INFO);
        Mutex::default()
    });
    String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// Adds `value` to the count `name` (CamelCase, a name the template's alarms know).
pub fn metric(name: &'static str, value: u32) {
    let line = json!({
        "_aws": {
            "Timestamp": Clock::System.now().millis(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [[]],
                "Metrics": [{ "Name": name, "Unit": "Count" }],
            }],
        },
        name: value,
    });
    // A full or closed standard output is not worth failing a request for.
    let _ = writeln!(Output, "{line}");
}

fn start(name: &'static str, level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_writer(Output);
    let subscriber = tracing_subscriber::registry().with(lines).with(level);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        tracing::info!(function = name, "started");
    }
}

/// Standard output, or the capture.
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match CAPTURED.get() {
            Some(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).write(line),
            None => io::stdout().lock().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if CAPTURED.get().is_some() { Ok(()) } else { io::stdout().lock().flush() }
    }
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
