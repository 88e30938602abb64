//! Cold starts: from the spawn of the process to its first poll of the Runtime API, size and memory.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::artifact::{Artifact, Group};
use crate::process::{Process, Setting};
use crate::report::Report;
use crate::ssm::ParameterStore;

/// Starts of each binary that are measured, after the ones that warm the page cache.
const STARTS: usize = 101;
const WARM_UP: usize = 5;

/// How long a function may take to start before it is taken for broken.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>
const FIRST_POLL: &[u8] = b"GET /2018-06-01/runtime/invocation/next ";

/// The secrets among the settings, which are SSM parameters where the functions are deployed.
const SECRETS: [&str; 9] = [
    "MODEL_GATEWAY_MANAGEMENT_KEY",
    "TELEGRAM_WEBHOOK_SECRETS",
    "TELEGRAM_BOT_TOKEN",
    "TENANT_ID_KEY",
    "RUNTIME_KEYS",
    "LINK_SIGNING_KEYS",
    "GOOGLE_CLIENT_SECRET",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
];

/// The value of a secret: it can be a bot's token, or a key with its id.
pub(crate) fn secret(name: &str) -> &'static str {
    match name {
        "TELEGRAM_WEBHOOK_SECRETS" => "a-secret-without-an-id",
        _ => "123456:a-secret-of-more-than-32-bytes-for-the-bench",
    }
}

