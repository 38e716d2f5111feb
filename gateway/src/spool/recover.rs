//! Recovery of the spools of earlier boots: their events are published again, and requests without an end are settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use events::clock::Clock;
use events::damaged::{KeyDamaged, RequestDamaged, UsageDamaged};
use events::envelope::RawEnvelope;
use events::ids::Ids;
use events::request::{RequestFinished, RequestProgress, RequestStarted};
use events::subject::Stream;
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Failpoint, OpenRequest, Payload, Source, failpoint};

use super::record::{Found, HEAD, read};
use super::segment::{HEADER, Opened, Segment, Sequences, all_of, length};
use super::{Disk, Spool, SpoolError};
use crate::config::SpoolConfig;

/// A request that has a start and no complete end.
struct Unfinished {
    request: OpenRequest,
    /// The recorded charge, if only the end was torn off.
    usage: Option<UsageRecorded>,
    /// Whether the end is recorded and only the charge was damaged.
    is_ended: bool,
}

/// The content of one boot's spool, as read so far.
#[derive(Default)]
struct Boot {
    sequences: Sequences,
    unfinished: BTreeMap<String, Unfinished>,
    /// The sequences that were read, from which the ones lost to damage are found.
    seen: [Vec<u64>; Stream::ALL.len()],
    /// The names of the files to which damaged bytes were copied.
    damaged: Vec<String>,
}

/// Returns the spools of earlier boots below a folder, ready to be published: every request in them has an end.
pub fn recover(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    node: &str,
    config: &SpoolConfig,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<Vec<Arc<Spool>>, SpoolError> {
    let mut spools = Vec::new();
    for boot in disk.folders(folder)? {
        let name = boot.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        spools.push(one(disk, boot, Source::gateway(node, &name), config, clock, ids)?);
    }
    Ok(spools)
}

fn one(
    disk: &Arc<dyn Disk>,
    folder: PathBuf,
    source: Source,
    config: &SpoolConfig,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<Arc<Spool>, SpoolError> {
    let mut segments: VecDeque<Arc<Segment>> = VecDeque::new();
    let mut boot = Boot::default();
    for path in disk.files(&folder)? {
        let segment = match Segment::open(&**disk, &path)? {
            Opened::Segment(segment) => segment,
            // The first file has nothing before it. Any other file has its header on disk by the time it becomes the oldest file.
            Opened::Headless(file) => {
                match before_first(&all_of(&*file)?).map(|before| if is_first(&path) { Sequences::default() } else { before }) {
                    None => {
                        disk.remove(&path)?;
                        continue;
                    }
                    Some(before) => {
                        tracing::error!(path = %path.display(), "{} is damaged at both ends, its records are read all the same; check the disk", path.display());
                        Segment::new(path, file, if segments.is_empty() { before } else { boot.sequences })
                    }
                }
            }
        };
        if segments.is_empty() {
            boot.sequences = segment.last();
        }
        scan(&**disk, &segment, &mut boot)?;
        segments.push_back(segment);
    }
    let before = segments.front().map_or_else(Sequences::default, |first| first.before);
    let spool = Spool::resume(Arc::clone(disk), folder, source, config.clone(), segments, boot.sequences)?;
    let count = boot.unfinished.len();
    for request in boot.unfinished.values() {
        settle(&spool, request, clock, ids)?;
    }
    if count > 0 {
        tracing::warn!(
            source = spool.source.0,
            count,
            "{count} requests of an earlier boot never ended and are settled by what they had relayed"
        );
    }
    replace_damaged(&spool, &boot, &before, clock, ids)?;
    // Settlements must be durable, because the starts of the settled requests may be deleted from now on.
    spool.sync()?;
    Ok(spool)
}

/// Replaces each event that was damaged or lost on a power failure with a placeholder, so that readers do not wait for its sequence.
fn replace_damaged(spool: &Spool, boot: &Boot, before: &Sequences, clock: &dyn Clock, ids: &dyn Ids) -> Result<(), SpoolError> {
    let kept_in = boot.damaged.first().cloned().unwrap_or_default();
    for stream in Stream::ALL {
        let index = stream.index();
        let seen: BTreeSet<u64> = boot.seen[index].iter().copied().collect();
        let missing = (before[index] + 1..=boot.sequences[index]).filter(|sequence| !seen.contains(sequence));
        for sequence in missing {
            let kept_in = kept_in.clone();
            match stream {
                Stream::Requests => spool.fill(sequence, &nobodys(&RequestDamaged { kept_in }, clock, ids))?,
                Stream::Usage => spool.fill(sequence, &nobodys(&UsageDamaged { kept_in }, clock, ids))?,
                Stream::Control => spool.fill(sequence, &nobodys(&KeyDamaged { kept_in }, clock, ids))?,
                Stream::Ledger => {}
            }
        }
    }
    Ok(())
}

/// Returns a draft of an event whose account is unknown.
fn nobodys<'a, P>(payload: &'a P, clock: &dyn Clock, ids: &dyn Ids) -> Draft<'a, P> {
    Draft { id: ids.uuid(clock), time_us: clock.now_us(), account: "unknown", subject: "unknown", traceparent: None, payload }
}

