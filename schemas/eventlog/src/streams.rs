//! The four streams: created when missing, checked when somebody else made them.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use events::subject::Stream;

use crate::connect::{Log, LogError};

/// How long the server remembers message ids: a noise filter, the database's unique key is the truth.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

impl Log {
    /// Makes every stream exist, and refuses one whose settings could lose events. The ledger does that.
    ///
    /// # Errors
    /// When the server refuses, or a stream has dangerous settings.
    pub async fn prepare(&self, replicas: usize) -> Result<(), LogError> {
        for stream in Stream::ALL {
            let info = self.jetstream.get_or_create_stream(config(stream, replicas)).await.map_err(LogError::server)?;
            check(stream, &info.cached_info().config)?;
        }
        Ok(())
    }

    /// Looks whether every stream is there, with settings that lose no events.
    ///
    /// # Errors
    /// When one is not there, or has dangerous settings.
    pub async fn inspect(&self) -> Result<(), LogError> {
        for stream in Stream::ALL {
            let info = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
            check(stream, &info.cached_info().config)?;
        }
        Ok(())
    }
}

fn config(stream: Stream, replicas: usize) -> Config {
    Config {
        name: stream.name().to_owned(),
        subjects: stream.subjects().iter().map(|subject| (*subject).to_owned()).collect(),
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::New,
        deny_delete: true,
        // What may age out behind the archive is purged; NATS does not take this back once it is set.
        deny_purge: !stream.may_age(),
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

fn check(stream: Stream, config: &Config) -> Result<(), LogError> {
    let wrong = |what: String| Err(LogError::Stream { stream: stream.name(), what });
    if config.storage != StorageType::File {
        return wrong("memory storage; it needs file storage".to_owned());
    }
    if config.retention != RetentionPolicy::Limits {
        return wrong("a retention policy that drops what was read; it needs limits".to_owned());
    }
    if config.discard != DiscardPolicy::New {
        return wrong("discard old, which drops events in silence; it needs discard new".to_owned());
    }
    if !config.max_age.is_zero() {
        return wrong(format!("a max_age of {} s, which drops events in silence; it needs none", config.max_age.as_secs()));
    }
    if config.no_ack {
        return wrong("no_ack; it needs acknowledgements".to_owned());
    }
    if let Some(missing) = stream.subjects().iter().find(|subject| !config.subjects.iter().any(|present| present == *subject)) {
        return wrong(format!("no subject {missing}; add it"));
    }
    Ok(())
}
