//! End users of an account, as the account's requests name them.

pub mod erase;
