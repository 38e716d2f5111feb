//! Events that replace an event whose record was damaged on a gateway's disk before it was published. The content is lost, but every reader
//! sees that an event is missing, and no later event waits for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::payload;

macro_rules! damaged {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The name of the file with the damaged bytes, in the folder `damaged` of the gateway's data. It is empty if a power failure
            /// lost the record before it was on disk.
            pub kept_in: String,
        }
    };
}

damaged! {
    /// An event of a request was damaged.
    RequestDamaged
}
damaged! {
    /// A charge was damaged. Its request is charged by another event if its end is still known, else not at all.
    UsageDamaged
}
damaged! {
    /// A change of a key or an account was damaged.
    KeyDamaged
}

payload!(RequestDamaged, Requests, "request", "damaged", "v1");
payload!(UsageDamaged, Usage, "usage", "damaged", "v1");
payload!(KeyDamaged, Control, "key", "damaged", "v1");
