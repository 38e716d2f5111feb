//! Scheduled exports: after each period, a report of it in a folder or an object store.
//!
//! A file is written once. A report of a period that is over has the same bytes whoever writes it, so several gateways may have the same
//! exports: the first one writes a file, and another one that is as fast writes the same.

mod period;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use eventlog::Folder;
use events::Clock;
use events::caller::Caller;
use events::ids::KeyKind;
use events::rpc::Peer;
use futures_util::StreamExt;
use gateway::Gateway;
use gateway::forward::Forward;
use tokio_util::sync::CancellationToken;

use crate::config::{Every, ExportConfig, ExportReport};
use crate::environment::store_variables;
use period::Period;

/// The time between two looks for periods that have ended.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The number of past days and months that are written after the fact, when this process was not running in time.
const DAYS_BACK: usize = 31;
const MONTHS_BACK: usize = 12;
/// The key that reads of exports are signed for. No key has this hash.
const CALLER: &str = "export";

/// The exports of the configuration, and the processes that make the reports.
pub struct Exporter {
    exports: Vec<(ExportConfig, Folder)>,
    ledger: Forward,
    projector: Forward,
    clock: Arc<dyn Clock>,
}

impl Exporter {
    /// # Errors
    /// Fails if an address of an export is malformed.
    pub fn try_new(exports: &[ExportConfig], gateway: &Gateway, clock: &Arc<dyn Clock>) -> Result<Self> {
        let open = |export: &ExportConfig| {
            let options = store_variables().into_iter().chain(export.options.clone());
            let store = Folder::open(&export.url, options).with_context(|| format!("configuration: export {}", export.name))?;
            Ok((export.clone(), store))
        };
        let exports = exports.iter().map(open).collect::<Result<_>>()?;
        let (ledger, projector) = (gateway.forward(Peer::Ledger), gateway.forward(Peer::Projector));
        Ok(Self { exports, ledger, projector, clock: Arc::clone(clock) })
    }

    /// Writes the files of periods that have ended, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if self.exports.is_empty() {
            return;
        }
        let work = async {
            loop {
                for (export, store) in &self.exports {
                    self.write_missing(export, store).await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn write_missing(&self, export: &ExportConfig, store: &Folder) {
        let Some(account) = self.ledger.directory.account(&export.account.as_str().into()) else {
            tracing::warn!(
                export = export.name,
                "export {}: there is no account {}; correct [[exports]] account",
                export.name,
                export.account
            );
            return;
        };
        let now = DateTime::from_timestamp_micros(self.clock.now_us()).unwrap_or_default();
        let created = DateTime::from_timestamp_micros(account.created_at_us).unwrap_or_default();
        let count = match (export.report, export.every) {
            (_, Every::Day) => DAYS_BACK,
            // Requests are kept for 90 days, so of two past months the first may be gone.
            (ExportReport::Requests, Every::Month) => 1,
            (ExportReport::Activity | ExportReport::Statement, Every::Month) => MONTHS_BACK,
        };
        let awaited = now - TimeDelta::minutes(export.delay_minutes.into());
        for period in Period::ended(export.every, awaited, count).iter().take_while(|period| period.end() > created) {
            let file = format!("{}/{}.{}", export.name, period.name(), export.format.as_str());
            match self.write(export, store, period, &file).await {
                Ok(None) => {}
                Ok(Some(bytes)) => tracing::info!(export = export.name, file, bytes, "{file} is written"),
                Err(error) => {
                    tracing::warn!(export = export.name, file, "{file} is not written and will be tried again: {error:#}");
                    return;
                }
            }
        }
    }

    /// Writes the file unless it exists. Returns its length.
    async fn write(&self, export: &ExportConfig, store: &Folder, period: &Period, file: &str) -> Result<Option<u64>> {
        if store.has(file).await? {
            return Ok(None);
        }
        let (process, target) = match export.report {
            ExportReport::Activity => (&self.projector, format!("{}&group_by={}", activity(export, period), export.group_by)),
            ExportReport::Requests => (&self.projector, format!("{}&detail=true", activity(export, period))),
            ExportReport::Statement => (&self.ledger, format!("/api/v1/statements/{}?format={}", period.name(), export.format.as_str())),
        };
        let caller = Caller { account: export.account.as_str().into(), key: CALLER.into(), kind: KeyKind::Management };
        let request = Request::get(&target).body(Body::empty()).with_context(|| format!("{target} is no address"))?;
        let answer = process.send(caller, request).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        if !answer.status().is_success() {
            let body = axum::body::to_bytes(answer.into_body(), 65_536).await.unwrap_or_default();
            bail!("{}", String::from_utf8_lossy(&body));
        }
        ensure_whole(answer.headers(), process.who, period)?;
        let mut writer = store.create(file);
        let mut parts = answer.into_body().into_data_stream();
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => writer.put(part).await?,
                Err(error) => {
                    writer.abort().await;
                    bail!("the report is not complete: {error}");
                }
            }
        }
        Ok(Some(writer.finish().await?))
    }
}

/// Fails if the process that made a report has not read all events of the period. A statement says so itself, without a header.
fn ensure_whole(headers: &HeaderMap, process: Peer, period: &Period) -> Result<()> {
    let Some(as_of) = headers.get("x-as-of") else { return Ok(()) };
    let as_of = as_of.to_str().context("X-As-Of")?;
    let time = as_of.split(';').next().unwrap_or_default();
    let time: DateTime<Utc> = time.parse().with_context(|| format!("X-As-Of: {as_of}"))?;
    if time < period.end() {
        bail!("the {} has read the events up to {time} only", process.as_str());
    }
    Ok(())
}

/// Returns path and query of the activity of a period.
fn activity(export: &ExportConfig, period: &Period) -> String {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!("/api/v1/activity?from={}&to={}&format={}", time(period.start()), time(period.end()), export.format.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_waits_for_a_process_that_is_behind() {
        let now = "2026-03-15T12:00:00Z".parse().unwrap();
        let february = Period::ended(Every::Month, now, 1).remove(0);
        let ensure = |as_of: &str| {
            let headers = HeaderMap::from_iter([("x-as-of".parse().unwrap(), as_of.parse().unwrap())]);
            ensure_whole(&headers, Peer::Projector, &february)
        };
        let behind = ensure("2026-02-28T23:59:59.999999Z; event=none; lag_ms=5").unwrap_err();
        assert!(behind.to_string().contains("the projector has read the events up to 2026-02-28"), "{behind}");
        assert!(ensure("2026-03-01T00:00:00Z; event=e; lag_ms=0").is_ok());
        assert!(ensure("yesterday").is_err());
        assert!(ensure_whole(&HeaderMap::new(), Peer::Ledger, &february).is_ok());
    }
}
