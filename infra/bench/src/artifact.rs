//! Release binaries, built one package at a time as they are deployed: a build of the whole workspace would unify
//! features and give every function the dependencies of all.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::functions::{FUNCTIONS, Function};

/// A built, stripped binary.
pub(crate) struct Artifact {
    /// What it is, and its bars.
    pub(crate) function: Function,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// Functions and the echo they are measured against.
pub(crate) struct Group {
    /// Built as they are.
    pub(crate) echo: Artifact,
    /// In the order of [`FUNCTIONS`].
    pub(crate) functions: Vec<Artifact>,
}

impl Group {
    /// Builds every function, and an echo for each kind and profile.
    pub(crate) fn build_all() -> anyhow::Result<Vec<Self>> {
        let mut groups: Vec<Self> = Vec::new();
        for &function in FUNCTIONS {
            let artifact = Artifact::build(function)?;
            match groups.iter_mut().find(|group| group.echo.function.is_measured_with(&function)) {
                Some(group) => group.functions.push(artifact),
                None => groups.push(Self { echo: Artifact::build(function.to_echo())?, functions: vec![artifact] }),
            }
        }
        Ok(groups)
    }

    /// The function `name`, wherever it is.
    pub(crate) fn find<'g>(groups: &'g [Self], name: &str) -> anyhow::Result<&'g Artifact> {
        let mut functions = groups.iter().flat_map(|group| &group.functions);
        functions.find(|artifact| artifact.function.name == name).with_context(|| format!("no function `{name}`"))
    }
}

impl Artifact {
    /// The function `name`, alone.
    pub(crate) fn build_named(name: &str) -> anyhow::Result<Self> {
        let function = FUNCTIONS.iter().copied().find(|function| function.name == name);
        Self::build(function.with_context(|| format!("no function `{name}`"))?)
    }

    fn build(function: Function) -> anyhow::Result<Self> {
        let Function { name, profile, .. } = function;
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let status = Command::new(env!("CARGO"))
            .args(["build", "--profile", profile, "--locked", "--package", name, "--bin", name])
            .current_dir(&root)
            .status()
            .context("`cargo` could not be run")?;
        ensure!(status.success(), "`{name}` does not build in the profile `{profile}`");
        Ok(Self { function, path: root.join("target").join(profile).join(name) })
    }

    /// The size of the zip that is uploaded, in MB, without its 130 bytes of headers.
    pub(crate) fn zip_size(&self) -> anyhow::Result<f64> {
        let mut zip = DeflateEncoder::new(Vec::new(), Compression::default());
        zip.write_all(&std::fs::read(&self.path)?)?;
        Ok(zip.finish()?.len() as f64 / 1e6)
    }
}
