//! The data folder: made, locked, and the small secrets in it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eventlog::Access;
use events::ids::{Ids, KeyKind, SystemIds};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Permissions of the data folder and of the files in it: their owner's alone.
const OWNERS: u32 = 0o700;

/// What other commands must know of a running process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// Where it listens.
    pub base_url: String,
    /// The event log, with our credentials.
    pub nats_url: String,
    /// Figures for Prometheus, when they are served.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metrics_url: Option<String>,
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
        // Everybody's spending is in it.
        std::fs::set_permissions(&path, Permissions::from_mode(OWNERS)).with_context(unusable)?;
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
            return Ok(token.0.clone());
        }
        self.secret("operator.token", || SystemIds.secret(KeyKind::Management).replace("lr_mgmt_", "lr_operator_"))
    }

    /// A secret that is kept in a file of the folder, made when it is missing.
    pub fn secret(&self, file: &str, make: impl FnOnce() -> String) -> Result<String> {
        let path = self.path.join(file);
        match std::fs::read_to_string(&path) {
            Ok(secret) if !secret.trim().is_empty() => return Ok(secret.trim().to_owned()),
            Ok(_) => bail!("{} is empty: restore it, or delete it to have a new one made", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        let secret = make();
        write_secret(&path, &secret)?;
        Ok(secret)
    }

    /// The file with the ledger's signing keys.
    pub fn signing_key(&self, config: &Config) -> PathBuf {
        signing_key(&self.path, config)
    }

    /// Tells other commands where this process is.
    pub fn announce(&self, running: &Running) -> Result<()> {
        write_secret(&self.path.join("running.json"), &serde_json::to_string_pretty(running)?)
    }
}

/// The address of a SQLite database in a data folder.
pub fn database(folder: &Path, name: &str) -> String {
    format!("sqlite://{}", folder.join(format!("{name}.db")).display())
}

/// The file with the ledger's signing keys, for a data folder.
pub fn signing_key(folder: &Path, config: &Config) -> PathBuf {
    config.ledger.signing_key_file.clone().unwrap_or_else(|| folder.join("ledger.signing_key"))
}

/// The way to the log of an installation: as configured, else as the process that runs on the folder said.
pub fn access(config: &Config, folder: &Path) -> Result<Option<Access>> {
    match config.nats.access()? {
        Some(access) => Ok(Some(access)),
        None => Ok(running(folder).map(|running| running.nats_url.parse()).transpose()?),
    }
}

/// What a process that runs on a folder said of itself.
pub fn running(folder: &Path) -> Option<Running> {
    serde_json::from_slice(&std::fs::read(folder.join("running.json")).ok()?).ok()
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary).with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
    std::fs::rename(temporary, path).with_context(context)
}
