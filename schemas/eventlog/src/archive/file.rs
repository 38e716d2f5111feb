//! Files in a folder or an object store, written in parts: reports of any length in constant memory.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, parse_url_opts};
use tokio::io::AsyncWriteExt;
use url::Url;

/// A folder of this machine, or a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Folder {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

/// The reason why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A malformed address.
    #[error("{url} is neither a folder nor an s3:// address: {cause}; correct url")]
    Address { url: String, cause: String },
    #[error("the store does not take the file: {0}; check url, its rights and the space there")]
    Store(#[from] object_store::Error),
    #[error("the store does not take the file: {0}; check url, its rights and the space there")]
    Write(#[from] std::io::Error),
}

/// A file that is being written. It exists from [`Self::finish`] on, whole.
pub struct FileWriter {
    writer: BufWriter,
    written: u64,
}

/// Opens a folder, `file:///PATH` or `s3://BUCKET/PATH`. Options are those of the store, such as `aws_region`.
///
/// # Errors
/// Returns the reason if the address is malformed.
pub(super) fn open<K: AsRef<str>>(
    url: &str,
    options: impl IntoIterator<Item = (K, String)>,
) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    let address = if url.contains("://") {
        Url::parse(url).map_err(|error| error.to_string())?
    } else {
        let folder = std::path::absolute(FilePath::new(url)).map_err(|error| error.to_string())?;
        Url::from_directory_path(folder).map_err(|()| "not a path".to_owned())?
    };
    let (store, root) = parse_url_opts(&address, options).map_err(|error| error.to_string())?;
    Ok((store.into(), root))
}

impl Folder {
    /// Opens a folder, `file:///PATH` or `s3://BUCKET/PATH`. Options are those of the store, such as `aws_region`.
    ///
    /// # Errors
    /// Fails if the address is malformed.
    pub fn open<K: AsRef<str>>(url: &str, options: impl IntoIterator<Item = (K, String)>) -> Result<Self, FolderError> {
        let (store, root) = open(url, options).map_err(|cause| FolderError::Address { url: url.to_owned(), cause })?;
        Ok(Self { store, root })
    }

    fn place(&self, file: &str) -> Path {
        file.split('/').fold(self.root.clone(), Path::join)
    }

    /// # Errors
    /// Fails if the store does not answer.
    pub async fn has(&self, file: &str) -> Result<bool, FolderError> {
        match self.store.head(&self.place(file)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a file at a path, whose parts are separated by `/`.
    #[must_use]
    pub fn create(&self, file: &str) -> FileWriter {
        FileWriter { writer: BufWriter::new(Arc::clone(&self.store), self.place(file)), written: 0 }
    }
}

impl FileWriter {
    /// # Errors
    /// Fails if the store does not take the bytes.
    pub async fn put(&mut self, part: Bytes) -> Result<(), FolderError> {
        self.written += u64::try_from(part.len()).unwrap_or_default();
        Ok(self.writer.put(part).await?)
    }

    /// Completes the file. Returns its length.
    ///
    /// # Errors
    /// Fails if the store does not take the file.
    pub async fn finish(mut self) -> Result<u64, FolderError> {
        self.writer.shutdown().await?;
        Ok(self.written)
    }

    /// Discards the file.
    pub async fn abort(mut self) {
        if let Err(error) = self.writer.abort().await {
            tracing::debug!(%error, "a partial file is left in the store: {error}");
        }
    }
}
