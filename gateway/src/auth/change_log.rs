//! The directory on disk: a file of JSON lines that is appended to, and written anew when most of it is out of date.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use events::control::Account;
use serde::{Deserialize, Serialize};

use super::directory::KeyEntry;

/// The file's name in the data folder.
const FILE: &str = "directory.log";
/// Its name before lines were appended to it.
const BEFORE: &str = "directory.json";
/// Bytes that may be out of date, besides as many as are not.
const STALE_BYTES_MAX: u64 = 1024 * 1024;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A key's newest state.
    Key(KeyEntry),
    /// An account's newest state.
    Account(Account),
    /// How far the control events are read: the stream's identity, the sequence, the event.
    Checkpoint(String, u64, String),
}

impl Line {
    /// Appends it, with its end.
    pub fn write(&self, into: &mut Vec<u8>) {
        if let Ok(text) = serde_json::to_vec(self) {
            into.extend_from_slice(&text);
            into.push(b'\n');
        }
    }
}

/// The file of an earlier version: all of it as one object.
#[derive(Deserialize)]
struct Snapshot {
    keys: Vec<KeyEntry>,
    accounts: Vec<Account>,
    checkpoint: Option<(String, u64, String)>,
}

/// The open file.
pub struct ChangeLog {
    folder: PathBuf,
    file: File,
    /// Up to where it is good.
    length: u64,
    /// Its length when it was written anew.
    fresh: u64,
    is_damaged: bool,
}

impl ChangeLog {
    /// Opens the file, made when missing, and shows every line of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(folder: &Path, mut see: impl FnMut(Line)) -> io::Result<Self> {
        let before = folder.join(BEFORE);
        if let Some(snapshot) = read(&before)? {
            let Snapshot { keys, accounts, checkpoint } = serde_json::from_slice(&snapshot)?;
            let checkpoint = checkpoint.map(|(identity, sequence, event_id)| Line::Checkpoint(identity, sequence, event_id));
            let lines = keys.into_iter().map(Line::Key).chain(accounts.into_iter().map(Line::Account)).chain(checkpoint);
            for line in lines {
                see(line);
            }
        }
        let bytes = read(&folder.join(FILE))?.unwrap_or_default();
        // A line without an end was being written when the process died.
        let good = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut is_damaged = false;
        for line in bytes[..good].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => see(line),
                Err(error) => {
                    tracing::error!(%error, "a line of {FILE} is damaged, the log is read again: {error}; check the disk");
                    is_damaged = true;
                }
            }
        }
        let file = create(&folder.join(FILE), false)?;
        let length = u64::try_from(good).unwrap_or(u64::MAX);
        file.set_len(length)?;
        Ok(Self { folder: folder.to_owned(), file, length, fresh: length, is_damaged })
    }

    /// Whether lines were lost.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Appends lines and syncs them.
    ///
    /// # Errors
    /// When the disk fails or is full: the next append writes over what came of it.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(lines, self.length)?;
        self.file.sync_data()?;
        self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Whether most of it is out of date.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.length > self.fresh.saturating_mul(2).saturating_add(STALE_BYTES_MAX)
    }

    /// Writes the file anew with these lines.
    ///
    /// # Errors
    /// When the disk fails or is full: the old file stays.
    pub fn compact(&mut self, lines: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!("{FILE}.new"));
        let file = create(&temporary, true)?;
        file.write_all_at(lines, 0)?;
        file.sync_all()?;
        std::fs::rename(temporary, self.folder.join(FILE))?;
        let before = self.folder.join(BEFORE);
        if before.exists() {
            std::fs::remove_file(before)?;
        }
        File::open(&self.folder)?.sync_all()?;
        self.length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        (self.file, self.fresh) = (file, self.length);
        Ok(())
    }
}

fn create(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(truncate).read(true).write(true).mode(0o600).open(path)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
