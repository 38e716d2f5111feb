//! The data folder: made, locked, and the small secrets in it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use events::ids::{Ids, KeyKind, SystemIds};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What other commands must know of a running process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// Where it listens.
    pub base_url: String,
    /// The event log.
    pub nats_url: String,
}

/// The data folder, which no other process uses while this value lives.
pub struct DataFolder {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes and locks it.
    pub fn open(path: &Path) -> Result<Self> {
        let unusable = || format!("cannot use the data folder {}: make it writable, or choose another with --data", path.display());
        std::fs::create_dir_all(path).with_context(unusable)?;
        let path = path.canonicalize().with_context(unusable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).with_context(unusable)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another arouter uses the data folder {}: stop it, or choose another with --data", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// The address of a database in it.
    pub fn database(&self, configured: Option<&String>, name: &str) -> String {
        configured.cloned().unwrap_or_else(|| database(&self.path, name))
    }

    /// The operator's token: as configured, else the one in the folder, made when missing.
    pub fn operator_token(&self, config: &Config) -> Result<String> {
        if let Some(token) = &config.operator.token {
            return Ok(token.clone());
        }
        if let Ok(token) = std::fs::read_to_string(self.path.join("operator.token")) {
            return Ok(token.trim().to_owned());
        }
        let token = SystemIds.secret(KeyKind::Management).replace("lr_mgmt_", "lr_operator_");
        write_secret(&self.path.join("operator.token"), &token)?;
        Ok(token)
    }

    /// Tells other commands where this process is.
    pub fn announce(&self, running: &Running) -> Result<()> {
        std::fs::write(self.path.join("running.json"), serde_json::to_vec_pretty(running)?)
            .context("cannot write running.json into the data folder")
    }
}

/// The address of a SQLite database in a data folder.
pub fn database(folder: &Path, name: &str) -> String {
    format!("sqlite://{}", folder.join(format!("{name}.db")).display())
}

/// What a process that runs on a folder said of itself.
pub fn running(folder: &Path) -> Option<Running> {
    serde_json::from_slice(&std::fs::read(folder.join("running.json")).ok()?).ok()
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside).with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
    std::fs::rename(beside, path).with_context(context)
}
