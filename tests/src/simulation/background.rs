//! Background work that no request waits for: shipping spools and posting. Also the faults that happen meanwhile.

use events::Nanos;
use rand::RngExt;

use super::log::place;
use super::{Action, BUSY, EPOCH_US, Reader, SECOND, Simulation};

impl Simulation {
    /// Ships spools to the log, deletes the parts that the ledger has, and closes boots that have ended.
    pub(super) fn ship(&mut self, node: usize) {
        let after = self.rng.random_range(SECOND / 10..SECOND);
        self.plan(after * self.slowness(), Action::Ship { node });
        let is_cut = self.gateways[node].cut_until > self.now || self.gateways[node].paused_until > self.now;
        // A dead node ships its spool only after its restart.
        if is_cut || !self.gateways[node].is_up {
            return;
        }
        let most = self.rng.random_range(1..20);
        let stuck = self.rng.random_bool(0.1);
        let now_us = EPOCH_US + i64::try_from(self.now).unwrap_or(i64::MAX);
        for spool in &mut self.gateways[node].spools {
            let read = self.database.seen.get(&spool.source).map_or(0, |seen| seen.watermark);
            assert!(read >= spool.watermark || self.log.connection > 0, "a watermark went back");
            spool.watermark = read.max(spool.watermark);
            let from = usize::try_from(spool.watermark).unwrap_or(usize::MAX);
            if spool.connection != self.log.connection || stuck {
                spool.connection = self.log.connection;
                spool.sent = from;
            }
            spool.sent = spool.sent.max(from);
            let end = spool.usage.len().min(spool.sent + most);
            for record in &spool.usage[spool.sent..end] {
                self.log.append(record.clone());
            }
            spool.sent = end;
        }
        let database = &mut self.database;
        self.gateways[node].spools.retain(|spool| {
            let all = spool.usage.len() as u64;
            !(spool.is_over && spool.watermark >= all && database.close_source(&spool.source, all, now_us))
        });
    }

    pub(super) fn read(&mut self, reader: usize) {
        let after = self.rng.random_range(SECOND / 20..SECOND);
        self.plan(after * self.slowness(), Action::Read { reader });
        if self.is_shared {
            return self.read_shared(reader);
        }
        let most = self.rng.random_range(1..40);
        let state = &mut self.readers[reader];
        if state.stopped_until > self.now {
            return;
        }
        if !state.has_looked || state.connection != self.log.connection {
            state.has_looked = true;
            state.checkpoint.clone_from(&self.database.checkpoint);
            state.connection = self.log.connection;
            state.position = self.log.resume(self.database.checkpoint.as_ref());
        }
        let Some((batch, to)) = self.log.read(state.position, most) else { return };
        let fate = self.rng.random_range(0..100);
        if fate == 0 {
            // The process dies before the commit.
            self.readers[reader] = Reader { stopped_until: self.now + SECOND, ..Reader::default() };
            return;
        }
        let from = state.checkpoint.clone();
        let is_committed = self.database.post(&batch, from.as_ref(), to.clone());
        let state = &mut self.readers[reader];
        if !is_committed || fate == 1 {
            // The reader is fenced, or dies after the commit. Both start again from the committed checkpoint.
            *state = Reader { stopped_until: self.now + SECOND / 2, ..Reader::default() };
            return;
        }
        state.position = place(&to);
        state.checkpoint = Some(to);
    }

    pub(super) fn kill(&mut self, node: usize) {
        for request in self.gateways[node].spool().open.keys() {
            // Nothing of the response was relayed, so the account pays nothing, and the operator pays the provider.
            if let Some(truth) = self.truth.get_mut(request) {
                truth.cost = Some(Nanos::ZERO);
                *self.worst.entry(truth.account.clone()).or_default() -= truth.hold.0;
            }
        }
        self.gateways[node].die();
        let after = self.rng.random_range(SECOND..100 * SECOND);
        self.plan(after, Action::Restart { node });
    }

    pub(super) fn fault(&mut self) {
        if self.now < BUSY {
            let after = self.rng.random_range(SECOND..30 * SECOND);
            self.plan(after, Action::Fault);
        }
        let node = self.rng.random_range(0..self.gateways.len());
        let (now, long) = (self.now, self.rng.random_range(SECOND..90 * SECOND));
        match self.rng.random_range(0..7) {
            0 if self.gateways[node].is_up => self.kill(node),
            1 => self.gateways[node].paused_until = now + long,
            2 => self.gateways[node].cut_until = now + long,
            3 => {
                let most = if self.rng.random_bool(0.5) { self.log.len().min(10) } else { self.log.len() };
                let lost = self.rng.random_range(0..=most);
                self.log.roll_back(lost);
                // Some readers notice the loss later.
                if self.rng.random_bool(0.5) {
                    self.stop_reader(6 * SECOND);
                }
            }
            4 => self.log.make_anew(),
            5 => self.stop_reader(long),
            _ => self.log.connection += 1,
        }
    }

    /// Stops a random ledger for a while.
    fn stop_reader(&mut self, most: u64) {
        let reader = self.rng.random_range(0..self.readers.len());
        let until = self.now + self.rng.random_range(SECOND..=most.max(SECOND));
        self.readers[reader].stopped_until = until;
        self.sharers[reader].stopped_until = until;
    }
}
