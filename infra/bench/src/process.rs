//! A running function, seen from outside: its memory and its CPU time as the kernel counts them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// A setting and its value.
pub(crate) type Setting = (&'static str, String);

/// A function's process; it ends when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `binary` as Lambda does, with nothing in its environment but what a function is given.
    pub(crate) fn spawn(binary: &Path, runtime_api: SocketAddr, settings: &[Setting]) -> std::io::Result<Self> {
        Self::spawn_command(Command::new(binary), runtime_api, settings)
    }

    /// Starts a command that runs a function's binary, in the same way.
    pub(crate) fn spawn_command(
        mut command: Command,
        runtime_api: SocketAddr,
        settings: &[Setting],
    ) -> std::io::Result<Self> {
        let child = command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_SESSION_TOKEN", "bench")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> std::io::Result<()> {
        self.child.wait().map(drop)
    }

    /// The most memory it ever held, in MiB.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(self.proc().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no `VmHWM` in its status")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(self.proc().join("task"))? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += schedstat.split(' ').next().context("an empty `schedstat`")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
