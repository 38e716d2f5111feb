//! Who applies which partition: pure, so that every reader comes to the same end by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a reader may be silent before its partitions are taken from it. One that was stopped within a transaction keeps the others from
/// hearing that for three seconds more: together with a look each second that stays within ten.
pub const SILENCE: Duration = Duration::from_secs(4);

/// When others were last heartbeats. Their clocks do not matter: only that their numbers grow, on this one's clock.
#[derive(Debug, Default)]
pub struct Heartbeats(BTreeMap<String, (i64, Instant)>);

impl Heartbeats {
    /// Notes how far everybody's number is, and gives back who lives.
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

/// What a reader should do about partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Take these from whoever does not live.
    pub claim: Vec<i64>,
    /// Leave these to whoever has fewer.
    pub release: Vec<i64>,
}

impl Assignment {
    /// Whether all is as it should be.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.claim.is_empty() && self.release.is_empty()
    }
}

/// An equal share for everybody who lives, this one included; partitions of the dead go to whoever has less than that.
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

    /// Everybody acts on the plan in turn until nobody has anything to do.
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
