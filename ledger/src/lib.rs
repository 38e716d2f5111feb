//! The ledger: the only place where money moves. Accounts, leases, postings, transactions; its tables, its read routes.

pub mod books;
pub mod desk;
pub mod account;
pub mod key;
pub mod lease;
pub mod posting;
pub mod grant;
pub mod credit;
pub mod transaction;
pub mod control;
pub mod outbox;
pub mod quarantine;
pub mod answers;
pub mod router;
pub mod process;
pub mod verify;

pub use process::{Ledger, LedgerConfig};

use eventlog::store::Step;

/// The ledger's tables.
pub const STEPS: &[Step] =
    &[(2, "books", include_str!("../migrations/0002_books.sql")), (3, "grants", include_str!("../migrations/0003_grants.sql"))];
