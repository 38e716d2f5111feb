//! The file with the keys that the ledger's facts are signed with.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use eventlog::Store;
use events::SigningKeys;
use events::ids::Ids;
use sqlx::{Any, Row};

use crate::outbox;

/// Why signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or made.
    #[error("cannot use the signing key {path}: {cause}; set ledger.signing_key_file to a file that can be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is not there, although facts were signed.
    #[error(
        "the signing key {0} is missing, and the ledger's facts are signed: restore it from a copy, or copy it from another ledger of this database"
    )]
    Missing(PathBuf),
    /// It has not the key that the others have.
    #[error(
        "the facts of these books are signed with key {id}, which {path} does not have: give every ledger of one database the same ledger.signing_key_file"
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// The key's id.
        id: String,
    },
    /// The database failed.
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// It is no key file.
    #[error("{0} is no file of signing keys: restore it from a copy")]
    Malformed(PathBuf),
}

/// The keys of a ledger: those in its file; a new one for books that were never signed. Facts that were written before are taken
/// unsigned then.
///
/// # Errors
/// When the file cannot be read or made, or is not the one that the books' facts are signed with.
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

/// The keys in a file, when it is there.
///
/// # Errors
/// When it cannot be read, or is none.
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
        // Several ledgers may start at once on one file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path)?.ok_or_else(|| SigningKeyError::Missing(path.to_owned())),
        Err(cause) => Err(SigningKeyError::File { path: path.to_owned(), cause }),
    }
}

/// Writes a file whole, and only where there is none.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(temporary)?;
    linked
}
