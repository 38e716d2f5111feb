//! Subscribers that read one account each: their list in the data folder, and its changes while the server runs.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use eventlog::account_consumer::PREFIX;
use eventlog::{Access, Log};
use events::AccountId;
use events::ids::{Ids, KeyKind};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::conf::{self, Conf};
use super::{CONF, LOG, OWN_PASSWORD, PATIENCE, PORT, READER_PASSWORD, access, running};
use crate::data_dir::write_secret;

/// The file in the data folder with the list.
const FILE: &str = "nats-consumers.json";
const NAME_BYTES_MAX: usize = 40;
/// The cost of the hash. The password has 256 random bits, so nobody finds it by trying; the server computes the hash at each connection.
const HASH_COST: u32 = 4;
/// The line in the server's log after it has read its configuration again.
const RELOADED: &str = "Reloaded server configuration";

/// A subscriber of one account. Its password is not kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Consumer {
    pub name: String,
    pub account: AccountId,
    /// The password as bcrypt hash.
    pub password_hash: String,
    pub created_at: String,
}

impl Consumer {
    /// Makes a subscriber, and returns it with its password.
    ///
    /// # Errors
    /// Fails for a name or an account that cannot be part of a subject.
    pub fn try_new(name: &str, account: &str, created_at: String, ids: &dyn Ids) -> Result<(Self, String)> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
            bail!("the name {name:?} cannot be used: write 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens");
        }
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            bail!("{account:?} is no account id: write it as `arouter admin account create` printed it");
        }
        let password = ids.secret(KeyKind::Regular).replace("lr_live_", "p");
        let mut salt = [0; 16];
        ids.fill(&mut salt);
        let password_hash = bcrypt::hash_with_salt(&password, HASH_COST, salt).context("the password")?.to_string();
        Ok((Self { name: name.to_owned(), account: account.into(), password_hash, created_at }, password))
    }

    /// Returns the name of its user, of its NATS account and of its durable consumers.
    pub fn user(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

/// Reads the list.
pub fn read(data: &Path) -> Result<Vec<Consumer>> {
    let path = data.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged: restore it", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Waits for the right to change the list and the server's configuration. It ends when the returned value is dropped.
pub fn lock(data: &Path) -> Result<File> {
    let path = data.join("nats-consumers.lock");
    let context = || format!("cannot write to {}", path.display());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(context)?;
    flock(&file, FlockOperation::LockExclusive).with_context(context)?;
    Ok(file)
}

/// Makes the durable consumers on the server those of the list.
pub async fn reconcile(log: &Log, data: &Path) -> Result<()> {
    let wanted: Vec<(String, String)> = read(data)?.iter().map(|consumer| (consumer.user(), consumer.account.to_string())).collect();
    log.reconcile_account_consumers(&wanted).await.context("the consumers of single accounts cannot be made")
}

/// Changes the list. The running server gets the change by a reload: it drops users that are gone, and keeps all other connections. Returns
/// the server's port.
///
/// # Errors
/// Fails, without a change, if `change` does or if no server runs on the folder.
pub async fn change(data: &Path, change: impl FnOnce(&mut Vec<Consumer>) -> Result<()>) -> Result<u16> {
    let absent =
        || format!("no arouter with a nats-server of its own runs on {}: start it, or name its folder with --data", data.display());
    let data = &data.canonicalize().with_context(absent)?;
    let _lock = lock(data)?;
    let folder = data.join("nats");
    let text = |path: &Path| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).with_context(absent);
    let port: u16 = text(&folder.join(PORT))?.parse().with_context(absent)?;
    let (own, readers) = (text(&folder.join(OWN_PASSWORD))?, text(&data.join(READER_PASSWORD))?);
    let log = Log::connect(&access(port, "arouter", own.clone()), "consumers").await.with_context(absent)?;
    let mut consumers = read(data)?;
    change(&mut consumers)?;
    write_secret(&data.join(FILE), &serde_json::to_string_pretty(&consumers)?)?;
    let conf = Conf { port, folder: &folder, own: &own, readers: &readers, consumers: &consumers };
    write_secret(&folder.join(CONF), &conf::conf(&conf))?;
    // The server connects the imports of an account that is new only when it reads the configuration again.
    reload(&folder).await?;
    reload(&folder).await?;
    reconcile(&log, data).await?;
    log.close().await;
    Ok(port)
}

/// Returns the access of a subscriber to the server on this machine.
pub fn access_of(port: u16, consumer: &Consumer, password: String) -> Access {
    access(port, &consumer.user(), password)
}

/// Lets the server read its configuration again, and waits until it has.
async fn reload(folder: &Path) -> Result<()> {
    let log = folder.join(LOG);
    let before = std::fs::metadata(&log).map_or(0, |file| file.len());
    let pid = running(folder).context("nats-server is being started again: repeat the command")?;
    kill_process(pid, Signal::HUP).context("nats-server is being started again: repeat the command")?;
    let since = Instant::now();
    loop {
        let text = std::fs::read(&log).unwrap_or_default();
        // A shorter file is a new one.
        let start = usize::try_from(before).ok().filter(|start| *start <= text.len()).unwrap_or(0);
        if String::from_utf8_lossy(text.get(start..).unwrap_or_default()).contains(RELOADED) {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            bail!("nats-server has not read its configuration again: see {}", log.display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
