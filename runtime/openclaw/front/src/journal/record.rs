//! The form of the journal's records: a marker, a length, a checksum, and the content.
//!
//! The end of a file may be torn, zeros or anything: what does not check out is passed over up to the next marker,
//! which begins with a byte that no JSON text has.

use ring::digest;

/// What begins a record.
const MARKER: [u8; 4] = [0xFF, b'N', b'J', 0x01];
const CHECKSUM_BYTES: usize = 12;
/// Marker, length, checksum.
const HEADER_BYTES: usize = MARKER.len() + 4 + CHECKSUM_BYTES;
/// The kind and the update's id.
const PREFIX_BYTES: usize = 9;
/// The largest body of an update.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

const UPDATE: u8 = 1;
const HANDED_OVER: u8 = 2;
const SKIPPED: u8 = 3;

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `OpenClaw` keeps it.
    HandedOver,
    /// `OpenClaw` refused it again and again.
    Skipped,
}

/// A record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An update that is kept.
    Update { id: i64, body: &'a [u8] },
    /// That one has ended.
    End { id: i64, end: End },
}

impl<'a> Record<'a> {
    /// Appends the record's bytes to `bytes`.
    pub(crate) fn write_to(&self, bytes: &mut Vec<u8>) {
        let (kind, id, body): (u8, i64, &[u8]) = match self {
            Self::Update { id, body } => (UPDATE, *id, body),
            Self::End { id, end: End::HandedOver } => (HANDED_OVER, *id, &[]),
            Self::End { id, end: End::Skipped } => (SKIPPED, *id, &[]),
        };
        let content = [&[kind], id.to_le_bytes().as_slice(), body].concat();
        bytes.extend(MARKER);
        // A body is far below 4 GiB.
        bytes.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(checksum(&content));
        bytes.extend(content);
    }

    /// How many bytes [`Self::write_to`] appends for an update.
    pub(crate) const fn update_bytes(body: usize) -> usize {
        HEADER_BYTES + PREFIX_BYTES + body
    }

    /// Reads the record that `bytes` begins with, and how many bytes it takes; `None` when there is no sound one.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let rest = bytes.strip_prefix(&MARKER)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (found, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let content = rest.get(..length).filter(|_| length <= PREFIX_BYTES + MAX_BODY_BYTES)?;
        if checksum(content) != *found {
            return None;
        }
        let (kind, content) = content.split_first()?;
        let (id, body) = content.split_first_chunk::<8>()?;
        let id = i64::from_le_bytes(*id);
        let record = match *kind {
            UPDATE => Self::Update { id, body },
            HANDED_OVER => Self::End { id, end: End::HandedOver },
            SKIPPED => Self::End { id, end: End::Skipped },
            _ => return None,
        };
        Some((record, HEADER_BYTES + length))
    }

    /// Reads every sound record with its offset, and counts the bytes that belong to none.
    pub(crate) fn read_all(bytes: &'a [u8]) -> (Vec<(usize, Self)>, usize) {
        let (mut records, mut at, mut damaged) = (Vec::new(), 0, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((record, length)) = Self::read(rest) {
                records.push((at, record));
                at += length;
            } else {
                let next = rest.windows(MARKER.len()).skip(1).position(|window| window == MARKER);
                let skipped = next.map_or(rest.len(), |next| next + 1);
                damaged += skipped;
                at += skipped;
            }
        }
        (records, damaged)
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    for (byte, hashed) in checksum.iter_mut().zip(digest::digest(&digest::SHA256, content).as_ref()) {
        *byte = *hashed;
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No byte of it is zero: zeros in the place of zeros are no damage.
    const ID: i64 = 0x0707_0707_0707_0707;

    fn file() -> (Vec<u8>, Vec<(usize, Record<'static>)>) {
        let records = [
            Record::Update { id: ID, body: b"{\"update_id\":7}" },
            Record::End { id: ID, end: End::HandedOver },
            Record::Update { id: -ID, body: b"" },
            Record::End { id: -ID, end: End::Skipped },
        ];
        let mut bytes = Vec::new();
        let placed = records.into_iter().map(|record| {
            let at = bytes.len();
            record.write_to(&mut bytes);
            (at, record)
        });
        let placed = placed.collect();
        (bytes, placed)
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, records) = file();
        assert_eq!(Record::read_all(&bytes), (records, 0));
        assert_eq!(Record::update_bytes(15), Record::read(&bytes).expect("sound").1);
    }

    #[test]
    fn a_torn_end_loses_its_own_record_alone_wherever_it_is_torn() {
        let (bytes, records) = file();
        let ends: Vec<usize> = records.iter().skip(1).map(|(at, _)| *at).chain([bytes.len()]).collect();
        for length in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            let sound = whole.checked_sub(1).map_or(0, |last| ends[last]);
            for tail in [&[][..], &[0; 64], &MARKER, &[0x5A; 64]] {
                let torn = [&bytes[..length], tail].concat();
                assert_eq!(Record::read_all(&torn), (records[..whole].to_vec(), torn.len() - sound), "{length}");
            }
        }
    }

    #[test]
    fn any_changed_byte_loses_its_own_record_alone() {
        let (bytes, records) = file();
        for place in 0..bytes.len() {
            for change in [0x01, 0x80, bytes[place]] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                let hit = records.iter().rposition(|(at, _)| *at <= place).expect("a record");
                let mut kept = records.clone();
                if change != 0 {
                    kept.remove(hit);
                }
                assert_eq!(Record::read_all(&changed).0, kept, "{place}");
            }
        }
    }
}
