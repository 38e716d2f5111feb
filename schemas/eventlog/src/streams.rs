//! The four streams: created if they are missing, and checked if they exist.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use events::subject::Stream;

use crate::connect::{Log, LogError};

/// The time for which the server remembers message ids. This only reduces duplicates; the unique key in the database is decisive.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

impl Log {
    /// Creates every missing stream, and refuses one whose settings could lose events. The ledger calls this.
    ///
    /// # Errors
    /// Fails with [`LogError::Stream`] if a stream has dangerous settings.
    pub async fn prepare(&self, replicas: usize) -> Result<(), LogError> {
        for stream in Stream::ALL {
            let info = self.jetstream.get_or_create_stream(config(stream, replicas)).await.map_err(LogError::server)?;
            check(stream, &info.cached_info().config)?;
        }
        Ok(())
    }

    /// Checks that every stream exists, with settings that lose no events.
    ///
    /// # Errors
    /// Fails if a stream is missing, or with [`LogError::Stream`] if it has dangerous settings.
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
        // A stream whose archived events may age out must allow purging; NATS cannot unset this setting.
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
