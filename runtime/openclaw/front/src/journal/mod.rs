//! Keeps every acknowledged update on the share until `OpenClaw` keeps it.
//!
//! The journal is a folder of parts. Each boot writes parts of its own; their numbers grow, and a part is only ever
//! appended to by the process that made it. What a part says is told by its sound records alone, so a front that starts
//! anew, or beside another one, reads all parts and knows what has not ended.
//!
//! - After any failure the current part is closed, since its end is unknown; the next write begins a new one.
//! - A part begins with the ends that are known by then, and parts are removed from the oldest on: no end is ever
//!   removed before its update.

mod actor;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;

pub use actor::{Handle, spawn};
pub use record::End;
pub(crate) use record::MAX_BODY_BYTES;
use record::Record;

use crate::share::{Appender, Folder};

/// A part that has grown past this takes no further update.
const PART_BYTES: u64 = 1 << 20;
/// The least number of ends that are remembered: whoever delivers repeats an update for some hours at most.
const MOST_ENDS: usize = 1024;
const ENDING: &str = ".journal";
const PROBE: &str = "probe";

/// Why an update or an end was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What has not ended fills the journal.
    #[error("the journal is full")]
    Full,
    /// The share failed.
    #[error("the share failed: {0}")]
    Share(#[from] io::Error),
    /// The share has not answered in time, or the journal's thread has ended.
    #[error("the share does not answer")]
    NoAnswer,
}

/// What became of an update that is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is new.
    New,
    /// It was kept before.
    Repeat,
}

/// An update that waits; `body` is `None` when the share lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Telegram's number of the update.
    pub id: i64,
    /// The update, byte for byte.
    pub body: Option<Vec<u8>>,
}

/// Where an update lies: the number of its part, the offset in it. The order is that in which they came.
type Place = (u64, u64);

/// The journal as one process knows it. All of it blocks.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: Folder,
    limit: u64,
    /// Whether the parts of former boots have been read.
    is_read: bool,
    /// The bytes of each part.
    parts: BTreeMap<u64, u64>,
    current: Option<(u64, Appender)>,
    /// What has not ended.
    waiting: BTreeMap<Place, (i64, usize)>,
    places: HashMap<i64, Place>,
    ended: HashSet<i64>,
    /// The same, the latest last.
    ends: VecDeque<(i64, End)>,
}

impl Journal {
    /// The journal in `folder`, which takes up to `limit` bytes of what has not ended, and a part more.
    pub(crate) fn new(folder: Folder, limit: u64) -> Self {
        Self {
            folder,
            limit,
            is_read: false,
            parts: BTreeMap::new(),
            current: None,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            ended: HashSet::new(),
            ends: VecDeque::new(),
        }
    }

    /// Keeps an update: when this returns, it is synced.
    pub(crate) fn append(&mut self, id: i64, body: &[u8]) -> Result<Appended, Error> {
        self.read_once()?;
        if self.places.contains_key(&id) || self.ended.contains(&id) {
            return Ok(Appended::Repeat);
        }
        let length = Record::update_bytes(body.len());
        if self.bytes_in_use() + length as u64 > self.limit {
            return Err(Error::Full);
        }
        let place = self.write(&[Record::Update { id, body }])?;
        self.waiting.insert(place, (id, length));
        self.places.insert(id, place);
        Ok(Appended::New)
    }

