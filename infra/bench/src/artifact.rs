//! Release binaries, built one package at a time as they are deployed: a build of the whole workspace would unify
//! features and give every function the dependencies of all.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use flate2::Compression;
use flate2::write::DeflateEncoder;

/// A built, stripped binary.
pub(crate) struct Artifact {
    /// The package it is built from.
    pub(crate) name: &'static str,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl Artifact {
    /// Builds the echo and the functions that are measured against it.
    pub(crate) fn built(echo: &'static str, functions: &[&'static str]) -> anyhow::Result<(Self, Vec<Self>)> {
        let functions = functions.iter().copied().map(Self::build).collect::<Result<_, _>>()?;
        Ok((Self::build(echo)?, functions))
    }

    fn build(name: &'static str) -> anyhow::Result<Self> {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--quiet", "--package", name, "--bin", name])
            .current_dir(&root)
            .status()
            .context("`cargo` could not be run")?;
        ensure!(status.success(), "`{name}` does not build in release");
        Ok(Self { name, path: root.join("target/release").join(name) })
    }

    /// The size of the zip that is uploaded, in MB, without its 130 bytes of headers.
    pub(crate) fn zipped(&self) -> anyhow::Result<f64> {
        let mut zip = DeflateEncoder::new(Vec::new(), Compression::default());
        zip.write_all(&std::fs::read(&self.path)?)?;
        Ok(zip.finish()?.len() as f64 / 1e6)
    }
}
