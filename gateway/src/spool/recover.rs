//! Reading the spools of earlier boots: what they recorded is sent again, and what they never ended is settled.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::clock::Clock;
use events::envelope::RawEnvelope;
use events::ids::Ids;
use events::request::{Outcome, RequestFinished, RequestProgress, RequestStarted};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Nanos, Payload, Provenance, Source, Tokens, UnitPrices};

use super::record::{Found, read};
use super::segment::{HEADER, Segment, Sequences};
use super::{Spool, SpoolError};
use crate::config::SpoolConfig;

/// A request that started and has no end.
struct Unfinished {
    started: RequestStarted,
    progress: Option<RequestProgress>,
    /// Charged already: only the end was torn off.
    usage: Option<UsageRecorded>,
}

/// Spools of earlier boots below a folder, ready to be published: every request in them has an end.
///
/// # Errors
/// When a folder cannot be read or written.
pub fn recover(folder: &Path, node: &str, config: &SpoolConfig, clock: &dyn Clock, ids: &dyn Ids) -> Result<Vec<Arc<Spool>>, SpoolError> {
    let mut spools = Vec::new();
    let mut boots: Vec<PathBuf> =
        std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_dir()).collect();
    boots.sort();
    for boot in boots {
        let name = boot.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        spools.push(one(boot, Source::gateway(node, &name), config, clock, ids)?);
    }
    Ok(spools)
}

fn one(folder: PathBuf, source: Source, config: &SpoolConfig, clock: &dyn Clock, ids: &dyn Ids) -> Result<Arc<Spool>, SpoolError> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    let mut segments = VecDeque::new();
    let mut sequences = Sequences::default();
    let mut unfinished = BTreeMap::new();
    for path in files {
        match Segment::open(&path)? {
            Some(segment) => {
                scan(&segment, &mut sequences, &mut unfinished)?;
                segments.push_back(segment);
            }
            None => {
                tracing::warn!(path = %path.display(), "{} is no whole segment of the spool: the gateway died while making it", path.display());
            }
        }
    }
    let spool = Spool::resume(folder, source, config.clone(), segments, sequences)?;
    let count = unfinished.len();
    for request in unfinished.into_values() {
        settle(&spool, &request, clock, ids)?;
    }
    if count > 0 {
        tracing::warn!(
            source = spool.source.0,
            count,
            "{count} requests of an earlier boot never ended and are settled by what they had relayed"
        );
    }
    Ok(spool)
}

/// Reads the whole segment, notes its sequences and what it leaves open, and where its good part ends.
fn scan(segment: &Segment, sequences: &mut Sequences, unfinished: &mut BTreeMap<String, Unfinished>) -> io::Result<()> {
    let bytes = std::fs::read(&segment.path)?;
    let mut offset = usize::try_from(HEADER).unwrap_or(usize::MAX);
    for (stored, before) in sequences.iter_mut().zip(segment.last()) {
        *stored = before.max(*stored);
    }
    loop {
        match read(&bytes[offset..]) {
            Found::Record(record) => {
                let last = &mut sequences[record.stream.index()];
                *last = record.sequence.max(*last);
                note(record.event, unfinished);
                offset += record.size;
            }
            Found::End => break,
            Found::Damaged(_) => {
                tracing::error!(path = %segment.path.display(), offset, "the spool is damaged at byte {offset} of {}: what follows there is not read", segment.path.display());
                break;
            }
        }
    }
    segment.fill(u64::try_from(offset).unwrap_or(u64::MAX), sequences);
    Ok(())
}

fn note(event: &[u8], unfinished: &mut BTreeMap<String, Unfinished>) {
    let Ok(envelope) = RawEnvelope::parse(event) else { return };
    match envelope.kind {
        RequestStarted::KIND => {
            if let Ok(started) = envelope.payload::<RequestStarted>() {
                unfinished.insert(started.request.to_string(), Unfinished { started, progress: None, usage: None });
            }
        }
        RequestProgress::KIND => {
            if let Ok(progress) = envelope.payload::<RequestProgress>()
                && let Some(request) = unfinished.get_mut(progress.request.as_str())
            {
                request.progress = Some(progress);
            }
        }
        UsageRecorded::KIND => {
            if let Ok(usage) = envelope.payload::<UsageRecorded>()
                && let Some(request) = unfinished.get_mut(usage.request.as_str())
            {
                request.usage = Some(usage);
            }
        }
        RequestFinished::KIND => {
            unfinished.remove(envelope.subject);
        }
        _ => {}
    }
}

/// Ends a request that the process did not live to end: what it had relayed is charged, and nothing else.
fn settle(spool: &Spool, request: &Unfinished, clock: &dyn Clock, ids: &dyn Ids) -> Result<(), SpoolError> {
    let now_us = clock.now_us();
    let started = &request.started;
    let latency_us = u64::try_from(now_us - started.admitted_at_us).unwrap_or_default();
    let usage = request.usage.clone().unwrap_or_else(|| relayed(request, latency_us));
    let finished = RequestFinished {
        request: started.request.clone(),
        key: started.key.clone(),
        model: usage.model.clone(),
        outcome: usage.outcome,
        status: usage.status,
        finish_reason: usage.finish_reason.clone(),
        admitted_at_us: started.admitted_at_us,
        latency_us: usage.latency_us,
        ttft_us: usage.ttft_us,
        attempts: Vec::new(),
    };
    let (account, subject) = (started.account.as_str(), started.request.as_str());
    spool.append(|batch| {
        if request.usage.is_none() {
            batch.push(&Draft { id: ids.uuid(clock), time_us: now_us, account, subject, traceparent: None, payload: &usage });
        }
        batch.push(&Draft { id: ids.uuid(clock), time_us: now_us, account, subject, traceparent: None, payload: &finished });
    })?;
    Ok(())
}

/// The charge for what a stream had relayed by its last progress.
fn relayed(request: &Unfinished, latency_us: u64) -> UsageRecorded {
    let Unfinished { started, progress, .. } = request;
    let progress = progress.as_ref();
    UsageRecorded {
        request: started.request.clone(),
        key: started.key.clone(),
        lease: started.lease.clone(),
        model: progress.map_or(&started.model, |progress| &progress.model).clone(),
        provider: progress.map_or_else(String::new, |progress| progress.provider.clone()),
        user: started.user.clone(),
        app: started.app.clone(),
        format: started.format,
        streamed: started.streamed,
        outcome: Outcome::Aborted,
        status: None,
        finish_reason: None,
        tokens: progress.map_or_else(Tokens::default, |progress| progress.tokens),
        provenance: if progress.is_some() { Provenance::Measured } else { Provenance::Unknown },
        price_version: progress.map_or_else(String::new, |progress| progress.price_version.clone()),
        unit_prices: progress.map_or_else(UnitPrices::default, |progress| progress.unit_prices),
        cost_status: if progress.is_some() { CostStatus::Priced } else { CostStatus::Waived },
        cost_nanos: progress.map_or(Nanos::ZERO, |progress| progress.cost_nanos.min(started.hold_nanos)),
        beyond_hold_nanos: Nanos::ZERO,
        admitted_at_us: started.admitted_at_us,
        latency_us,
        ttft_us: None,
    }
}