    /// Records how updates ended, in one write; parts of which all have ended are removed.
    pub(crate) fn record_ends(&mut self, ends: &[(i64, End)]) -> Result<(), Error> {
        self.read_once()?;
        let records: Vec<Record<'_>> = ends.iter().map(|&(id, end)| Record::End { id, end }).collect();
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records)?;
        ends.iter().for_each(|&(id, end)| self.remember_end(id, end));
        self.remove_ended_parts();
        Ok(())
    }

    /// The oldest updates that wait: at most `most`, and no further once they have `bytes`.
    pub(crate) fn waiting(&mut self, most: usize, bytes: usize) -> Result<Vec<Waiting>, Error> {
        self.read_once()?;
        let (mut found, mut size) = (Vec::new(), 0);
        for (&(part, offset), &(id, length)) in self.waiting.iter().take(most) {
            if size >= bytes {
                break;
            }
            let read = match self.folder.read_at(&name_of(part), offset, length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                read => Some(read?),
            };
            let body = read.as_deref().and_then(Record::read).and_then(|(record, _)| match record {
                Record::Update { id: found, body } if found == id => Some(body.to_vec()),
                Record::Update { .. } | Record::End { .. } => None,
            });
            size += length;
            found.push(Waiting { id, body });
        }
        Ok(found)
    }

    /// How many updates wait.
    pub(crate) fn count_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Reads all parts anew if another front has written any since.
    pub(crate) fn adopt(&mut self) -> Result<(), Error> {
        let mut sizes = BTreeMap::new();
        for number in self.list()? {
            sizes.insert(number, self.folder.size(&name_of(number))?);
        }
        if self.is_read && sizes == self.parts {
            return Ok(());
        }
        // What is recorded from now on stands in a part after all that was found here.
        self.current = None;
        let mut contents = Vec::new();
        for &number in sizes.keys() {
            contents.push((number, self.folder.read(&name_of(number))?));
        }
        self.take_over(&contents);
        self.is_read = true;
        Ok(())
    }

    /// Whether the share can be written now.
    pub(crate) fn probe(&mut self) -> Result<(), Error> {
        self.folder.replace(PROBE, b"written")?;
        Ok(self.folder.read(PROBE).map(drop)?)
    }

    fn read_once(&mut self) -> Result<(), Error> {
        if self.is_read { Ok(()) } else { self.adopt() }
    }

    fn take_over(&mut self, contents: &[(u64, Vec<u8>)]) {
        self.parts = contents.iter().map(|(number, bytes)| (*number, bytes.len() as u64)).collect();
        let mut updates = Vec::new();
        let mut ends = Vec::new();
        let mut damaged = 0;
        for (number, bytes) in contents {
            let (records, unsound) = Record::read_all(bytes);
            damaged += unsound;
            for (offset, record) in records {
                match record {
                    Record::Update { id, body } => {
                        updates.push(((*number, offset as u64), id, Record::update_bytes(body.len())));
                    }
                    Record::End { id, end } => ends.push((id, end)),
                }
            }
        }
        if damaged > 0 {
            tracing::warn!(
                code = "journal_damaged",
                bytes = damaged,
                "parts of the journal are torn or no records; what is before and after is kept"
            );
        }
        (self.waiting, self.places, self.ended, self.ends) = Default::default();
        ends.into_iter().for_each(|(id, end)| self.remember_end(id, end));
        for (place, id, length) in updates {
            if !self.ended.contains(&id) && !self.places.contains_key(&id) {
                self.waiting.insert(place, (id, length));
                self.places.insert(id, place);
            }
        }
    }

    fn remember_end(&mut self, id: i64, end: End) {
        if let Some(place) = self.places.remove(&id) {
            self.waiting.remove(&place);
        }
        if self.ended.insert(id) {
            self.ends.push_back((id, end));
        }
    }

    /// Appends records to the current part, or to a new one; returns where the last of them begins.
    fn write(&mut self, records: &[Record<'_>]) -> Result<Place, Error> {
        // After a failure the end of the part is unknown: it is put back only if all went well.
        let current = self.current.take().filter(|(number, _)| self.size_of(*number) < PART_BYTES);
        let mut bytes = Vec::new();
        let (number, mut file) = match current {
            Some(current) => current,
            None => {
                let created = self.create_part()?;
                self.forget_oldest_ends();
                self.ends.iter().for_each(|&(id, end)| Record::End { id, end }.write_to(&mut bytes));
                created
            }
        };
        let start = self.size_of(number);
        let mut last = start;
        for record in records {
            last = start + bytes.len() as u64;
            record.write_to(&mut bytes);
        }
        let result = file.append(&bytes);
        let end = start + bytes.len() as u64;
        // A share that was lost meanwhile, or a file that another front removed, does not have them.
        let found = self.folder.size(&name_of(number)).unwrap_or_default();
        self.parts.insert(number, found);
        result?;
        if found != end {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.current = Some((number, file));
        self.remove_ended_parts();
        Ok((number, last))
    }

    /// Makes a part after all that there are; another front may be making one as well.
    fn create_part(&mut self) -> Result<(u64, Appender), Error> {
        let listed = self.list()?.into_iter().next_back().unwrap_or_default();
        let known = self.parts.last_key_value().map_or(0, |(number, _)| *number);
        let mut number = listed.max(known) + 1;
        loop {
            match self.folder.create(&name_of(number)) {
                Ok(file) => {
                    self.parts.insert(number, 0);
                    return Ok((number, file));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn forget_oldest_ends(&mut self) {
        while self.ends.len() > MOST_ENDS {
            if let Some((id, _)) = self.ends.pop_front() {
                self.ended.remove(&id);
            }
        }
    }

    /// Removes, from the oldest on, the parts that hold nothing that waits. One that cannot be removed now is tried
    /// again with the next.
    fn remove_ended_parts(&mut self) {
        let current = self.current.as_ref().map_or(0, |(number, _)| *number);
        let needed = self.waiting.first_key_value().map_or(current, |((number, _), _)| (*number).min(current));
        for number in self.parts.range(..needed).map(|(number, _)| *number).collect::<Vec<_>>() {
            match self.folder.remove(&name_of(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                Ok(()) | Err(_) => self.parts.remove(&number),
            };
        }
    }

    /// The bytes of the parts from the oldest that is needed on.
    fn bytes_in_use(&self) -> u64 {
        let Some(((oldest, _), _)) = self.waiting.first_key_value() else { return 0 };
        self.parts.range(oldest..).map(|(_, bytes)| bytes).sum()
    }

    fn size_of(&self, number: u64) -> u64 {
        self.parts.get(&number).copied().unwrap_or_default()
    }

    fn list(&self) -> Result<BTreeSet<u64>, Error> {
        let number_of = |name: &String| name.strip_suffix(ENDING)?.parse().ok();
        Ok(self.folder.list()?.iter().filter_map(number_of).collect())
    }
}

fn name_of(part: u64) -> String {
    format!("{part:012}{ENDING}")
}

#[cfg(test)]
mod tests;
