//! Writes log lines and metrics to standard output, one JSON object a line.
//!
//! Log lines come from `tracing`; counts that alarms need are CloudWatch's embedded metrics, which cost no request.
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

/// The destination of lines; until one is set they are dropped.
enum Destination {
    StandardOutput,
    Memory(Mutex<Vec<u8>>),
    File(File),
}

static DESTINATION: OnceLock<Destination> = OnceLock::new();

/// Starts logging for the function `name`; its `main` calls this once, before anything else.
pub fn init(name: &'static str) {
    set_destination(Destination::StandardOutput);
    // A panic's own message may quote mail or a token, so only its place in the source is logged.
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(function = name, code = "panicked", place, "the code panicked; the process ends here");
    }));
    tracing::info!(function = name, "a new process of the function has started");
}

/// Starts logging into `file`, for the local world, whose terminal shows the story instead.
pub fn init_file(file: File) {
    set_destination(Destination::File(file));
}

/// Keeps every line that the process writes from now on in memory, and returns those kept so far. For tests.
pub fn capture() -> String {
    set_destination(Destination::Memory(Mutex::default()));
    match DESTINATION.get() {
        Some(Destination::Memory(kept)) => String::from_utf8_lossy(&lock(kept)).into_owned(),
        Some(Destination::StandardOutput | Destination::File(_)) | None => String::new(),
    }
}

/// Adds `value` to the metric `name` (CamelCase, as the alarms of `template.yaml` name it).
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

/// Sets the destination and installs the subscriber; only the first call has an effect.
fn set_destination(destination: Destination) {
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
    // Fails only if the process already has a subscriber, which then stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A writer to the destination.
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
