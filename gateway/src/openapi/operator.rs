//! The bodies of the operator's routes.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use wire::openapi::Usd;

/// An account.
#[derive(ToSchema)]
#[schema(as = Account)]
pub struct AccountBody {
    pub id: String,
    pub name: String,
    /// Absent in the answer to the creation.
    pub suspended: Option<bool>,
    /// The model of requests that name none. Absent in the answer to the creation.
    pub default_model: Option<String>,
}

/// A new account with its first management key, which is shown once.
#[derive(ToSchema)]
pub struct CreatedAccount {
    pub data: AccountBody,
    pub management_key: String,
}

/// Posted credit.
#[derive(ToSchema)]
pub struct PostedCredit {
    /// The transaction.
    pub id: String,
    pub amount: Usd,
    pub balance: Usd,
}

/// A decision on an event in quarantine.
#[derive(ToSchema)]
pub struct DecidedQuarantine {
    pub event_id: String,
    pub decision: String,
    /// The readers that had set the event aside.
    pub readers: Vec<String>,
}

/// An event in quarantine.
#[derive(ToSchema)]
pub struct QuarantinedEvent {
    pub reader: String,
    pub event_id: String,
    pub projection: String,
    pub stream: String,
    pub sequence: u64,
    pub reason: String,
    pub freezes_account: Option<String>,
    pub quarantined_at: String,
    /// The event as received; only if one event is asked for.
    pub payload: Option<String>,
}

/// The health of an endpoint at one gateway.
#[derive(ToSchema)]
#[schema(as = EndpointHealth)]
pub struct EndpointHealthBody {
    pub provider: String,
    pub model: String,
    /// `closed`, `open`, `half_open` or `probing`.
    pub breaker: String,
    /// The reason why it is not closed: `failures_in_a_row`, `half_failed`, `probe_failed`, `rate_limited` or `other_gateway`.
    pub cause: Option<String>,
    /// The time since which it is not closed.
    pub since: Option<String>,
    /// The time until which no request is let through.
    pub until: Option<String>,
    /// Whether at least half of the requests of the last 30 s failed.
    pub has_outage: bool,
    /// The attempts since the start of the gateway, by outcome.
    pub attempts: BTreeMap<String, u64>,
    /// Shares of successes in percent; null without requests.
    pub uptime_last_5m: Option<f64>,
    pub uptime_last_30m: Option<f64>,
    pub uptime_last_1d: Option<f64>,
}

/// The health of all endpoints at one gateway.
#[derive(ToSchema)]
pub struct EndpointHealths {
    /// The gateway that was asked.
    pub gateway: String,
    pub data: Vec<EndpointHealthBody>,
}
