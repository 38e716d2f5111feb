//! Brings books that are older than the log up to date before any decision is made on them. This serves databases restored from a copy, and
//! rebuilds from empty ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use eventlog::{Event, Fold, Log, LogError, Record, Tail, TailError};
use events::envelope::{EnvelopeError, RawEnvelope};
use events::ledger::{CreditPosted, LeaseChanged, UsagePosted};
use events::subject::Stream;
use events::{AccountId, Payload};
use sqlx::{Any, AnyConnection, Row};

use super::reapply::Misfit;
use crate::account;
use crate::control_reader::NoteControl;
use crate::decide::{self, Fact};
use crate::outbox::{self, Message};
use crate::posting::{Charge, post_usage::read};
use crate::process::Ledger;
use crate::readers;
use crate::signing_keys::SigningKeyError;

/// Facts read in one batch.
const BATCH: usize = 500;
/// The most attempts to read the log; each continues at the point of the last interruption.
const TRIES: u32 = 10;
/// The most money transactions in one database transaction, unless a single fact makes more.
const TRANSACTIONS_MAX: usize = 5_000;
/// Events read in one batch.
const READ: usize = 2_000;
/// The wait for more events of a batch.
const LINGER: Duration = Duration::from_millis(5);

/// An error that keeps the books from being brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// The tail of a stream failed.
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// An event in the log is not a fact of a ledger.
    #[error("stream LEDGER has an event that cannot be read: {0}")]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// A newer version wrote a fact of an unknown type.
    #[error("stream LEDGER has facts of the type {0}, which this version does not know: use the version that wrote them")]
    Unknown(String),
    /// The log and the books contradict each other.
    #[error("the ledger's books do not fit stream LEDGER: {0}; they belong to another log, or events are missing")]
    Misfit(#[from] Misfit),
    /// A part of the log is missing.
    #[error("stream LEDGER goes on with fact {found} where the books need {needed}: restore the books from a newer copy, or the stream")]
    Missing {
        /// The next fact that the books need.
        needed: u64,
        /// The next fact that the log has.
        found: u64,
    },
    /// Another process changed the books concurrently.
    #[error("another process has moved the ledger's books")]
    Moved,
    /// The books and the log have diverged: they have different facts at one sequence.
    #[error("the ledger's books and stream LEDGER tell different stories at fact {0}: they belong to different installations")]
    Fork(u64),
}

/// A fact as it is in the log.
struct Published {
    fact: Fact,
    sequence: u64,
    message: Message,
}

