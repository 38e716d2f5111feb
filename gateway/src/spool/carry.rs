//! Carrying forward: the start of a long request is recorded again in a newer file. Otherwise it would keep its old file, and every file
//! after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use events::clock::Clock;
use events::envelope::RawEnvelope;
use events::ids::Ids;
use events::request::{RequestProgress, RequestStarted};
use events::{Draft, Payload};

use super::batch::Batch;
use super::queue::RESERVATION_BYTES;
use super::record::{Found, read};
use super::segment::length;
use super::segment::{HEADER, Segment, Sequences};
use super::{Spool, SpoolError};

/// An open request, as recorded in the oldest file.
struct Open {
    number: u64,
    started: RequestStarted,
    progress: Option<RequestProgress>,
}

impl Spool {
    /// Records the starts of open requests again, with their last progress, if only they keep the oldest file and all its events are taken
    /// over.
    ///
    /// The file can be deleted once the returned position is synced. Readers see a second `request.started` of such a request.
    ///
    /// # Errors
    /// Fails if the spool is full or the disk fails; the file stays.
    pub fn carry_forward(&self, taken_over: &Sequences, clock: &dyn Clock, ids: &dyn Ids) -> Result<Option<u64>, SpoolError> {
        let Some(oldest) = self.oldest_kept_open(taken_over) else { return Ok(None) };
        for open in self.open_in(&oldest)? {
            self.carry(&open, clock, ids)?;
        }
        let position = self.queue().position;
        self.flush(position)?;
        Ok(Some(position))
    }

    /// Returns the oldest file, if only open requests keep it.
    fn oldest_kept_open(&self, taken_over: &Sequences) -> Option<Arc<Segment>> {
        let files = self.files();
        let first_open = self.queue().first_open()?;
        let (oldest, next) = (files.segments.front()?, files.segments.get(1)?);
        let all = oldest.last().iter().zip(taken_over).all(|(last, taken)| last <= taken);
        (all && next.lasts.load(Ordering::Relaxed) && first_open <= oldest.ends_at()).then(|| Arc::clone(oldest))
    }

    /// Returns the open requests whose starts are in a file, with their last progress from any file.
    fn open_in(&self, oldest: &Segment) -> Result<Vec<Open>, SpoolError> {
        let numbers: BTreeMap<u64, u64> = self.queue().open.iter().map(|(number, position)| (*position, *number)).collect();
        let before = oldest.ends_at().saturating_sub(oldest.filled().saturating_sub(HEADER));
        let mut open: BTreeMap<String, Open> = BTreeMap::new();
        each_event(oldest, |end, envelope| {
            let number = numbers.get(&(before + end - HEADER)).filter(|_| envelope.kind == RequestStarted::KIND);
            if let (Some(number), Ok(started)) = (number, envelope.payload::<RequestStarted>()) {
                open.insert(envelope.subject.to_owned(), Open { number: *number, started, progress: None });
            }
        })?;
        let segments = if open.is_empty() { Vec::new() } else { self.segments() };
        for segment in &segments {
            each_event(segment, |_, envelope| {
                if envelope.kind == RequestProgress::KIND
                    && let Some(open) = open.get_mut(envelope.subject)
                {
                    open.progress = envelope.payload().ok().or(open.progress.take());
                }
            })?;
        }
        Ok(open.into_values().collect())
    }

    fn carry(&self, open: &Open, clock: &dyn Clock, ids: &dyn Ids) -> Result<(), SpoolError> {
        let (account, subject) = (open.started.account.as_str(), open.started.request.as_str());
        let started = draft(account, subject, &open.started, clock, ids);
        let started = Batch::of(&self.source, |batch| batch.push(&started))?;
        let progress = open.progress.as_ref().map(|progress| draft(account, subject, progress, clock, ids));
        let progress = Batch::of(&self.source, |batch| progress.iter().for_each(|progress| batch.push(progress)))?;
        let mut queue = self.room_for(RESERVATION_BYTES)?;
        // The end may have been recorded meanwhile, and no event of the request may come after it.
        if queue.is_running(open.number) {
            let position = queue.add(&started);
            queue.open.insert(open.number, position);
            queue.carried = queue.add(&progress);
        }
        Ok(())
    }
}

