//! Storage of segments: written once, read whole, checked against their hashes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use events::subject::Stream;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use super::file;
use super::segment::{self, Manifest, hash};
use crate::record::{Checkpoint, Record};

#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

/// The reason why the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A malformed address.
    #[error("the archive {url} is neither a folder nor an s3:// address: {cause}; correct [archive] url")]
    Address {
        /// The address as configured.
        url: String,
        cause: String,
    },
    #[error("the archive does not answer: {0}; check [archive] url, its rights and the space there")]
    Store(#[from] object_store::Error),
    /// A file whose content is not what was written.
    #[error("the archive is damaged at {place}: {what}; put a copy of that file back")]
    Damaged {
        place: String,
        /// The damage as one sentence.
        what: String,
    },
}

impl Archive {
    /// Opens an archive: a folder, `file:///PATH` or `s3://BUCKET/PATH`. Options are those of the store, such as `aws_region`.
    ///
    /// # Errors
    /// Fails if the address is malformed.
    pub fn open<K: AsRef<str>>(url: &str, options: impl IntoIterator<Item = (K, String)>) -> Result<Self, ArchiveError> {
        let (store, root) = file::open(url, options).map_err(|cause| ArchiveError::Address { url: url.to_owned(), cause })?;
        Ok(Self { store, root })
    }

    fn place(&self, stream: &str, file: &str) -> Path {
        self.root.clone().join(stream).join(file)
    }

    /// Returns the numbers of a stream's segments in order.
    async fn numbers(&self, stream: Stream) -> Result<Vec<u64>, ArchiveError> {
        let listed = self.store.list(Some(&self.root.clone().join(stream.name())));
        let files: Vec<String> = listed.map_ok(|file| file.location.filename().unwrap_or_default().to_owned()).try_collect().await?;
        let mut numbers: Vec<u64> = files.iter().filter_map(|file| file.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    async fn get(&self, place: &Path) -> Result<Bytes, ArchiveError> {
        Ok(self.store.get(place).await?.bytes().await?)
    }

    /// Reads a manifest and returns it with its hash.
    async fn manifest(&self, stream: Stream, number: u64) -> Result<(Manifest, String), ArchiveError> {
        let place = self.place(stream.name(), &file_of(number));
        let bytes = self.get(&place).await?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| ArchiveError::Damaged { place: place.to_string(), what: error.to_string() })?;
        Ok((manifest, hash(&bytes)))
    }

    /// Returns the manifest of a stream's last segment, and the hash of the manifest.
    pub async fn last(&self, stream: Stream) -> Result<Option<(Manifest, String)>, ArchiveError> {
        match self.numbers(stream).await?.last() {
            Some(number) => Ok(Some(self.manifest(stream, *number).await?)),
            None => Ok(None),
        }
    }

    /// Returns the last segments of a stream, oldest first. It reads backwards until `goes_on` returns false for a segment and the one
    /// after it.
    pub async fn back(
        &self,
        stream: Stream,
        goes_on: impl Fn(&Manifest, Option<&Manifest>) -> bool,
    ) -> Result<VecDeque<Manifest>, ArchiveError> {
        let mut segments = VecDeque::new();
        for number in self.numbers(stream).await?.into_iter().rev() {
            let (segment, _) = self.manifest(stream, number).await?;
            if !goes_on(&segment, segments.front()) {
                break;
            }
            segments.push_front(segment);
        }
        Ok(segments)
    }

    /// Returns all segments of a stream after checking their chain.
    ///
    /// # Errors
    /// Fails with [`ArchiveError::Damaged`] if the chain is broken.
    pub async fn chain(&self, stream: Stream) -> Result<Vec<Manifest>, ArchiveError> {
        let (mut chain, mut previous) = (Vec::new(), String::new());
        for (number, expected) in self.numbers(stream).await?.into_iter().zip(1..) {
            let (manifest, hash) = self.manifest(stream, number).await?;
            let what = if number != expected {
                Some(format!("segment {expected} is missing"))
            } else if manifest.previous != previous {
                Some("the segment before it is another one than when it was written".to_owned())
            } else {
                None
            };
            if let Some(what) = what {
                return Err(ArchiveError::Damaged { place: self.place(stream.name(), &file_of(number)).to_string(), what });
            }
            chain.push(manifest);
            previous = hash;
        }
        Ok(chain)
    }

    /// Returns the segments from the first one on that contains the checkpoint's event, or all segments if none contains it. After a
    /// rollback several segments may contain its sequence.
    ///
    /// # Errors
    /// Fails with [`ArchiveError::Damaged`] if the chain is broken.
    pub async fn behind(&self, stream: Stream, checkpoint: Option<&Checkpoint>) -> Result<Vec<Manifest>, ArchiveError> {
        let mut chain = self.chain(stream).await?;
        let Some(at) = checkpoint else { return Ok(chain) };
        for place in 0..chain.len() {
            let segment = &chain[place];
            let may_have = segment.identity == at.identity && (segment.first..=segment.last).contains(&at.sequence);
            if may_have && self.read(segment).await?.iter().any(|record| record.sequence == at.sequence && record.id == at.event_id) {
                return Ok(chain.split_off(place));
            }
        }
        Ok(chain)
    }

    /// Reads the events of a segment and checks them against its hash.
    ///
    /// # Errors
    /// Fails with [`ArchiveError::Damaged`] if the file is not what was written.
    pub async fn read(&self, manifest: &Manifest) -> Result<Vec<Record>, ArchiveError> {
        let place = self.place(&manifest.stream, &manifest.file);
        let damaged = |what: String| ArchiveError::Damaged { place: place.to_string(), what };
        let bytes = self.get(&place).await?;
        if hash(&bytes) != manifest.sha256 {
            return Err(damaged("its hash is not the one in its manifest".to_owned()));
        }
        let lines = zstd::decode_all(&*bytes).map_err(|error| damaged(error.to_string()))?;
        let records = segment::read(&lines).map_err(damaged)?;
        if records.len() as u64 != manifest.count {
            return Err(damaged(format!("it has {} events, not {}", records.len(), manifest.count)));
        }
        Ok(records)
    }

    /// Writes a segment: its events, then its manifest. Returns false if another process has written a segment of that number.
    pub async fn write(&self, manifest: &Manifest, events: Vec<u8>) -> Result<bool, ArchiveError> {
        self.store.put(&self.place(&manifest.stream, &manifest.file), events.into()).await?;
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| ArchiveError::Damaged { place: manifest.file.clone(), what: error.to_string() })?;
        match self.store.put_opts(&self.place(&manifest.stream, &file_of(manifest.number)), text.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn file_of(number: u64) -> String {
    format!("{number:010}.json")
}