/// Brings the books up to the end of the log, or up to the fact `until`; returns the number of facts that were missing.
///
/// # Errors
/// Fails if the books and the log do not fit, or if NATS or the database fails.
pub async fn catch_up(ledger: &Ledger, log: &Log, until: Option<u64>) -> Result<u64, CatchUpError> {
    // If the stream was recreated, it holds none of the archive's earlier facts; then the last fact of the archive counts.
    let (last, end) = outbox::last_fact(ledger, log).await?;
    let Some(last) = last else {
        let written = outbox::written(ledger).await?;
        return match &ledger.new_key {
            // The next start must not accept the new key as the right one.
            Some(path) if end > 0 && written == 0 => {
                std::fs::remove_file(path).map_err(|cause| SigningKeyError::File { path: path.clone(), cause })?;
                Err(SigningKeyError::Missing(path.clone()).into())
            }
            Some(_) | None => Ok(0),
        };
    };
    let published = last.sequence;
    let written = outbox::adopt(ledger, &last.source).await?;
    if published <= written {
        return match outbox::event_at(ledger, published).await? {
            Some(id) if id != last.event_id && until.is_none() => Err(CatchUpError::Fork(published)),
            Some(_) | None => Ok(0),
        };
    }
    tracing::warn!(written, published, "the books are older than the log: what they lack is done again");
    control(ledger, log).await?;
    let mut tries = 0;
    loop {
        tries += 1;
        match read_on(ledger, log, end, until.unwrap_or(u64::MAX)).await {
            Ok(at) => {
                renew(ledger).await?;
                return Ok(at - written);
            }
            Err(error @ (CatchUpError::Tail(_) | CatchUpError::Moved)) if tries < TRIES => {
                tracing::warn!(%error, "reading goes on where it stopped: {error}");
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reapplies the facts of the stream up to `end` that the books lack; returns the sequence of the last fact.
async fn read_on(ledger: &Ledger, log: &Log, end: u64, until: u64) -> Result<u64, CatchUpError> {
    let written = outbox::written(ledger).await?;
    let mut at = written;
    let mut facts = log.tail(Stream::Ledger, None).await?;
    let mut usage = Usage::default();
    let mut is_read = false;
    while !is_read && at < until {
        let (mut published, mut ids) = (Vec::with_capacity(BATCH), BTreeMap::new());
        let batch = facts.next_batch(BATCH, LINGER).await?;
        is_read = facts.has_read(end);
        for record in batch {
            let Some(envelope) = outbox::envelope(&ledger.keys, &record) else {
                tracing::error!(at = record.sequence, "an event of stream LEDGER that no ledger of ours signed is skipped");
                continue;
            };
            let (sequence, id) = (envelope.sequence_number()?, envelope.id.to_owned());
            if ids.insert(sequence, id.clone()).is_some_and(|other| other != id) {
                return Err(CatchUpError::Fork(sequence));
            }
            // Skips duplicates, facts that the books have, and facts after `until`.
            if sequence <= at || sequence > until {
                continue;
            }
            if sequence > at + 1 {
                return Err(CatchUpError::Missing { needed: at + 1, found: sequence });
            }
            at = sequence;
            published.push(tell(&record)?);
        }
        // Checked before anything is applied: mixed with facts of another history, the books would hide the fork from the next start.
        if let Some(sequence) = outbox::differs(ledger, &ids).await? {
            return Err(CatchUpError::Fork(sequence));
        }
        while !published.is_empty() {
            let later = published.split_off(at_once(&published));
            usage.find(ledger, log, &published).await?;
            redo(ledger, &published, &usage).await?;
            usage.forget(&published);
            published = later;
        }
    }
    Ok(at)
}

/// Returns how many of these facts fit into one database transaction: at least one, and at most [`TRANSACTIONS_MAX`] money transactions.
fn at_once(published: &[Published]) -> usize {
    let mut transactions = 0;
    let within = published.iter().take_while(|published| {
        transactions += published.fact.usage().count().max(1);
        transactions <= TRANSACTIONS_MAX
    });
    within.count().max(1)
}

/// Applies all accounts and keys that the log has.
async fn control(ledger: &Ledger, log: &Log) -> Result<(), CatchUpError> {
    let end = log.last_sequence(Stream::Control).await?;
    let mut tail = log.tail(Stream::Control, None).await?;
    while !tail.has_read(end) {
        let records = tail.next_batch(READ, LINGER).await?;
        let events: Vec<Event<'_>> = records
            .iter()
            .filter_map(|record| Some(Event { record, envelope: RawEnvelope::parse(&record.payload).ok()?, is_repeat: false }))
            .collect();
        let mut transaction = ledger.store.begin_exclusive().await?;
        // Events that cannot be applied are quarantined by the reader that runs afterwards.
        NoteControl.apply(&mut transaction, &events).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Usage events, read as far as facts name them.
#[derive(Default)]
struct Usage {
    tail: Option<Tail>,
    /// The last sequence to read.
    end: u64,
    known: HashMap<String, Charge>,
}

impl Usage {
    /// Opens the tail after the books' checkpoint: facts that the books lack name no usage before it.
    async fn open(&mut self, ledger: &Ledger, log: &Log) -> Result<(), CatchUpError> {
        let checkpoint = eventlog::checkpoint::checkpoint(&ledger.store, readers::POSTINGS).await?;
        let tail = log.tail(Stream::Usage, checkpoint.as_ref()).await?;
        self.end = log.last_sequence(Stream::Usage).await?;
        self.tail = Some(tail);
        Ok(())
    }

    /// Reads on until every usage event that the facts name is known.
    async fn find(&mut self, ledger: &Ledger, log: &Log, published: &[Published]) -> Result<(), CatchUpError> {
        let mut missing: BTreeSet<&str> = named(published).filter(|id| !self.known.contains_key(*id)).collect();
        if !missing.is_empty() && self.tail.is_none() {
            self.open(ledger, log).await?;
        }
        while !missing.is_empty()
            && let Some(tail) = self.tail.as_mut().filter(|tail| !tail.has_read(self.end))
        {
            for record in tail.next_batch(READ, LINGER).await? {
                if let Some(charge) = charge(&record) {
                    missing.remove(charge.event_id.as_str());
                    self.known.entry(charge.event_id.clone()).or_insert(charge);
                }
            }
        }
        // A quarantined and released event may have left the stream.
        for id in missing {
            let row = sqlx::query::<Any>("SELECT payload FROM quarantine WHERE event_id = $1")
                .bind(id.to_owned())
                .fetch_optional(&ledger.store.reads)
                .await?;
            let payload: String = row.map_or(Ok(String::new()), |row| row.try_get("payload"))?;
            let record = Record { sequence: 0, id: id.to_owned(), payload: payload.into() };
            let charge = charge(&record).ok_or_else(|| Misfit::Usage(id.to_owned()))?;
            self.known.insert(id.to_owned(), charge);
        }
        Ok(())
    }

    fn forget(&mut self, published: &[Published]) {
        named(published).for_each(|id| drop(self.known.remove(id)));
    }
}

/// Returns the ids of the usage events that the facts name.
fn named(published: &[Published]) -> impl Iterator<Item = &str> {
    published.iter().flat_map(|published| published.fact.usage())
}

fn charge(record: &Record) -> Option<Charge> {
    let envelope = RawEnvelope::parse(&record.payload).ok()?;
    read(&Event { record, envelope, is_repeat: false }).ok()
}

fn tell(record: &Record) -> Result<Published, CatchUpError> {
    let envelope = RawEnvelope::parse(&record.payload)?;
    let sequence = envelope.sequence_number()?;
    let fact = match envelope.kind {
        CreditPosted::KIND => Fact::CreditPosted(envelope.payload()?),
        LeaseChanged::KIND => Fact::LeaseChanged(envelope.payload()?),
        UsagePosted::KIND => Fact::UsagePosted(envelope.payload()?),
        other => return Err(CatchUpError::Unknown(other.to_owned())),
    };
    let payload = String::from_utf8_lossy(&record.payload).into_owned();
    let message = Message { event_id: envelope.id.to_owned(), subject: outbox::subject_of(&fact), payload };
    Ok(Published { fact, sequence, message })
}

/// Reapplies facts and stores them in the outbox, in one transaction.
async fn redo(ledger: &Ledger, published: &[Published], usage: &Usage) -> Result<(), CatchUpError> {
    let (Some(first), Some(last)) = (published.first(), published.last()) else { return Ok(()) };
    let mut transaction = ledger.store.begin_exclusive().await?;
    if outbox::written_in(&mut transaction).await? + 1 != first.sequence {
        return Err(CatchUpError::Moved);
    }
    let mut state = ledger.state();
    load(&mut state, &mut transaction, published, usage).await?;
    for published in published {
        state.replay(&published.fact, |id| usage.known.get(id))?;
    }
    state.save_rows(&mut transaction).await?;
    let messages: Vec<(u64, Message)> = published.iter().map(|published| (published.sequence, published.message.clone())).collect();
    outbox::keep(&mut transaction, last.sequence, &messages).await?;
    transaction.commit().await?;
    Ok(())
}

async fn load(
    state: &mut decide::State,
    connection: &mut AnyConnection,
    published: &[Published],
    usage: &Usage,
) -> Result<(), sqlx::Error> {
    let (mut accounts, mut leases) = (BTreeSet::new(), BTreeSet::new());
    for published in published {
        accounts.extend(published.fact.accounts().into_iter().map(AccountId::as_str));
        leases.extend(published.fact.usage().filter_map(|id| Some(usage.known.get(id)?.usage.lease.as_str())));
        if let Fact::LeaseChanged(fact) = &published.fact {
            leases.insert(fact.lease.as_str());
        }
    }
    let (accounts, leases): (Vec<&str>, Vec<&str>) = (accounts.into_iter().collect(), leases.into_iter().collect());
    for id in &accounts {
        account::repo::upsert(connection, id, "", 0, 0).await?;
    }
    state.load_accounts(connection, &accounts).await?;
    state.load_grants(connection, &accounts).await?;
    state.load_leases(connection, &leases).await
}

/// Extends leases from now: live gateways could not renew them in the meantime.
async fn renew(ledger: &Ledger) -> Result<(), sqlx::Error> {
    let mut transaction = ledger.store.begin_exclusive().await?;
    sqlx::query::<Any>("UPDATE leases SET expires_at_us = $1 WHERE state IN ('open', 'closing') AND expires_at_us < $1")
        .bind(ledger.clock.now_us() + ledger.terms.ttl_us())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