/// Passes every event of a file to `see`, with the offset of the byte after it.
fn each_event(segment: &Segment, mut see: impl FnMut(u64, &RawEnvelope<'_>)) -> Result<(), SpoolError> {
    let (bytes, filled) = (segment.bytes()?, segment.filled());
    let mut offset = usize::try_from(HEADER).unwrap_or(usize::MAX);
    while let Some(Found::Record(record)) = bytes.get(offset..).filter(|_| length(offset) < filled).map(read) {
        offset += record.size;
        if let Ok(envelope) = RawEnvelope::parse(record.event) {
            see(length(offset), &envelope);
        }
    }
    Ok(())
}

fn draft<'a, P: Payload>(account: &'a str, subject: &'a str, payload: &'a P, clock: &dyn Clock, ids: &dyn Ids) -> Draft<'a, P> {
    Draft { id: ids.uuid(clock), time_us: clock.now_us(), account, subject, traceparent: None, payload }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use events::ids::SystemIds;
    use events::request::{Format, RequestRefused};
    use events::usage_recorded::UsageRecorded;
    use events::{Nanos, Source, SystemClock, Tokens};

    use super::*;
    use crate::config::SpoolConfig;
    use crate::spool::{FileSystem, recover};

    fn config() -> SpoolConfig {
        SpoolConfig { segment_bytes: 256 * 1024, bytes_max: 1024 * 1024, ..SpoolConfig::default() }
    }

    fn started(request: &str) -> RequestStarted {
        RequestStarted {
            request: request.into(),
            account: "a".into(),
            key: "k".into(),
            lease: "l".into(),
            hold_nanos: Nanos(99),
            model: "m".into(),
            user: None,
            app: None,
            experiment: None,
            format: Format::Chat,
            streamed: true,
            admitted_at_us: 0,
        }
    }

    fn fill(spool: &Spool) -> Result<(), SpoolError> {
        let refused = RequestRefused {
            request: "r".into(),
            key: "k".into(),
            model: "m".repeat(200),
            status: 402,
            code: "c".into(),
            guardrail: None,
            refused_at_us: 0,
            count: None,
        };
        for _ in 0..1_000 {
            spool.append(|batch| batch.push(&draft("a", "r", &refused, &SystemClock, &SystemIds)))?;
        }
        spool.sync()
    }

    fn recovered(folder: &Path) -> Vec<UsageRecorded> {
        let disk: Arc<dyn crate::spool::Disk> = Arc::new(FileSystem);
        let spools = recover::recover(&disk, folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        let mut found = Vec::new();
        for segment in spools.iter().flat_map(|spool| spool.segments()) {
            let bytes = segment.bytes().unwrap();
            let mut at = usize::try_from(HEADER).unwrap();
            while let Some(Found::Record(record)) = bytes.get(at..).map(read) {
                let envelope = RawEnvelope::parse(record.event).unwrap();
                if envelope.kind == UsageRecorded::KIND {
                    found.push(envelope.payload().unwrap());
                }
                at += record.size;
            }
        }
        found
    }

    #[test]
    fn one_open_request_does_not_fill_the_spool_and_is_settled_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn crate::spool::Disk> = Arc::new(FileSystem);
        let spool = Spool::create(disk, folder.path().join("boot"), Source::gateway("n", "boot"), config()).unwrap();
        let mut place = spool.reserve().unwrap();
        let start = started("long");
        place.start(&draft("a", "long", &start, &SystemClock, &SystemIds)).unwrap();
        let progress = RequestProgress {
            request: "long".into(),
            model: "m".into(),
            provider: "p".into(),
            tokens: Tokens { output: 3, ..Tokens::default() },
            price_version: "1".into(),
            unit_prices: events::UnitPrices::default(),
            cost_nanos: Nanos(30),
            byok: None,
        };
        spool.append(|batch| batch.push(&draft("a", "long", &progress, &SystemClock, &SystemIds))).unwrap();
        // This is ten times the capacity of the spool, and the request's cost grows meanwhile.
        for round in 0..20 {
            let progress = RequestProgress { cost_nanos: Nanos(30 + round), ..progress.clone() };
            spool.append(|batch| batch.push(&draft("a", "long", &progress, &SystemClock, &SystemIds))).unwrap();
            fill(&spool).unwrap_or_else(|error| panic!("round {round}: {error}"));
            let taken = [u64::MAX; 4];
            let _position = spool.carry_forward(&taken, &SystemClock, &SystemIds).unwrap();
            spool.sync().unwrap();
            spool.truncate(&taken).unwrap();
            assert!(spool.segments().len() <= 3, "{} files", spool.segments().len());
        }
        // This simulates the death of the process.
        std::mem::forget(place);
        drop(spool);
        let settled = recovered(folder.path());
        assert_eq!(settled.len(), 1);
        assert_eq!((settled[0].request.as_str(), settled[0].cost_nanos), ("long", Nanos(49)), "by its last progress");
    }

    #[test]
    fn a_request_that_has_ended_is_not_carried() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn crate::spool::Disk> = Arc::new(FileSystem);
        let spool = Spool::create(disk, folder.path().join("boot"), Source::gateway("n", "boot"), config()).unwrap();
        let mut place = spool.reserve().unwrap();
        let start = started("short");
        place.start(&draft("a", "short", &start, &SystemClock, &SystemIds)).unwrap();
        fill(&spool).unwrap();
        let position = place.end(|_| {});
        spool.flush(position).unwrap();
        let before = spool.last();
        assert!(spool.carry_forward(&[u64::MAX; 4], &SystemClock, &SystemIds).unwrap().is_some(), "its end is not synced");
        assert_eq!(spool.last(), before, "nothing was recorded");
    }
}
