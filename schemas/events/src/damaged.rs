//! What stands in the place of an event whose record was damaged on a gateway's disk before it was published: nobody knows what it
//! said, but everybody sees that it is missing, and nothing behind it waits for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::payload;

macro_rules! damaged {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// Where the gateway keeps the damaged bytes: a file name in the folder `damaged` of its data; empty when the record was lost
            /// with the power before it was on the disk.
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
