//! The projector: reports. Each projection is a table and a fold over a set of events, so that order, duplicates and rebuilds do not change
//! a byte. No decision to allow or refuse a request depends on it.

pub mod webhook;
pub mod projections;
pub mod exports;
pub mod rpc;
pub mod router;
pub mod process;

pub use process::{Projector, ProjectorConfig};

use eventlog::store::Migration;

/// The projector's tables.
pub const MIGRATIONS: &[Migration] = &[
    (2, "projections", include_str!("../migrations/0002_projections.sql")),
    (30, "byok", include_str!("../migrations/0030_byok.sql")),
    (2_001, "readers", include_str!("../migrations/2001_readers.sql")),
    (2_002, "usage", include_str!("../migrations/2002_usage.sql")),
    (2_003, "webhooks", include_str!("../migrations/2003_webhooks.sql")),
    (2_040, "attempts", include_str!("../migrations/2040_attempts.sql")),
    (2_041, "skipped", include_str!("../migrations/2041_skipped.sql")),
    (2_042, "latencies", include_str!("../migrations/2042_latencies.sql")),
    (2_043, "clustered", include_str!("../migrations/2043_clustered.sql")),
    (2_044, "user_days", include_str!("../migrations/2044_user_days.sql")),
    (2_045, "mixes_of", include_str!("../migrations/2045_mixes_of.sql")),
    (2_046, "pairs", include_str!("../migrations/2046_pairs.sql")),
    (2_047, "mixes_by_key", include_str!("../migrations/2047_mixes_by_key.sql")),
    (2_048, "mixes_by_key_postgres", include_str!("../migrations/2048_mixes_by_key_postgres.sql")),
];
