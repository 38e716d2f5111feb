//! The trait of event payloads, and the macro that implements it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::stream::Stream;

/// A payload: its event type, its schema's file name and its stream.
pub trait Payload: Serialize + DeserializeOwned {
    /// The CloudEvents type, such as `arouter.usage.recorded.v1`.
    const KIND: &'static str;
    /// The schema's file name, such as `usage.recorded.v1.json`.
    const SCHEMA: &'static str;
    const STREAM: Stream;
    /// The last token of the subject, such as `finished`.
    const VERB: &'static str;
}

macro_rules! payload {
    ($type:ty, $stream:ident, $family:literal, $verb:literal, $version:literal) => {
        impl $crate::payload::Payload for $type {
            const KIND: &'static str = concat!("arouter.", $family, ".", $verb, ".", $version);
            const SCHEMA: &'static str = concat!($family, ".", $verb, ".", $version, ".json");
            const STREAM: $crate::stream::Stream = $crate::stream::Stream::$stream;
            const VERB: &'static str = $verb;
        }
    };
}
pub(crate) use payload;
