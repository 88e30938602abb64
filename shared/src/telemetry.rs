//! Log lines and metrics: one JSON object a line on standard output.
//!
//! Log lines come from `tracing`; counts that alarms need are CloudWatch's embedded metrics, which cost no call.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
//!
//! Neither ever carries a secret, an address with one in it, or a word of a message.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::clock::Clock;

const NAMESPACE: &str = "NBHD";

/// Where lines go; before a start they go nowhere.
enum Destination {
    StandardOutput,
    Memory(Mutex<Vec<u8>>),
    File(File),
}

static DESTINATION: OnceLock<Destination> = OnceLock::new();

/// Starts logging for the function `name`; call it once, before anything else.
pub fn init(name: &'static str) {
    start(Destination::StandardOutput);
    // A panic's own message may quote what was being read, be it mail or a token; where it happened finds the bug.
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(function = name, code = "panicked", place, "a bug ended this piece of work");
    }));
    tracing::info!(function = name, "started");
}

/// Starts logging into `file` instead. For the local world, whose terminal shows other things.
pub fn init_file(file: File) {
    start(Destination::File(file));
}

/// Keeps every line the process emits from now on, and returns what was kept so far. For tests.
pub fn capture() -> String {
    start(Destination::Memory(Mutex::default()));
    match DESTINATION.get() {
        Some(Destination::Memory(kept)) => String::from_utf8_lossy(&lock(kept)).into_owned(),
        Some(Destination::StandardOutput | Destination::File(_)) | None => String::new(),
    }
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
    let _ = Output.write_all(format!("{line}\n").as_bytes());
}

/// The first start counts; a later one changes nothing.
fn start(destination: Destination) {
    if DESTINATION.set(destination).is_err() {
        return;
    }
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_writer(Output);
    let subscriber = tracing_subscriber::registry().with(lines).with(LevelFilter::INFO);
    // Fails only where the process has a subscriber of its own, which then stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The destination, as a writer.
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match DESTINATION.get() {
            Some(Destination::StandardOutput) => io::stdout().lock().write(line),
            Some(Destination::Memory(kept)) => lock(kept).write(line),
            Some(Destination::File(file)) => (&mut &*file).write(line),
            None => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match DESTINATION.get() {
            Some(Destination::StandardOutput) => io::stdout().lock().flush(),
            Some(Destination::File(file)) => (&mut &*file).flush(),
            Some(Destination::Memory(_)) | None => Ok(()),
        }
    }
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
