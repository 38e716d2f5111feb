//! A segment, one file of the spool: allocated as a whole, filled from the front, deleted once all readers have its events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use events::subject::Stream;

use super::disk::{Disk, Stored};

/// The first bytes of every segment.
const MAGIC: &[u8; 8] = b"ARSPOOL1";
/// The bytes of the header: magic, the last sequence of each stream before this segment, checksum.
pub const HEADER: u64 = 8 + 8 * 4 + 4;

/// The last sequence of each stream, in the order of [`Stream::ALL`].
pub type Sequences = [u64; Stream::ALL.len()];

#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub file: Box<dyn Stored>,
    /// The last sequence of each stream before this segment.
    pub before: Sequences,
    /// The offset up to which the file is filled.
    filled: AtomicU64,
    /// The last sequence of each stream in this segment or before it.
    last: [AtomicU64; Stream::ALL.len()],
    /// The spool's position at the end of this segment.
    ends_at: AtomicU64,
    /// Whether the header is durable.
    pub(super) lasts: AtomicBool,
    /// The unreadable byte ranges, each with its start and the offset after it.
    holes: Mutex<Vec<(u64, u64)>>,
}

/// A file that is allocated and empty.
#[derive(Debug)]
pub struct Blank {
    path: PathBuf,
    file: Box<dyn Stored>,
    bytes: u64,
}

/// The result of opening a file of an earlier boot.
#[derive(Debug)]
pub enum Opened {
    Segment(Arc<Segment>),
    /// A file that was never written, or whose first and last bytes are damaged. It does not tell which sequences came before it.
    Headless(Box<dyn Stored>),
}

impl Blank {
    /// Creates a file of that size, allocated on the disk.
    pub fn allocate(disk: &dyn Disk, folder: &Path, number: u64, bytes: u64) -> io::Result<Self> {
        let path = folder.join(format!("{number:08}.seg"));
        let file = disk.allocate(&path, bytes)?;
        Ok(Self { path, file, bytes })
    }

    /// Writes the header of a segment that follows these sequences.
    pub fn begin(&self, before: &Sequences) -> io::Result<()> {
        write_header(&*self.file, self.bytes, before)
    }

    /// Turns the file into a segment; [`Self::begin`] comes first.
    #[must_use]
    pub fn into_segment(self, before: Sequences) -> Arc<Segment> {
        Segment::new(self.path, self.file, before)
    }
}

/// Writes the header of a file of that size: at the front, and a copy at the end in case the front is lost.
fn write_header(file: &dyn Stored, bytes: u64, before: &Sequences) -> io::Result<()> {
    let mut header = MAGIC.to_vec();
    for sequence in before {
        header.extend_from_slice(&sequence.to_le_bytes());
    }
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    file.write(&header, bytes - HEADER)?;
    file.write(&header, 0)
}

/// Returns all bytes of a file.
pub fn all_of(file: &dyn Stored) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
    file.read(&mut bytes, 0)?;
    Ok(bytes)
}

/// Returns the sequences in a header; `None` if it is not a valid header.
fn sequences(header: &[u8; 44]) -> Option<Sequences> {
    let (body, checksum) = header.split_at(40);
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_le_bytes() != checksum {
        return None;
    }
    let mut before = Sequences::default();
    for (sequence, bytes) in before.iter_mut().zip(body[8..].chunks_exact(8)) {
        *sequence = bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    }
    Some(before)
}

impl Segment {
    /// Opens a file of an earlier boot.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Opened> {
        let file = disk.open(path)?;
        let bytes = file.size()?;
        let mut header = [0; 44];
        for at in [0, bytes.saturating_sub(HEADER)] {
            if bytes >= HEADER {
                file.read(&mut header, at)?;
            }
            if let Some(before) = sequences(&header) {
                return Ok(Opened::Segment(Self::new(path.to_owned(), file, before)));
            }
        }
        Ok(Opened::Headless(file))
    }

    /// Creates a segment in a file, following these sequences.
    #[must_use]
    pub fn new(path: PathBuf, file: Box<dyn Stored>, before: Sequences) -> Arc<Self> {
        Arc::new(Self {
            path,
            file,
            before,
            filled: AtomicU64::new(HEADER),
            last: before.map(AtomicU64::new),
            ends_at: AtomicU64::new(0),
            lasts: AtomicBool::new(false),
            holes: Mutex::default(),
        })
    }

    /// Returns the segment's number among the files of its boot, from its name.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or_default()
    }

    /// Returns the offset up to which the file is filled.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Acquire)
    }

    /// Notes that the file is filled up to an offset, with these last sequences.
    pub fn fill(&self, to: u64, last: &Sequences) {
        for (stored, sequence) in self.last.iter().zip(last) {
            stored.store(*sequence, Ordering::Relaxed);
        }
        self.filled.store(to, Ordering::Release);
    }

    /// Returns the last sequences in this segment or before it.
    #[must_use]
    pub fn last(&self) -> Sequences {
        std::array::from_fn(|index| self.last[index].load(Ordering::Relaxed))
    }

    /// Notes the spool's position at the end of this segment.
    pub fn end_at(&self, position: u64) {
        self.ends_at.store(position, Ordering::Release);
    }

    /// Returns the spool's position at the end of this segment: the number of bytes recorded in it and all segments before it.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        self.ends_at.load(Ordering::Acquire)
    }

    /// Returns whether the file has that size and contains only its header. After a torn write old records may remain in it, and new
    /// records must not be put before those.
    pub fn is_blank(&self, size: u64) -> io::Result<bool> {
        if self.filled() != HEADER || self.file.size()? != size {
            return Ok(false);
        }
        let bytes = self.bytes()?;
        let header = usize::try_from(HEADER).unwrap_or(usize::MAX);
        Ok(bytes.get(header..bytes.len() - header).is_some_and(|between| between.iter().all(|byte| *byte == 0)))
    }

    /// Writes the header again, because one of its two copies may be lost.
    pub fn begin_again(&self) -> io::Result<()> {
        write_header(&*self.file, self.file.size()?, &self.before)
    }

    /// Notes an unreadable byte range.
    pub fn add_hole(&self, from: u64, to: u64) {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner).push((from, to));
    }

    /// Returns the offset at which reading continues behind an unreadable range that begins at `at`.
    #[must_use]
    pub fn behind_hole(&self, at: u64) -> Option<u64> {
        let holes = self.holes.lock().unwrap_or_else(PoisonError::into_inner);
        holes.iter().find(|(from, _)| *from == at).map(|(_, to)| *to)
    }

    /// Reads from an offset into a buffer, up to `end` and at most `most` bytes.
    pub fn read(&self, offset: u64, end: u64, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        buffer.resize(left.min(most), 0);
        self.file.read(buffer, offset)
    }

    /// Returns all bytes of the file.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        all_of(&*self.file)
    }
}

pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
