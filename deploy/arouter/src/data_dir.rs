//! The data folder: its creation, its lock, and the secret files in it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use eventlog::Access;
use events::KeyHash;
use events::caller::InternalSecret;
use events::ids::{Ids, KeyKind, SystemIds};
use events::sealed::MasterKeys;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Permissions of the data folder: only its owner has access.
const OWNERS: u32 = 0o700;

/// A description of a running process, which other commands read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// The address that the gateway listens on, as base URL.
    pub base_url: String,
    /// The address of the event log, with our credentials.
    pub nats_url: String,
    /// The address of the Prometheus metrics. `None` means that they are not served.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metrics_url: Option<String>,
}

/// The data folder. It is locked against other processes for the lifetime of this value.
pub struct DataFolder {
    pub path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self> {
        let unusable = || format!("cannot use the data folder {}: make it writable, or choose another with --data", path.display());
        std::fs::create_dir_all(path).with_context(unusable)?;
        let path = path.canonicalize().with_context(unusable)?;
        // The folder contains the spending of all accounts.
        std::fs::set_permissions(&path, Permissions::from_mode(OWNERS)).with_context(unusable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).with_context(unusable)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another arouter uses the data folder {}: stop it, or choose another with --data", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns the configured database address, or that of a SQLite file in the folder.
    pub fn database(&self, configured: Option<&String>, name: &str) -> String {
        configured.cloned().unwrap_or_else(|| database(&self.path, name))
    }

    /// Returns the configured operator's token. Without one, returns the token in the folder, which is generated if it is missing.
    pub fn operator_token(&self, config: &Config) -> Result<String> {
        if let Some(token) = &config.operator.token {
            return Ok(token.0.clone());
        }
        self.secret("operator.token", || SystemIds.secret(KeyKind::Management).replace("lr_mgmt_", "lr_operator_"))
    }

    /// Returns the secret from which repeatable secrets of keys are derived. It is generated if it is missing.
    pub fn seed(&self) -> Result<InternalSecret> {
        self.secret("seed.secret", || SystemIds.secret(KeyKind::Management).replace("lr_mgmt_", ""))
            .map(|seed| InternalSecret(seed.into_bytes()))
    }

    /// Returns the keys that encrypt secrets of accounts.
    pub fn master_keys(&self, config: &Config) -> Result<Arc<MasterKeys>> {
        let text = match (&config.secrets.master_key, &config.internal.secret) {
            (Some(keys), _) => keys.0.clone(),
            // It is one key, whatever is in it; its hash has no white space, which would make several of it.
            (None, Some(secret)) => KeyHash::of_secret(&secret.0).to_string(),
            (None, None) => self.secret("secrets.master_key", || SystemIds.secret(KeyKind::Management).replace("lr_mgmt_", ""))?,
        };
        Ok(Arc::new(MasterKeys::parse(&text).context("secrets.master_key")?))
    }

    /// Returns the secret that a file of the folder contains. A missing file is created.
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

    /// Returns the path of the ledger's signing keys.
    pub fn signing_key(&self, config: &Config) -> PathBuf {
        signing_key(&self.path, config)
    }

    /// Writes `running.json`, from which other commands learn the addresses of this process.
    pub fn announce(&self, running: &Running) -> Result<()> {
        write_secret(&self.path.join("running.json"), &serde_json::to_string_pretty(running)?)
    }
}

/// Returns the address of a SQLite database in a data folder.
pub fn database(folder: &Path, name: &str) -> String {
    format!("sqlite://{}", folder.join(format!("{name}.db")).display())
}

/// Returns the path of the ledger's signing keys, for a data folder.
pub fn signing_key(folder: &Path, config: &Config) -> PathBuf {
    config.ledger.signing_key_file.clone().unwrap_or_else(|| folder.join("ledger.signing_key"))
}

/// Returns the address and credentials of the log: as configured, or else as the process that runs on the folder announced them.
pub fn access(config: &Config, folder: &Path) -> Result<Option<Access>> {
    match config.nats.access()? {
        Some(access) => Ok(Some(access)),
        None => Ok(running(folder).map(|running| running.nats_url.parse()).transpose()?),
    }
}

/// Returns the announcement of the process that runs or last ran on a folder.
pub fn running(folder: &Path) -> Option<Running> {
    serde_json::from_slice(&std::fs::read(folder.join("running.json")).ok()?).ok()
}

/// Returns the address of a gateway without a path: the given one, or that of the gateway that runs or last ran on a folder.
pub fn gateway_url(given: Option<&str>, folder: &Path) -> Result<String> {
    let base = match given {
        Some(url) => url.to_owned(),
        None => running(folder).map(|running| running.base_url.trim_end_matches("/v1").to_owned()).with_context(|| {
            format!("no gateway has run on {}: name its folder with --data, or its address with --url", folder.display())
        })?,
    };
    Ok(base.trim_end_matches('/').to_owned())
}

/// Writes a file atomically; only its owner may read it.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary).with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
    std::fs::rename(temporary, path).with_context(context)
}
