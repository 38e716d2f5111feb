//! Single requests as CSV.

use axum::response::Response;
use events::Nanos;
use events::clock::rfc3339;
use futures_util::stream::try_unfold;
use read_api::csv::{self, Table, safe};
use read_api::{AsOf, ReadError};

use super::{Detail, Request};
use crate::exports::activity::query::{Asked, Group, SEPARATOR};
use crate::exports::activity::table::COLUMNS;

/// The columns after those of the summary.
const MORE_COLUMNS: [&str; 10] =
    ["model", "provider", "key_label", "creator", "user", "app", "request_id", "time", "status", "finish_reason"];
/// The number of requests in one part of the body.
pub(super) const PART_ROWS: usize = 4_000;

pub(super) fn respond(detail: Detail, as_of: &AsOf) -> Response {
    let parts = try_unfold((detail, true), async |(mut detail, is_first)| {
        let part = detail.part(|detail, requests| table(detail, requests, is_first)).await?;
        Ok(part.map(|part| (part, (detail, false))))
    });
    csv::stream(parts, as_of)
}

fn table(detail: &Detail, requests: &[Request<'_>], is_first: bool) -> Result<Vec<u8>, ReadError> {
    let mut table = Table::new();
    if is_first {
        table.row(COLUMNS.iter().chain(&MORE_COLUMNS))?;
    }
    let mut bucket = Bucket::default();
    for request in requests {
        bucket.move_to(request.admitted_at_us, &detail.asked);
        write(&mut table, request, &bucket, detail)?;
    }
    table.into_bytes()
}

/// The texts of the bucket that contains a request; the next request is usually in the same one.
#[derive(Default)]
struct Bucket {
    start_us: i64,
    end_us: i64,
    start: String,
    end: String,
}

impl Bucket {
    fn move_to(&mut self, time_us: i64, asked: &Asked) {
        if (self.start_us..self.end_us).contains(&time_us) {
            return;
        }
        if let Some((start_us, end_us)) = asked.period.bucket(asked.period.index(time_us)) {
            *self = Self { start_us, end_us, start: rfc3339(start_us), end: rfc3339(end_us) };
        }
    }
}

fn write(table: &mut Table, request: &Request<'_>, bucket: &Bucket, detail: &Detail) -> Result<(), ReadError> {
    let account = detail.account();
    let Request { model, provider, key_hash, end_user, app, .. } = request;
    let of_group = |group: &Group| match group {
        Group::Model => model,
        Group::ApiKey => key_hash,
        Group::Creator => account,
        Group::User => end_user,
        Group::Provider => provider,
        Group::App => app,
    };
    let group = detail.asked.groups.iter().map(of_group).collect::<Vec<&str>>().join(SEPARATOR);
    let (prompt, completion) = (request.prompt_tokens, request.completion_tokens);
    let counts = [prompt, completion, request.reasoning_tokens, request.cached_tokens, prompt.saturating_add(completion)];
    let counts = counts.map(|count| count.to_string());
    let (spend, time) = (Nanos(request.cost_nanos).to_decimals(), rfc3339(request.admitted_at_us));
    let status = request.status.map(|status| status.to_string()).unwrap_or_default();
    let finish = request.finish_reason.as_deref().unwrap_or_default();
    let label = detail.key_label(key_hash);
    let group = safe(&group);
    let texts = [model, provider, label, account, end_user, app, &request.request].map(safe);
    let head = [bucket.start.as_str(), bucket.end.as_str(), &group, &spend, "0.000000000", "1"];
    let cells = head.into_iter().chain(counts.iter().map(String::as_str)).chain(texts.iter().map(AsRef::as_ref));
    table.row(cells.chain([time.as_str(), status.as_str(), &safe(finish)]))
}
