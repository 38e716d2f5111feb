//! The directory on disk: an append-only file of JSON lines that is rewritten once most of it is outdated.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use events::catalog::CatalogVersion;
use events::control::Account;
use events::provider_key::ProviderKey;
use serde::{Deserialize, Serialize};

use super::directory::{KeyEntry, WebhookEntry};

/// The file's name in the data folder.
const FILE: &str = "directory.log";
/// The file's name in earlier versions, which rewrote the whole file.
const BEFORE: &str = "directory.json";
/// The bytes by which the file may exceed twice its size after the last rewrite.
const STALE_BYTES_MAX: u64 = 1024 * 1024;

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The newest state of a key.
    Key(Box<KeyEntry>),
    /// The newest state of an account.
    Account(Account),
    /// The newest state of a webhook.
    Webhook(Box<WebhookEntry>),
    /// A version of the catalogue.
    Catalog(Box<CatalogVersion>),
    /// The newest state of a provider key.
    ProviderKey(Box<ProviderKey>),
    /// The position up to which control events are read: stream identity, sequence and event id.
    Checkpoint(String, u64, String),
}

impl Line {
    /// Appends the line and its line break to `into`.
    pub fn write(&self, into: &mut Vec<u8>) {
        if let Ok(text) = serde_json::to_vec(self) {
            into.extend_from_slice(&text);
            into.push(b'\n');
        }
    }
}

/// The content of an earlier version's file: everything in one object.
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
    /// The length of the valid content.
    length: u64,
    /// The length after the last rewrite.
    fresh: u64,
    is_damaged: bool,
}

impl ChangeLog {
    /// Opens the file, creates it if it is missing, and passes every line to `see`.
    pub fn open(folder: &Path, mut see: impl FnMut(Line)) -> io::Result<Self> {
        let before = folder.join(BEFORE);
        if let Some(snapshot) = read(&before)? {
            let Snapshot { keys, accounts, checkpoint } = serde_json::from_slice(&snapshot)?;
            let checkpoint = checkpoint.map(|(identity, sequence, event_id)| Line::Checkpoint(identity, sequence, event_id));
            let lines =
                keys.into_iter().map(|entry| Line::Key(Box::new(entry))).chain(accounts.into_iter().map(Line::Account)).chain(checkpoint);
            for line in lines {
                see(line);
            }
        }
        let bytes = read(&folder.join(FILE))?.unwrap_or_default();
        // A last line without a line break was being written as the process died.
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

    /// Returns whether lines were lost to damage.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Appends lines and syncs them.
    ///
    /// # Errors
    /// Fails if the disk fails or is full; the next append overwrites the partial write.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(lines, self.length)?;
        self.file.sync_data()?;
        self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Returns whether most of the file is outdated.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.length > self.fresh.saturating_mul(2).saturating_add(STALE_BYTES_MAX)
    }

    /// Rewrites the file with these lines.
    ///
    /// # Errors
    /// Fails if the disk fails or is full; the old file stays in use.
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
