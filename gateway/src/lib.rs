//! The gateway: HTTP in, and HTTP out to providers; with keys, limits, routing, streaming, metering, spool and management commands.

pub mod config;
pub mod request;
pub mod admit;
pub mod inference;
pub mod proxy;
pub mod passed_headers;
pub mod completion;
pub mod count;
pub mod auth;
pub mod route;
pub mod admission;
pub mod attempt;
pub mod stream;
pub mod meter;
pub mod spool;
pub mod error;
pub mod content_encoding;
pub mod edge;
pub mod cors;
pub mod idempotency;
pub mod admin;
pub mod endpoint_metrics;
pub mod metrics;
pub mod refusals;
pub mod models;
pub mod endpoints;
pub mod forward;
pub mod health;
pub mod openapi;
pub mod router;
pub mod serve;
pub mod workers;
pub mod process;

pub use config::GatewayConfig;
pub use process::{Gateway, Peers};