/// Settings with which every function starts, secrets in plain text.
pub(crate) fn plain_settings() -> Vec<Setting> {
    let secrets = SECRETS.map(|name| (name, secret(name).to_owned()));
    let mut settings: Vec<Setting> = [
        ("TABLE_NAME", "nbhd"),
        ("INBOUND_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/1/inbound.fifo"),
        ("INBOUND_DLQ_URL", "https://sqs.eu-central-1.amazonaws.com/1/inbound-dlq.fifo"),
        ("REFRESH_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/1/refresh"),
        ("LIFECYCLE_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/1/lifecycle"),
        ("STRIPE_PRICE_BASIC", "price_basic"),
        ("STRIPE_PRICE_PLUS", "price_plus"),
        ("PUBLIC_BASE_URL", "https://api.example.com"),
        ("TELEGRAM_BOT_USERNAME", "nbhd_bot"),
        ("GOOGLE_CLIENT_ID", "bench.apps.example.com"),
        ("KEY_VAULT_URLS", "https://bench.vault.azure.net"),
        ("AZURE_TENANT_ID", "11111111-1111-1111-1111-111111111111"),
        ("AZURE_CLIENT_ID", "22222222-2222-2222-2222-222222222222"),
        ("AZURE_SHARDS", "33333333-3333-3333-3333-333333333333/files/bench"),
        ("AZURE_RESOURCE_GROUP", "nbhd"),
        ("AZURE_LOCATION", "eastus"),
        ("CONTAINER_ENVIRONMENT", "nbhd"),
        ("ENVIRONMENT_IDENTITY", "nbhd-environment"),
        (
            "PULL_IDENTITY",
            "/subscriptions/3/resourceGroups/nbhd/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
        ),
        ("CONTAINER_REGISTRY", "nbhd.azurecr.io"),
        ("OPENCLAW_IMAGE", "nbhd.azurecr.io/openclaw@sha256:0"),
        ("MODEL_ID", "vendor/model"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    settings.extend(secrets);
    settings
}

/// The same settings with every secret a parameter of `store`.
pub(crate) fn settings_from(store: &ParameterStore) -> Vec<Setting> {
    let mut settings = plain_settings();
    for (name, value) in &mut settings {
        if SECRETS.contains(name) {
            *value = format!("ssm:/nbhd/{name}");
        }
    }
    settings.push(("AWS_ENDPOINT_URL_SSM", store.base_url()));
    settings
}

/// Zip sizes.
pub(crate) fn report_sizes(report: &mut Report, groups: &[Group]) -> anyhow::Result<()> {
    report.section("Size of the zip");
    for artifact in groups.iter().flat_map(|group| &group.functions) {
        report.at_most(artifact.function.name, artifact.zip_size()?, artifact.function.zip, "MB");
    }
    Ok(())
}

/// Starts of every function against its bare echo, and the memory they take.
pub(crate) fn measure_starts(report: &mut Report, group: &Group, settings: &[Setting]) -> anyhow::Result<()> {
    report.section(&format!(
        "Cold start, spawn to first poll, against `{}`: median of {STARTS}",
        group.echo.function.name
    ));
    let starts = start_interleaved(group, settings)?;
    let bare = median(&starts[0], |start| start.init);
    report.figure(
        group.echo.function.name,
        &format!("{:.2} ms, {:.1} MiB", bare * 1e3, median(&starts[0], |start| start.memory)),
    );
    for (Artifact { function, .. }, starts) in group.functions.iter().zip(&starts[1..]) {
        let init = median(starts, |start| start.init);
        report.at_most(&format!("{} ({:.2} ms)", function.name, init * 1e3), init / bare, function.cold, "×");
        report.at_most(&format!("{} peak memory", function.name), median(starts, |start| start.memory), 10.0, "MiB");
    }
    Ok(())
}

/// The same starts with the secrets read from the parameter store: reported, since the store's distance is not ours.
pub(crate) fn measure_starts_with_parameters(
    report: &mut Report,
    group: &Group,
    settings: &[Setting],
) -> anyhow::Result<()> {
    report.section("Cold start with `ssm:` settings, against a parameter store on this machine");
    let starts = start_interleaved(group, settings)?;
    let bare = median(&starts[0], |start| start.init);
    for (Artifact { function, .. }, starts) in group.functions.iter().zip(&starts[1..]) {
        let init = median(starts, |start| start.init);
        report.figure(function.name, &format!("{:.2} ms, {:.2} ×", init * 1e3, init / bare));
    }
    Ok(())
}

struct Start {
    /// Seconds from the spawn to the first poll.
    init: f64,
    /// MiB at the first poll.
    memory: f64,
}

/// Measured starts of the echo, then of each function: one of each in turn.
fn start_interleaved(group: &Group, settings: &[Setting]) -> anyhow::Result<Vec<Vec<Start>>> {
    let artifacts: Vec<&Artifact> = std::iter::once(&group.echo).chain(&group.functions).collect();
    for artifact in &artifacts {
        ensure_starts(artifact, settings)?;
    }
    let mut starts: Vec<Vec<Start>> = artifacts.iter().map(|_| Vec::with_capacity(STARTS)).collect();
    for round in 0..WARM_UP + STARTS {
        for (artifact, starts) in artifacts.iter().zip(&mut starts) {
            let start = measure_start(artifact, settings)?;
            if round >= WARM_UP {
                starts.push(start);
            }
        }
    }
    Ok(starts)
}

fn measure_start(artifact: &Artifact, settings: &[Setting]) -> anyhow::Result<Start> {
    let runtime_api = TcpListener::bind(("127.0.0.1", 0))?;
    let began = Instant::now();
    let process = Process::spawn(&artifact.path, runtime_api.local_addr()?, settings)?;
    let (mut connection, _) = runtime_api.accept()?;
    let mut poll = [0; 1024];
    let read = connection.read(&mut poll)?;
    let init = began.elapsed().as_secs_f64();
    ensure!(
        poll[..read].starts_with(FIRST_POLL),
        "`{}` began with another request than a poll",
        artifact.function.name
    );
    let memory = process.peak_memory()?;
    // Before its connection closes, which it would complain about.
    drop(process);
    Ok(Start { init, memory })
}

/// A measured start waits for a connection without end; this one finds out whether there will be one.
fn ensure_starts(artifact: &Artifact, settings: &[Setting]) -> anyhow::Result<()> {
    let runtime_api = TcpListener::bind(("127.0.0.1", 0))?;
    runtime_api.set_nonblocking(true)?;
    let mut process = Process::spawn(&artifact.path, runtime_api.local_addr()?, settings)?;
    let began = Instant::now();
    loop {
        if let Ok(_connection) = runtime_api.accept() {
            drop(process);
            return Ok(());
        }
        if process.has_ended() || began.elapsed() > START_TIMEOUT {
            bail!("`{}` does not start with the bench's settings: its message is above", artifact.function.name);
        }
        std::thread::yield_now();
    }
}

fn median(starts: &[Start], figure: impl Fn(&Start) -> f64) -> f64 {
    let mut figures: Vec<f64> = starts.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
