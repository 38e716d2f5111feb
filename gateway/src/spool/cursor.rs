//! The position in a spool from which the next events are sent: synced events that are not taken over, in their order.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use eventlog::Outgoing;
use events::rpc::Watermarks;
use events::subject::Stream;

use super::Spool;
use super::record::{Found, RECORD_MAX, read};
use super::segment::{HEADER, Segment, Sequences};

/// The maximum number of events sent at once.
const BATCH: usize = 512;
/// The maximum number of bytes read at once.
const CHUNK: usize = 512 * 1024;
const _: () = assert!(CHUNK > RECORD_MAX);

/// The end of the events that were sent.
#[derive(Default)]
pub struct SpoolCursor {
    sent: Option<End>,
}

/// The end of a run of events: the segment, and the offset in it.
pub struct End {
    segment: Arc<Segment>,
    offset: u64,
}

impl SpoolCursor {
    /// Returns to the oldest event, because the log may have lost events that it had acknowledged.
    pub fn restart(&mut self) {
        self.sent = None;
    }

    /// Moves behind events that the log has acknowledged.
    pub fn sent(&mut self, end: End) {
        self.sent = Some(end);
    }

    /// Returns the next events, and their end. The list is empty if all events of a portion are taken over. Returns `None` if no more
    /// events are synced.
    pub fn next(&self, spool: &Spool, taken: &Sequences) -> io::Result<Option<(Vec<Outgoing>, End)>> {
        let segments = spool.segments();
        let at =
            self.sent.as_ref().and_then(|end| Some((segments.iter().position(|segment| Arc::ptr_eq(segment, &end.segment))?, end.offset)));
        let (mut index, mut offset) = at.unwrap_or((0, HEADER));
        while let Some(segment) = segments.get(index) {
            let end = spool.synced_in(segment);
            if offset >= end {
                if end < segment.filled() {
                    return Ok(None);
                }
                index += 1;
                offset = HEADER;
                continue;
            }
            let mut buffer = Vec::new();
            segment.read(offset, end, &mut buffer, CHUNK)?;
            let (events, read) = parse(&buffer, taken);
            if read == 0 {
                // The damaged bytes were already reported by the recovery scan; reading continues behind them.
                if let Some(behind) = segment.behind_hole(offset) {
                    offset = behind;
                } else {
                    index += 1;
                    offset = HEADER;
                }
                continue;
            }
            let offset = offset + u64::try_from(read).unwrap_or(u64::MAX);
            return Ok(Some((events, End { segment: Arc::clone(segment), offset })));
        }
        Ok(None)
    }
}

/// Returns the events in a chunk that are not taken over, and the number of bytes that were parsed.
fn parse(chunk: &[u8], taken: &Sequences) -> (Vec<Outgoing>, usize) {
    let mut events = Vec::with_capacity(BATCH);
    let mut offset = 0;
    while events.len() < BATCH {
        let Found::Record(record) = read(&chunk[offset..]) else { break };
        if record.sequence > taken[record.stream.index()] {
            events.push(Outgoing {
                stream: record.stream,
                subject: record.subject.to_owned(),
                id: record.id.to_string(),
                payload: Bytes::copy_from_slice(record.event),
            });
        }
        offset += record.size;
    }
    (events, offset)
}

/// Returns the sequences up to which every reader that needs a stream has all its events.
#[must_use]
pub fn taken_over(ledger: &Watermarks, projector: &Watermarks) -> Sequences {
    let of = |marks: &Watermarks, stream| marks.get(&stream).copied().unwrap_or(0);
    Stream::ALL.map(|stream| {
        let projected = of(projector, stream);
        if needs_ledger(stream) { projected.min(of(ledger, stream)) } else { projected }
    })
}

/// Returns the sequences up to which the ledger and the projector each have all the events that they need. A stream that a reader does not
/// need counts as complete.
#[must_use]
pub fn marks(ledger: &Watermarks, projector: &Watermarks, last: &Sequences) -> [Sequences; 2] {
    let of = |marks: &Watermarks, stream: Stream| marks.get(&stream).copied().unwrap_or(0);
    let ledger = Stream::ALL.map(|stream| if needs_ledger(stream) { of(ledger, stream) } else { last[stream.index()] });
    [ledger, Stream::ALL.map(|stream| of(projector, stream))]
}

/// Returns whether the ledger, in addition to the projector, must have an event of a stream before it may be deleted.
const fn needs_ledger(stream: Stream) -> bool {
    match stream {
        Stream::Usage | Stream::Control => true,
        Stream::Requests | Stream::Ledger => false,
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{Ids, SystemIds};
    use events::request::RequestRefused;
    use events::{Draft, Source, SystemClock};

    use super::*;
    use crate::config::SpoolConfig;
    use crate::spool::FileSystem;

    #[test]
    fn nothing_is_shipped_before_it_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let spool =
            Spool::create(Arc::new(FileSystem), folder.path().join("boot"), Source::gateway("n", "boot"), SpoolConfig::default()).unwrap();
        let refused = RequestRefused {
            request: "r".into(),
            key: "k".into(),
            model: "m".to_owned(),
            status: 402,
            code: "insufficient_credits".to_owned(),
            guardrail: None,
            refused_at_us: 0,
            count: None,
        };
        let record = || {
            let id = SystemIds.uuid(&SystemClock);
            let draft = Draft { id, time_us: 0, account: "a", subject: "r", traceparent: None, payload: &refused };
            spool.append(|batch| batch.push(&draft)).unwrap();
        };
        let taken = Sequences::default();
        let mut cursor = SpoolCursor::default();
        let mut sent_now = || {
            let Some((events, end)) = cursor.next(&spool, &taken).unwrap() else { return 0 };
            cursor.sent(end);
            events.len()
        };
        record();
        assert_eq!(sent_now(), 0, "written and not synced");
        spool.sync().unwrap();
        record();
        assert_eq!(sent_now(), 1, "what is synced, and nothing behind it");
        assert_eq!(sent_now(), 0);
        spool.sync().unwrap();
        assert_eq!((sent_now(), spool.is_synced()), (1, true));
    }
}
