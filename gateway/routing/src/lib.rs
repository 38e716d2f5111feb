//! Provider selection and health: pure decisions, with time and randomness as arguments. No I/O.

pub mod seeded;
pub mod names;
pub mod provider;
pub mod facts;
pub mod preferences;
pub mod health;
pub mod filter;
pub mod order;
pub mod auto;
pub mod pool;
pub mod sticky;
pub mod retry;

pub use facts::{EndpointFacts, Modality, Needs, Price, Quantization};
pub use filter::Skip;
pub use health::{BreakerChange, BreakerState, Cause, EndpointHealth, HealthView, Opening, Outcome, Permit, Sample};
pub use order::{Candidate, Chosen, Selection, Why, select};
pub use preferences::{PreferenceError, Preferences, Restrictions};
