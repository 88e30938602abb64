//! The files on the tenant's share: every effect on them, and how each can go wrong.
//!
//! An SMB share can be full, read-only or gone, and after a lost connection a file's end may be torn or zeros. Tests
//! bring each of these about through [`Effects`], and stop the front between any two effects.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

/// What the front does that others see or that outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A folder or a file appears.
    Create,
    /// Bytes are written at a file's end.
    Write,
    /// A file's bytes are synced.
    Sync,
    /// A folder's entries are synced.
    SyncFolder,
    /// A file takes another one's name.
    Rename,
    /// A file is removed.
    Remove,
    /// A folder or a file is read.
    Read,
    /// A webhook is answered that the update is kept.
    Answer,
    /// An update is posted to `OpenClaw`.
    HandOver,
    /// A person is told that their message was skipped.
    Notify,
}

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes place.
    None,
    /// It fails, and nothing happened.
    Fails(io::ErrorKind),
    /// Only so many bytes of it are written; then it fails.
    Torn(usize),
}

/// Decides what becomes of each effect; in production every one takes place.
#[derive(Clone, Default)]
pub struct Effects(Option<Arc<dyn Fn(Effect) -> Fault + Send + Sync>>);

impl Effects {
    /// Asks `hook` before each effect. For tests.
    pub fn hook(hook: impl Fn(Effect) -> Fault + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Asks what becomes of an effect that cannot be half done.
    ///
    /// # Errors
    /// When it does not take place.
    pub fn check(&self, effect: Effect) -> io::Result<()> {
        match self.fault(effect) {
            Fault::None => Ok(()),
            Fault::Fails(kind) => Err(kind.into()),
            Fault::Torn(_) => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn fault(&self, effect: Effect) -> Fault {
        self.0.as_ref().map_or(Fault::None, |hook| hook(effect))
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Effects")
    }
}

/// A folder of the share. All of it blocks, for as long as the share takes.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    effects: Effects,
}

impl Folder {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: PathBuf, effects: Effects) -> Self {
        Self { path, effects }
    }

    /// A folder in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { path: self.path.join(name), effects: self.effects.clone() }
    }

    /// The names of its files; none when it does not exist.
    ///
    /// # Errors
    /// When the share cannot be read.
    pub fn list(&self) -> io::Result<Vec<String>> {
        self.effects.check(Effect::Read)?;
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// The size of a file in bytes.
    ///
    /// # Errors
    /// When there is none of this name, or the share cannot be read.
    pub fn size(&self, name: &str) -> io::Result<u64> {
        self.effects.check(Effect::Read)?;
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When there is none of this name, or the share cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.effects.check(Effect::Read)?;
        fs::read(self.path.join(name))
    }

    /// `length` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// When it has fewer, or the share cannot be read.
    pub fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.effects.check(Effect::Read)?;
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes a file that only this process's user can read, the folder as well if there is none.
    ///
    /// # Errors
    /// When there is a file of this name already, or the share cannot be written.
    pub fn create(&self, name: &str) -> io::Result<Appender> {
        if !self.path.is_dir() {
            self.effects.check(Effect::Create)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            if let Some(parent) = self.path.parent() {
                self.sync_folder(parent.to_path_buf())?;
            }
        }
        self.effects.check(Effect::Create)?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        self.sync_folder(self.path.clone())?;
        Ok(Appender { file, effects: self.effects.clone() })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When there is none of this name, or the share cannot be written.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.effects.check(Effect::Remove)?;
        fs::remove_file(self.path.join(name))
    }

    /// Writes a file as a whole: whoever reads it finds its former content or this one.
    ///
    /// # Errors
    /// When the share cannot be written; the file then has its former content.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let draft = format!("{name}.new");
        match self.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.create(&draft)?;
        file.append(content)?;
        self.effects.check(Effect::Rename)?;
        fs::rename(self.path.join(draft), self.path.join(name))?;
        self.sync_folder(self.path.clone())
    }

    /// Not every share can sync a folder; one that cannot has nothing to be synced.
    fn sync_folder(&self, path: PathBuf) -> io::Result<()> {
        self.effects.check(Effect::SyncFolder)?;
        match File::open(path)?.sync_all() {
            Err(error) if [io::ErrorKind::Unsupported, io::ErrorKind::InvalidInput].contains(&error.kind()) => Ok(()),
            result => result,
        }
    }
}

/// A new file, which grows at its end.
#[derive(Debug)]
pub struct Appender {
    file: File,
    effects: Effects,
}

impl Appender {
    /// Appends `bytes` and syncs them.
    ///
    /// # Errors
    /// When the share cannot be written; the file's end is unknown then, so nothing may be appended any more.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.effects.fault(Effect::Write) {
            Fault::None => self.file.write_all(bytes)?,
            Fault::Fails(kind) => return Err(kind.into()),
            Fault::Torn(length) => {
                self.file.write_all(bytes.get(..length).unwrap_or(bytes))?;
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.effects.check(Effect::Sync)?;
        self.file.sync_all()
    }
}
