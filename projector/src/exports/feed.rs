//! `GET /api/v1/events`: the public events of an account as server-sent events, from now on or after `Last-Event-ID`.
//!
//! An event may come twice, after a rebuild of the log or of a connection: its `id` in the data tells. No event of the streams is missed.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use eventlog::account_feed::{Feed, PUBLIC, Place};
use eventlog::{Log, Throttle};
use events::ids::KeyKind;
use events::subject::Stream;
use futures_util::stream;
use read_api::{Http, Query, ReadError, RefusalsOfFeed, Signed};
use serde::Deserialize;
use sqlx::AnyPool;
use utoipa::IntoParams;

use crate::projections::erasures::{renamed, token_of};

/// The time after which a silent feed gets a comment.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The time that a client waits before it connects again.
const RETRY_MS: u32 = 1_000;
/// The number of open feeds of one account, and of all.
const PER_ACCOUNT_MAX: usize = 8;
const TOTAL_MAX: usize = 1_000;

/// The state of the route.
#[derive(Clone)]
pub struct Feeds {
    pub log: Log,
    /// The number of open feeds by account.
    pub open: Arc<Mutex<BTreeMap<String, usize>>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// `usage`, `requests` and `keys`, with commas between; all if absent.
    types: Option<String>,
    /// The same as the header, for clients that cannot set it.
    last_event_id: Option<String>,
}

/// The right of one feed to be open.
struct Permit {
    account: String,
    open: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Permit {
    fn take(feeds: &Feeds, account: &str) -> Result<Self, ReadError> {
        let mut open = feeds.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(account).copied().unwrap_or_default();
        if own >= PER_ACCOUNT_MAX || open.values().sum::<usize>() >= TOTAL_MAX {
            return Err(ReadError::TooMany("This account has as many open event feeds as it may; close one."));
        }
        open.insert(account.to_owned(), own + 1);
        drop(open);
        Ok(Self { account: account.to_owned(), open: Arc::clone(&feeds.open) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get(&self.account).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            open.remove(&self.account);
        } else {
            open.insert(self.account.clone(), left);
        }
    }
}

/// Returns the feed.
///
/// # Errors
/// 403 for an inference key, 400 for a bad query or `Last-Event-ID`, 429 if the account has too many feeds, 503 if the log does not answer.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "feed_events",
    tag = "Webhooks",
    summary = "The events of the account as server-sent events, from now on or after an earlier one",
    params(
        FeedQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last frame of an earlier feed: this one goes on behind it.")
    ),
    responses(
        (status = 200, description = "A feed without an end. Each frame has the event as `data`.", content(("text/event-stream"))),
        RefusalsOfFeed
    )
)]
pub async fn feed(
    feeds: Feeds,
    State(http): State<Http>,
    Signed(caller): Signed,
    headers: HeaderMap,
    query: Query<FeedQuery>,
) -> Result<Response, ReadError> {
    if caller.kind != KeyKind::Management {
        return Err(ReadError::Forbidden("an API key cannot read the account's events; use a management key (lr_mgmt_...)"));
    }
    let streams = streams(query.0.types.as_deref())?;
    let given = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned).or(query.0.last_event_id);
    let after: Option<Place> = given
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().map_err(|_| ReadError::bad("Last-Event-ID", "use the id of an event of this feed")))
        .transpose()?;
    let permit = Permit::take(&feeds, caller.account.as_str())?;
    let opened = feeds.log.feed(caller.account.as_str(), &streams, after.as_ref(), http.clock.now_us()).await;
    let feed = opened.map_err(|error| {
        tracing::warn!(%error, "a feed of events cannot be opened: {error}");
        ReadError::Log
    })?;
    // The first frame has an id but no data: a client that is cut off before its first event returns to this place.
    let first = format!("retry: {RETRY_MS}\nid: {}\n\n", feed.place());
    let frames = stream::unfold(Some(Open { feed, permit, reads: http.store.reads.clone(), first: Some(first) }), next);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// A feed that is being sent.
struct Open {
    feed: Feed,
    permit: Permit,
    reads: AnyPool,
    first: Option<String>,
}

async fn next(open: Option<Open>) -> Option<(Result<String, Infallible>, Option<Open>)> {
    static TROUBLES: Throttle = Throttle::new();
    let mut open = open?;
    if let Some(first) = open.first.take() {
        return Some((Ok(first), Some(open)));
    }
    let frame = match tokio::time::timeout(HEARTBEAT, open.feed.next()).await {
        Err(_) => Ok(": heartbeat\n\n".to_owned()),
        Ok(Ok(event)) => shown(&open.reads, &open.permit.account, &String::from_utf8_lossy(&event.payload))
            .await
            .map(|data| format!("id: {}\ndata: {data}\n\n", event.place))
            .map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
    };
    match frame {
        Ok(frame) => Some((Ok(frame), Some(open))),
        Err(error) => {
            if let (_, Some(unsaid)) = TROUBLES.failed() {
                tracing::warn!(%error, unsaid, "a feed of events ends, and its client will return: {error}");
            }
            None
        }
    }
}

/// Returns an event with the token of its end user, if that one is erased.
async fn shown(reads: &AnyPool, account: &str, event: &str) -> Result<String, sqlx::Error> {
    let mut name = None;
    let _unchanged = renamed(event, |user| {
        name = Some(user.to_owned());
        None
    });
    let token = match name {
        Some(name) => token_of(reads, account, &name).await?,
        None => None,
    };
    Ok(token.and_then(|token| renamed(event, |_| Some(token))).unwrap_or_else(|| event.to_owned()))
}

/// Reads `usage,requests,keys`; absent = all.
fn streams(types: Option<&str>) -> Result<Vec<Stream>, ReadError> {
    let Some(types) = types.filter(|types| !types.is_empty()) else { return Ok(PUBLIC.to_vec()) };
    types
        .split(',')
        .map(|family| match family {
            "usage" => Ok(Stream::Usage),
            "requests" => Ok(Stream::Requests),
            "keys" => Ok(Stream::Control),
            _ => Err(ReadError::bad("types", "it must be a list of usage, requests and keys")),
        })
        .collect()
}
