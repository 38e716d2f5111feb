//! Types that the processes share: money, ids, usage, events, requests and subject names. There is no I/O here.

pub mod clock;
pub mod ids;
pub mod money;
pub mod usage;
pub mod envelope;
pub mod payload;
pub mod request;
pub mod usage_recorded;
pub mod open_request;
pub mod damaged;
pub mod sealed;
pub mod webhook;
pub mod catalog;
pub mod provider_key;
pub mod control;
pub mod ledger;
pub mod stream;
pub mod subject;
pub mod rpc;
pub mod caller;
pub mod fact_signature;
pub mod schema;
pub mod asyncapi;
pub mod failpoint;

pub use clock::{Clock, SystemClock};
pub use envelope::{Draft, Envelope, Source};
pub use fact_signature::SigningKeys;
pub use failpoint::{Failpoint, failpoint};
pub use ids::{AccountId, Ids, KeyHash, LeaseId, RequestId};
pub use money::Nanos;
pub use open_request::OpenRequest;
pub use payload::Payload;
pub use usage::{CostStatus, Provenance, Tokens, UnitPrices};
