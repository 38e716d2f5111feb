//! The open connections: their limits per address and in total, and the choice of the idle ones to close for a new one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};

use super::connection::Activity;
use crate::config::LimitsConfig;

/// The file descriptors that are reserved for other uses than connections: spool, databases, NATS, logs.
const RESERVED_FILES: u64 = 256;
/// The maximum number of idle connections that are closed together to make room.
const MADE_AT_ONCE: usize = 32;

/// The set of open connections.
pub struct Open {
    most: usize,
    most_per_address: usize,
    proxies: Vec<IpNet>,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    next: u64,
    connections: HashMap<u64, (IpAddr, Arc<Activity>)>,
    addresses: HashMap<IpAddr, usize>,
}

/// An open connection's place in the set, until it is dropped.
pub struct Entry {
    open: Arc<Open>,
    number: u64,
    pub activity: Arc<Activity>,
}

/// The error for a configured proxy that is neither an address nor a network.
#[derive(Debug, thiserror::Error)]
#[error("limits.trusted_proxies: {0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct BadNetwork(String);

impl Open {
    /// Creates an empty set. The limit is the configured one, or what the system's file descriptors allow with two per connection: one for
    /// the client, one for the provider.
    ///
    /// # Errors
    /// Fails if a trusted proxy is not a valid network.
    pub fn try_new(limits: &LimitsConfig) -> Result<Arc<Self>, BadNetwork> {
        let network =
            |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| BadNetwork(text.clone()));
        let proxies = limits.trusted_proxies.iter().map(network).collect::<Result<_, _>>()?;
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let possible = usize::try_from(files.saturating_sub(RESERVED_FILES) / 2).unwrap_or(usize::MAX).max(16);
        if possible < limits.connections_max {
            tracing::warn!(
                files,
                "the system allows {files} open files, so there may be {possible} connections instead of limits.connections_max = {}",
                limits.connections_max
            );
        }
        let most = limits.connections_max.min(possible);
        Ok(Arc::new(Self { most, most_per_address: limits.connections_per_address_max.min(most), proxies, all: Mutex::default() }))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().connections.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a connection. If a limit is reached, closes the connections that have been idle for longest; returns `None` if all are in use.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Entry> {
        let address = address.to_canonical();
        let mut all = self.all();
        let is_shared = self.proxies.iter().any(|network| network.contains(&address));
        if !is_shared && all.addresses.get(&address).is_some_and(|count| *count >= self.most_per_address) && !all.make_room(Some(address)) {
            return None;
        }
        if all.connections.len() >= self.most && !all.make_room(None) {
            return None;
        }
        all.next += 1;
        let (number, activity) = (all.next, Arc::new(Activity::default()));
        all.connections.insert(number, (address, Arc::clone(&activity)));
        *all.addresses.entry(address).or_default() += 1;
        Some(Entry { open: Arc::clone(self), number, activity })
    }
}

impl All {
    /// Closes some of the connections that have been idle for longest, of one address or of all. Returns false if none is idle.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let mut idle: Vec<(Instant, u64)> = self
            .connections
            .iter()
            .filter(|(_, (address, activity))| of.is_none_or(|of| of == *address) && !activity.close.is_cancelled())
            .filter_map(|(number, (_, activity))| Some((activity.idle_since()?, *number)))
            .collect();
        if idle.is_empty() {
            // Connections that were already told to close may still be open.
            return self
                .connections
                .values()
                .any(|(address, activity)| of.is_none_or(|of| of == *address) && activity.close.is_cancelled());
        }
        let some = MADE_AT_ONCE.min(idle.len().div_ceil(4));
        idle.select_nth_unstable(some - 1);
        for (_, number) in &idle[..some] {
            if let Some((_, activity)) = self.connections.get(number) {
                activity.close.cancel();
            }
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut all = self.open.all();
        if let Some((address, _)) = all.connections.remove(&self.number)
            && let Some(count) = all.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                all.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn open(change: impl FnOnce(&mut LimitsConfig)) -> Arc<Open> {
        let mut limits = LimitsConfig::default();
        change(&mut limits);
        Open::try_new(&limits).unwrap()
    }

    fn from(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn the_longest_idle_goes_when_another_comes() {
        let open = open(|limits| limits.connections_max = 16);
        let held: Vec<Entry> = (0..16).map(|_| open.enter(from(1)).unwrap()).collect();
        let newest = open.enter(from(2)).unwrap();
        let closed = held.iter().filter(|entry| entry.activity.close.is_cancelled()).count();
        assert!(closed >= 1 && !newest.activity.close.is_cancelled());
        drop(held);
        assert_eq!(open.len(), 1);
    }

    #[test]
    fn one_address_has_its_share_unless_it_is_a_proxy() {
        let open = open(|limits| {
            (limits.connections_max, limits.connections_per_address_max) = (16, 4);
            limits.trusted_proxies = vec!["10.0.0.2".to_owned(), "10.9.0.0/16".to_owned()];
        });
        let others: Vec<Entry> = (0..4).map(|_| open.enter(from(3)).unwrap()).collect();
        let own: Vec<Entry> = (0..6).map(|_| open.enter(from(1)).unwrap()).collect();
        assert!(own.iter().any(|entry| entry.activity.close.is_cancelled()), "its own ones go");
        assert!(others.iter().all(|entry| !entry.activity.close.is_cancelled()), "not those of others");
        let proxied: Vec<Entry> = (0..6).map(|_| open.enter(from(2)).unwrap()).collect();
        assert!(proxied.iter().all(|entry| !entry.activity.close.is_cancelled()));
        let limits = LimitsConfig { trusted_proxies: vec!["nowhere".to_owned()], ..LimitsConfig::default() };
        assert!(Open::try_new(&limits).is_err());
    }
}
