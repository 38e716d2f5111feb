//! The file with the keys that sign the ledger's facts.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use eventlog::Store;
use events::SigningKeys;
use events::ids::Ids;
use sqlx::{Any, Row};

use crate::outbox;

/// An error that makes the signing keys unusable.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or created.
    #[error("cannot use the signing key {path}: {cause}; set ledger.signing_key_file to a file that can be read")]
    File { path: PathBuf, cause: io::Error },
    /// The file is missing, although facts were signed.
    #[error(
        "the signing key {0} is missing, and the ledger's facts are signed: restore it from a copy, or copy it from another ledger of this database"
    )]
    Missing(PathBuf),
    /// The file lacks the key that signs the facts in this database.
    #[error(
        "the facts of these books are signed with key {id}, which {path} does not have: give every ledger of one database the same ledger.signing_key_file"
    )]
    Another {
        path: PathBuf,
        /// The id of the required key.
        id: String,
    },
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The content is not a key file.
    #[error("{0} is no file of signing keys: restore it from a copy")]
    Malformed(PathBuf),
}

/// Loads the ledger's keys from its file and returns whether they are new. Books that were never signed get a new key; facts written before
/// it are accepted unsigned.
///
/// # Errors
/// Fails if the file cannot be read or created, or lacks the key that signs the facts of these books.
pub async fn load(path: &Path, ids: &dyn Ids, store: &Store) -> Result<(SigningKeys, bool), SigningKeyError> {
    let mut transaction = store.begin_exclusive().await?;
    let row = sqlx::query::<Any>("SELECT key_id FROM signing WHERE one = 1").fetch_optional(&mut *transaction).await?;
    let signed_with: Option<String> = row.map(|row| row.try_get("key_id")).transpose()?;
    let (keys, is_new) = match read(path)? {
        Some(keys) => (keys, false),
        None if signed_with.is_some() => return Err(SigningKeyError::Missing(path.to_owned())),
        None => (make(path, ids, outbox::written_in(&mut transaction).await?)?, true),
    };
    if let Some(id) = signed_with.filter(|id| !keys.has(id)) {
        return Err(SigningKeyError::Another { path: path.to_owned(), id });
    }
    sqlx::query::<Any>("INSERT INTO signing (one, key_id) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET key_id = excluded.key_id")
        .bind(keys.id().to_owned())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok((keys, is_new))
}

/// Reads the keys from a file; `None` if it does not exist.
///
/// # Errors
/// Fails if the file cannot be read or is not a key file.
pub fn read(path: &Path) -> Result<Option<SigningKeys>, SigningKeyError> {
    match std::fs::read_to_string(path) {
        Ok(text) => SigningKeys::parse(&text).map(Some).ok_or_else(|| SigningKeyError::Malformed(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(SigningKeyError::File { path: path.to_owned(), cause }),
    }
}

fn make(path: &Path, ids: &dyn Ids, written: u64) -> Result<SigningKeys, SigningKeyError> {
    let keys = SigningKeys::generate(ids, written);
    match write_new(path, &keys.to_text()) {
        Ok(()) => Ok(keys),
        // Several ledgers may start concurrently with one file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path)?.ok_or_else(|| SigningKeyError::Missing(path.to_owned())),
        Err(cause) => Err(SigningKeyError::File { path: path.to_owned(), cause }),
    }
}

/// Writes a file atomically, and only if none exists.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(temporary)?;
    linked
}