/// Reads a whole segment: notes its sequences, its open requests and the end of its valid part.
///
/// Invalid bytes with records after them are damage: they are set aside, and reading continues.
fn scan(disk: &dyn Disk, segment: &Segment, boot: &mut Boot) -> io::Result<()> {
    let bytes = segment.bytes()?;
    let mut offset = usize::try_from(HEADER).unwrap_or(usize::MAX);
    // Whether the event written directly before the next one is missing.
    let mut is_torn = segment.before != boot.sequences;
    // Sequences assigned before this file stay assigned, even if a power failure lost their events. Otherwise a later start that finds this
    // file first would count from here, and readers would wait for events that never come.
    for (last, before) in boot.sequences.iter_mut().zip(segment.before) {
        *last = before.max(*last);
    }
    while let Some(behind) = bytes.get(offset..) {
        if let Found::Record(record) = read(behind) {
            let index = record.stream.index();
            boot.sequences[index] = record.sequence.max(boot.sequences[index]);
            boot.seen[index].push(record.sequence);
            note(record.event, &mut boot.unfinished, is_torn);
            offset += record.size;
            is_torn = false;
            continue;
        }
        // No records follow a torn write or the last record.
        let Some(next) = next_record(&bytes, offset + 1) else { break };
        boot.damaged.push(set_aside(disk, segment, offset, &bytes[offset..next])?);
        segment.add_hole(length(offset), length(next));
        offset = next;
        is_torn = true;
    }
    segment.fill(length(offset), &boot.sequences);
    Ok(())
}

/// Returns whether a file is the first of its spool.
fn is_first(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name == "00000001")
}

/// Returns the last sequences before a file, derived from its first record of each stream; `None` if it has no record.
fn before_first(bytes: &[u8]) -> Option<Sequences> {
    let mut before = [None; Stream::ALL.len()];
    let mut offset = usize::try_from(HEADER).unwrap_or(usize::MAX);
    while let Some(at) = next_record(bytes, offset)
        && let Found::Record(record) = read(&bytes[at..])
    {
        before[record.stream.index()].get_or_insert(record.sequence - 1);
        offset = at + record.size;
    }
    let has_records = before.iter().any(Option::is_some);
    has_records.then(|| before.map(Option::unwrap_or_default))
}

/// Copies damaged bytes to the folder `damaged` beside the spools; returns the name of the copy.
fn set_aside(disk: &dyn Disk, segment: &Segment, offset: usize, bytes: &[u8]) -> io::Result<String> {
    let part = |path: Option<&Path>| path.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let boot = segment.path.parent();
    let name = format!("{}.{}.{offset}", part(boot), part(Some(&segment.path)));
    let folder = boot.and_then(Path::parent).and_then(Path::parent).unwrap_or(Path::new(".")).join("damaged");
    disk.keep(&folder.join(&name), bytes)?;
    tracing::error!(
        path = %segment.path.display(),
        offset,
        bytes = bytes.len(),
        "the spool is damaged at byte {offset} of {}: {} bytes are set aside in {}; check the disk",
        segment.path.display(),
        bytes.len(),
        folder.join(&name).display()
    );
    Ok(name)
}

/// Returns the offset of the next record.
fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(HEAD)).find(|at| bytes[*at..*at + 4] != [0; 4] && matches!(read(&bytes[*at..]), Found::Record(_)))
}

