//! What is to be up before the front takes updates, and before `OpenClaw` takes turns.
//!
//! A configuration that `OpenClaw` refuses would hold every message that the front has acknowledged. So the front takes
//! none before this release's configuration has been validated once; a stamp on the share remembers that it was.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ring::digest;

use crate::share::Folder;

/// The reason code of a container that can take turns.
pub const READY: &str = "ready";
/// The reason code of a share that cannot be written.
pub const SHARE_NOT_WRITABLE: &str = "share_not_writable";
const NOT_VALIDATED: &str = "configuration_not_validated";
const GATEWAY_NOT_READY: &str = "gateway_not_ready";
const LISTENER_NOT_READY: &str = "listener_not_ready";

const STAMPS: &str = "validated";
/// A release, the one before it, and those of a tenant that changes its tier.
const MOST_STAMPS: usize = 16;
/// The limit of one question to `OpenClaw`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether updates are taken, and whether turns are.
#[derive(Debug)]
pub struct Readiness {
    folder: Folder,
    stamp: String,
    is_validated: AtomicBool,
    http: reqwest::Client,
    gateway: String,
    webhook: String,
}

impl Readiness {
    /// The readiness of `release` with `config`, for an `OpenClaw` at these two addresses. Nothing is read yet.
    pub fn new(folder: Folder, (release, config): (&str, &str), http: reqwest::Client, addresses: [String; 2]) -> Self {
        let [gateway, webhook] = addresses;
        let stamp = stamp(release, config);
        Self { folder, stamp, is_validated: AtomicBool::new(false), http, gateway, webhook }
    }

    /// Whether this release's configuration was validated, in this boot or before it.
    pub fn is_validated(&self) -> bool {
        self.is_validated.load(Ordering::SeqCst)
    }

    /// Reads the stamps; a torn file has none of them, and the configuration is validated anew. Blocks.
    ///
    /// # Errors
    /// When the share cannot be read.
    pub fn read_stamp(&self) -> io::Result<bool> {
        let is_stamped = self.stamps()?.contains(&self.stamp);
        self.is_validated.fetch_or(is_stamped, Ordering::SeqCst);
        Ok(self.is_validated())
    }

    /// Notes that `OpenClaw` has validated this release's configuration. Blocks.
    ///
    /// # Errors
    /// When the share cannot be written. Updates are taken all the same: in this boot they can be handed over.
    pub fn write_stamp(&self) -> io::Result<()> {
        self.is_validated.store(true, Ordering::SeqCst);
        let mut stamps = self.stamps()?;
        stamps.retain(|stamp| *stamp != self.stamp);
        stamps.insert(0, self.stamp.clone());
        stamps.truncate(MOST_STAMPS);
        self.folder.replace(STAMPS, stamps.join("\n").as_bytes())
    }

    /// The stamps, the latest first.
    fn stamps(&self) -> io::Result<Vec<String>> {
        match self.folder.read(STAMPS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            content => Ok(String::from_utf8_lossy(&content?).lines().map(str::to_owned).collect()),
        }
    }

    /// Why `OpenClaw` can or cannot take a turn. Its gateway alone does not know: it was seen ready while the listener
    /// for updates was down.
    pub async fn reason(&self) -> &'static str {
        if !self.is_validated() {
            return NOT_VALIDATED;
        }
        if !self.is_up(&self.gateway, "readyz").await {
            return GATEWAY_NOT_READY;
        }
        if self.is_up(&self.webhook, "healthz").await { READY } else { LISTENER_NOT_READY }
    }

    async fn is_up(&self, address: &str, path: &str) -> bool {
        let answer = self.http.get(format!("{address}/{path}")).timeout(TIMEOUT).send().await;
        answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK)
    }
}

/// What names a release and a configuration together.
fn stamp(release: &str, config: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [release, config] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{Effect, Effects, Fault};

    fn readiness(root: &std::path::Path, release: &str, config: &str, effects: Effects) -> Readiness {
        let http = nbhd::http::client_with_roots(None).expect("a client");
        let addresses = ["http://127.0.0.1:1", "http://127.0.0.1:1"].map(str::to_owned);
        Readiness::new(Folder::new(root.to_path_buf(), effects), (release, config), http, addresses)
    }

    #[test]
    fn a_stamp_is_for_its_release_and_configuration_and_outlives_the_boot() {
        let root = tempfile::tempdir().expect("a folder");
        let read = |release, config| {
            readiness(root.path(), release, config, Effects::default()).read_stamp().expect("readable")
        };
        assert!(!read("r1", "{}"));
        readiness(root.path(), "r1", "{}", Effects::default()).write_stamp().expect("written");
        assert!(read("r1", "{}") && !read("r2", "{}") && !read("r1", "{ }") && !read("r1{", "}"));
        readiness(root.path(), "r2", "{}", Effects::default()).write_stamp().expect("written");
        assert!(read("r1", "{}") && read("r2", "{}"), "the way back needs no second validation");
        for config in 0..MOST_STAMPS {
            readiness(root.path(), "r3", &config.to_string(), Effects::default()).write_stamp().expect("written");
        }
        assert!(!read("r1", "{}") && read("r3", "0"));
    }

    #[test]
    fn a_torn_stamp_is_none_and_a_share_that_takes_none_does_not_hold_this_boot_up() {
        let root = tempfile::tempdir().expect("a folder");
        readiness(root.path(), "r1", "{}", Effects::default()).write_stamp().expect("written");
        let file = root.path().join(STAMPS);
        let whole = std::fs::read(&file).expect("a stamp");
        for torn in [Vec::new(), vec![0; whole.len()], whole[..63].to_vec()] {
            std::fs::write(&file, torn).expect("written");
            assert!(!readiness(root.path(), "r1", "{}", Effects::default()).read_stamp().expect("readable"));
        }
        let full =
            Effects::hook(
                |effect| {
                    if effect == Effect::Write { Fault::Fails(io::ErrorKind::StorageFull) } else { Fault::None }
                },
            );
        let boot = readiness(root.path(), "r1", "{}", full);
        assert!(boot.write_stamp().is_err() && boot.is_validated());
        let gone = Effects::hook(|_| Fault::Fails(io::ErrorKind::NotConnected));
        assert!(readiness(root.path(), "r1", "{}", gone).read_stamp().is_err());
    }
}
