//! The assignment of partitions to readers. It is a pure function, so that every reader reaches the same result on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The time without a heartbeat after which a reader loses its partitions. A reader that was stopped within a transaction keeps the others
/// from seeing this for three seconds more. With one check each second, a takeover stays within ten seconds.
pub const SILENCE: Duration = Duration::from_secs(4);

/// The times of all readers' last heartbeats. The clocks of other machines do not matter: a reader lives while its counter grows, measured
/// on the local clock.
#[derive(Debug, Default)]
pub struct Heartbeats(BTreeMap<String, (i64, Instant)>);

impl Heartbeats {
    /// Records the heartbeat counters of all readers and returns the living readers.
    pub fn note(&mut self, seen: &[(String, i64)], now: Instant) -> BTreeSet<String> {
        self.0.retain(|member, _| seen.iter().any(|(other, _)| other == member));
        for (member, heartbeat) in seen {
            match self.0.get_mut(member) {
                Some((last, _)) if *last == *heartbeat => {}
                Some(known) => *known = (*heartbeat, now),
                None => drop(self.0.insert(member.clone(), (*heartbeat, now))),
            }
        }
        self.0.iter().filter(|(_, (_, since))| now.duration_since(*since) < SILENCE).map(|(member, _)| member.clone()).collect()
    }
}

/// The changes that a reader should make to its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Partitions to take, whose owners do not live.
    pub claim: Vec<i64>,
    /// Partitions to give up, for readers that have fewer.
    pub release: Vec<i64>,
}

impl Assignment {
    /// Returns whether no change is needed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.claim.is_empty() && self.release.is_empty()
    }
}

/// Computes an equal share for every living reader, this one included. Readers with less than their share take the partitions without a
/// living owner.
#[must_use]
pub fn assign(me: &str, owners: &BTreeMap<i64, String>, living: &BTreeSet<String>) -> Assignment {
    let others = living.iter().filter(|member| *member != me).count();
    let fair = owners.len().div_ceil(others + 1);
    let mine: Vec<i64> = owners.iter().filter(|(_, owner)| *owner == me).map(|(partition, _)| *partition).collect();
    let free = owners.iter().filter(|(_, owner)| *owner != me && !living.contains(*owner)).map(|(partition, _)| *partition);
    Assignment { claim: free.take(fair.saturating_sub(mine.len())).collect(), release: mine.get(fair..).unwrap_or_default().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets every reader apply its assignment in turn, in four rounds, and returns how many partitions each one owns.
    fn settle(owners: &mut BTreeMap<i64, String>, living: &[&str]) -> Vec<usize> {
        let all: BTreeSet<String> = living.iter().map(|&member| member.to_owned()).collect();
        for _ in 0..4 {
            for member in living {
                let plan = assign(member, owners, &all);
                owners.extend(plan.release.into_iter().map(|partition| (partition, String::new())));
                owners.extend(plan.claim.into_iter().map(|partition| (partition, (*member).to_owned())));
            }
        }
        living.iter().map(|member| owners.values().filter(|owner| owner == member).count()).collect()
    }

    #[test]
    fn partitions_are_shared_equally_by_whoever_lives() {
        let mut owners: BTreeMap<i64, String> = (0..64).map(|partition| (partition, String::new())).collect();
        assert_eq!(settle(&mut owners, &["a"]), [64]);
        assert_eq!(settle(&mut owners, &["a", "b"]), [32, 32]);
        assert_eq!(settle(&mut owners, &["a", "b", "c"]), [22, 22, 20]);
        assert_eq!(settle(&mut owners, &["b", "c"]), [32, 32]);
        assert_eq!(settle(&mut owners, &["c"]), [64]);
    }

    #[test]
    fn a_reader_lives_while_its_number_grows() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        let mut note = |seconds, seen: &[(&str, i64)]| {
            let seen: Vec<(String, i64)> = seen.iter().map(|(member, heartbeat)| ((*member).to_owned(), *heartbeat)).collect();
            heartbeats.note(&seen, start + Duration::from_secs(seconds)).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(note(0, &[("a", 1), ("b", 1)]), ["a", "b"], "a stranger may live");
        assert_eq!(note(3, &[("a", 2), ("b", 1)]), ["a", "b"]);
        assert_eq!(note(5, &[("a", 3), ("b", 1)]), ["a"]);
        assert_eq!(note(6, &[("a", 3), ("b", 2)]), ["a", "b"], "it was only slow");
    }
}