/// Updates the unfinished requests with an event. `is_torn` says that the event written directly before it is missing.
fn note(event: &[u8], unfinished: &mut BTreeMap<String, Unfinished>, is_torn: bool) {
    let Ok(envelope) = RawEnvelope::parse(event) else { return };
    match envelope.kind {
        RequestStarted::KIND => {
            if let Ok(started) = envelope.payload::<RequestStarted>() {
                // A long request has several recorded starts; later ones change nothing.
                let fresh = || Unfinished { request: OpenRequest::new(started.clone()), usage: None, is_ended: false };
                unfinished.entry(started.request.to_string()).or_insert_with(fresh);
            }
        }
        RequestProgress::KIND => {
            if let Ok(progress) = envelope.payload::<RequestProgress>()
                && let Some(unfinished) = unfinished.get_mut(progress.request.as_str())
            {
                unfinished.request.note_progress(progress);
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
            // A request that was sent to a provider has its charge directly before its end; otherwise the charge was lost.
            let is_charged = unfinished.get(envelope.subject).is_none_or(|request| request.usage.is_some());
            if is_charged || !is_torn && envelope.payload::<RequestFinished>().is_ok_and(|end| end.attempts.is_empty()) {
                unfinished.remove(envelope.subject);
            } else if let Some(request) = unfinished.get_mut(envelope.subject) {
                request.is_ended = true;
            }
        }
        _ => {}
    }
}

/// Ends a request that the process did not end: only its relayed output is charged.
fn settle(spool: &Spool, unfinished: &Unfinished, clock: &dyn Clock, ids: &dyn Ids) -> Result<(), SpoolError> {
    let now_us = clock.now_us();
    let started = &unfinished.request.started;
    let latency_us = u64::try_from(now_us - started.admitted_at_us).unwrap_or_default();
    let usage = unfinished.usage.clone().unwrap_or_else(|| relayed(unfinished, latency_us));
    let finished = usage.end();
    let (account, subject) = (started.account.as_str(), started.request.as_str());
    spool.append(|batch| {
        if unfinished.usage.is_none() {
            batch.push(&Draft { id: ids.uuid(clock), time_us: now_us, account, subject, traceparent: None, payload: &usage });
        }
        if !unfinished.is_ended {
            batch.push(&Draft { id: ids.uuid(clock), time_us: now_us, account, subject, traceparent: None, payload: &finished });
        }
    })?;
    failpoint(Failpoint::RecoverySettled);
    Ok(())
}

/// Returns the charge for the output that a stream had relayed by its last progress.
fn relayed(unfinished: &Unfinished, latency_us: u64) -> UsageRecorded {
    let usage = unfinished.request.charge(latency_us);
    // The request was ended, and only its charge was damaged.
    let is_unknown = unfinished.is_ended && !unfinished.request.has_progress();
    UsageRecorded { cost_status: if is_unknown { CostStatus::Unknown } else { usage.cost_status }, ..usage }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use events::ids::SystemIds;
    use events::request::{Attempt, Format, Outcome};
    use events::{Nanos, SystemClock};

    use super::*;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(crate::spool::FileSystem)
    }

    fn started(request: &str) -> RequestStarted {
        RequestStarted {
            request: request.into(),
            account: "a".into(),
            key: "k".into(),
            lease: "l".into(),
            hold_nanos: Nanos(9),
            model: "m".into(),
            user: None,
            app: None,
            experiment: None,
            format: Format::Chat,
            streamed: false,
            admitted_at_us: 0,
        }
    }

    fn draft<'a, P>(request: &'a str, payload: &'a P) -> Draft<'a, P> {
        Draft { id: SystemIds.uuid(&SystemClock), time_us: 0, account: "a", subject: request, traceparent: None, payload }
    }

    /// Records five requests, each with its start, charge and end.
    fn recorded(folder: &Path) -> Arc<Spool> {
        let spool = Spool::create(disk(), folder.join("boot"), Source::gateway("n", "boot"), config()).unwrap();
        for request in ["r1", "r2", "r3", "r4", "r5"] {
            let mut place = spool.reserve().unwrap();
            place.start(&draft(request, &started(request))).unwrap();
            let open = Unfinished { request: OpenRequest::new(started(request)), usage: None, is_ended: false };
            let attempt =
                Attempt { provider: "p".into(), model: "m".into(), status: Some(200), error: None, duration_us: 1, why: None, round: None };
            let usage = UsageRecorded { cost_nanos: Nanos(7), ..relayed(&open, 1) };
            let end = RequestFinished {
                request: request.into(),
                key: "k".into(),
                model: "m".into(),
                outcome: Outcome::Finished,
                status: Some(200),
                finish_reason: None,
                admitted_at_us: 0,
                latency_us: 1,
                ttft_us: None,
                attempts: vec![attempt],
                skipped: Vec::new(),
                experiment: None,
            };
            let position = place.end(|batch| {
                batch.push(&draft(request, &usage));
                batch.push(&draft(request, &end));
            });
            spool.flush(position).unwrap();
        }
        spool
    }

    fn config() -> SpoolConfig {
        SpoolConfig { segment_bytes: 256 * 1024, bytes_max: 1024 * 1024, ..SpoolConfig::default() }
    }

    /// Returns every event of a spool: stream, sequence, type, subject.
    fn read_all(spool: &Spool) -> Vec<(Stream, u64, String, String)> {
        let mut all = Vec::new();
        for segment in spool.segments() {
            let bytes = std::fs::read(&segment.path).unwrap();
            let mut at = HEADER;
            while at < segment.filled() {
                if let Some(behind) = segment.behind_hole(at) {
                    at = behind;
                    continue;
                }
                let Found::Record(record) = read(&bytes[usize::try_from(at).unwrap()..]) else { panic!("no record at {at}") };
                let envelope = RawEnvelope::parse(record.event).unwrap();
                assert_eq!(envelope.sequence_number().unwrap(), record.sequence);
                all.push((record.stream, record.sequence, envelope.kind.to_owned(), envelope.subject.to_owned()));
                at += length(record.size);
            }
        }
        all
    }

    #[test]
    fn a_flipped_bit_costs_one_record_which_is_set_aside_replaced_and_charged_again() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let spool = recorded(&folder);
        let path = spool.segments()[0].path.clone();
        drop(spool);
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // This is a byte in the charge of r3.
        let charge = bytes
            .windows(24)
            .enumerate()
            .filter(|(_, window)| *window == b"arouter.usage.recorded.v1".get(..24).unwrap())
            .nth(2)
            .unwrap()
            .0;
        assert!(text.contains("r3"));
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[charge] ^ 4], u64::try_from(charge).unwrap()).unwrap();
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        let all = read_all(&spools[0]);
        let usage: Vec<(u64, &str, &str)> = all
            .iter()
            .filter(|(stream, ..)| *stream == Stream::Usage)
            .map(|(_, sequence, kind, about)| (*sequence, kind.as_str(), about.as_str()))
            .collect();
        let recorded = UsageRecorded::KIND;
        assert_eq!(
            usage,
            [
                (1, recorded, "r1"),
                (2, recorded, "r2"),
                (4, recorded, "r4"),
                (5, recorded, "r5"),
                (6, recorded, "r3"),
                (3, UsageDamaged::KIND, "unknown")
            ]
        );
        let ends = all.iter().filter(|(_, _, kind, _)| kind == RequestFinished::KIND).count();
        assert_eq!(ends, 5, "the end of r3 was not damaged");
        assert_eq!(std::fs::read_dir(data.path().join("damaged")).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_what_it_ended_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let spool = recorded(&folder);
        let (path, filled) = (spool.segments()[0].path.clone(), spool.segments()[0].filled());
        drop(spool);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 40], filled - 40).unwrap();
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        let ends: Vec<u64> = read_all(&spools[0])
            .into_iter()
            .filter(|(_, _, kind, _)| kind == RequestFinished::KIND)
            .map(|(_, sequence, ..)| sequence)
            .collect();
        assert_eq!(ends, [2, 4, 6, 8, 10], "the torn end is written again in its place");
        assert!(!data.path().join("damaged").exists());
    }

    #[test]
    fn a_file_begins_where_the_one_before_ended_however_early_it_was_allocated() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let config = config();
        let spool = Spool::create(disk(), folder.join("boot"), Source::gateway("n", "boot"), config.clone()).unwrap();
        // The reservations exceed one file, so further files are allocated ahead.
        let places: Vec<_> = (0..30).map(|_| spool.reserve().unwrap()).collect();
        assert!(std::fs::read_dir(folder.join("boot")).unwrap().count() > 2, "files are allocated for what is reserved");
        let mut last = 0;
        while spool.segments().len() < 2 {
            last = spool.append(|batch| batch.push(&draft("r", &started("r")))).unwrap();
        }
        assert!(last > 0);
        let known = spool.last();
        drop((places, spool));
        // The first file is deleted, as if all readers had it.
        std::fs::remove_file(folder.join("boot/00000001.seg")).unwrap();
        let spools = recover(&disk(), &folder, "n", &config, &SystemClock, &SystemIds).unwrap();
        let requests = Stream::Requests.index();
        assert!(spools[0].segments()[0].before[requests] > 1, "the second file knows what was before it");
        assert!(spools[0].last()[requests] >= known[requests]);
    }

    #[test]
    fn numbers_that_the_power_took_stay_given_out_whichever_files_are_left() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let spool = Spool::create(disk(), folder.join("boot"), Source::gateway("n", "boot"), config()).unwrap();
        while spool.segments().len() < 2 {
            spool.append(|batch| batch.push(&draft("r", &started("r")))).unwrap();
        }
        let given = spool.last()[Stream::Requests.index()];
        let (first, second) = (spool.segments()[0].path.clone(), spool.segments()[1].path.clone());
        drop(spool);
        // Only the header of the second file and the front half of the first were on disk.
        let lose = |path: &Path, from: u64| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let bytes = file.metadata().unwrap().len() - HEADER - from;
            file.write_all_at(&vec![0; usize::try_from(bytes).unwrap()], from).unwrap();
        };
        lose(&first, config().segment_bytes / 2);
        lose(&second, HEADER);
        let numbers = |spool: &Spool| -> BTreeSet<u64> {
            read_all(spool).into_iter().filter(|(stream, ..)| *stream == Stream::Requests).map(|(_, number, ..)| number).collect()
        };
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        let last = spools[0].last()[Stream::Requests.index()];
        assert!(last >= given - 1, "{last} of {given}");
        assert_eq!(numbers(&spools[0]), (1..=last).collect());
        drop(spools);
        std::fs::remove_file(first).unwrap();
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        assert_eq!(spools[0].last()[Stream::Requests.index()], last, "no number is waited for that never was");
    }

    #[test]
    fn starts_that_write_nothing_leave_no_more_files() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let spool = recorded(&folder);
        let all = read_all(&spool);
        drop(spool);
        for start in 1..=5 {
            let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
            assert_eq!(std::fs::read_dir(folder.join("boot")).unwrap().count(), 2, "start {start}");
            assert_eq!(read_all(&spools[0]), all, "start {start}");
        }
        // Records after a torn write must not end up behind new records.
        let file = std::fs::OpenOptions::new().write(true).open(folder.join("boot/00000002.seg")).unwrap();
        file.write_all_at(&[7], HEADER + 40).unwrap();
        recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        assert_eq!(std::fs::read_dir(folder.join("boot")).unwrap().count(), 3);
        // A file of another size is not continued either.
        let larger = SpoolConfig { segment_bytes: 512 * 1024, ..config() };
        recover(&disk(), &folder, "n", &larger, &SystemClock, &SystemIds).unwrap();
        assert_eq!(std::fs::read_dir(folder.join("boot")).unwrap().count(), 4);
    }

    #[test]
    fn a_file_whose_ends_are_damaged_loses_no_record() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("spool");
        let spool = recorded(&folder);
        let (path, all) = (spool.segments()[0].path.clone(), read_all(&spool));
        drop(spool);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[7], 9).unwrap();
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        assert_eq!(read_all(&spools[0]), all, "the copy at the end says what was before");
        drop(spools);
        let end = file.metadata().unwrap().len();
        file.write_all_at(&[7; 8], end - HEADER).unwrap();
        let spools = recover(&disk(), &folder, "n", &config(), &SystemClock, &SystemIds).unwrap();
        assert_eq!(read_all(&spools[0]), all, "the records themselves do");
    }
}
