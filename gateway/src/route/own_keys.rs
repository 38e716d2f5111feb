//! The provider keys of accounts as requests use them: opened, each with its breaker, its rate and its budgets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventlog::Throttle;
use events::provider_key::ProviderKey;
use events::sealed::{MasterKeys, SealError};
use events::{AccountId, Nanos};
use routing::health::{EndpointHealth, Permit};
use routing::pool::Pool;
use routing::seeded::Seeded;

use super::key_use::KeyUse;
use super::names;
use super::provider::{self, Credential, Provider};
use super::table::Endpoint;
use crate::auth::Directory;

/// A provider key of an account that can be used.
#[derive(Debug)]
pub struct OwnKey {
    pub state: Arc<ProviderKey>,
    pub credential: Credential,
    /// The provider at the key's own address; `None` for the operator's address.
    pub provider: Option<Provider>,
    /// The breaker.
    pub health: Arc<EndpointHealth>,
    /// The rests after the provider's refusals of the key: a pool of one credential.
    pub rests: Pool,
    /// The requests and the spending, which outlive changes of the key.
    pub used: Arc<KeyUse>,
    secret: Secret,
}

/// A credential that no message shows.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("…")
    }
}

/// The own keys for one endpoint.
#[derive(Debug, Clone, Default)]
pub struct OwnKeys {
    pub keys: Vec<Arc<OwnKey>>,
    /// Whether the operator's credentials are not used after them.
    pub is_exclusive: bool,
}

/// All provider keys, opened at their first use.
pub struct KeyRing {
    directory: Arc<Directory>,
    master_keys: Arc<MasterKeys>,
    /// Whether own addresses may be private.
    has_private_addresses: bool,
    opened: Mutex<HashMap<String, Arc<OwnKey>>>,
}

/// The provider keys of one account.
pub struct AccountKeys<'a> {
    ring: &'a KeyRing,
    keys: Option<Arc<[Arc<ProviderKey>]>>,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("its credential or base_url cannot be used")]
    Unusable,
}

impl OwnKey {
    /// Returns the text of the credential, to remove it from messages.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret.0
    }

    /// Returns whether the provider's last answers let the key be used now.
    fn is_rested(&self, now_us: i64) -> bool {
        self.rests.choose(now_us, 0, &[]).is_some()
    }
}

impl OwnKeys {
    /// Returns whether some key can be used now.
    #[must_use]
    pub fn has_usable(&self, now_us: i64) -> bool {
        self.keys.iter().any(|key| key.is_rested(now_us) && key.used.has_room(&key.state, now_us))
    }

    /// Draws a key by weight among those that its breaker, rate and budgets let through, except those of `tried`. As a last resort, a key
    /// whose breaker is open is used too; a rate or budget never yields.
    #[must_use]
    pub fn choose(&self, now_us: i64, seed: u64, tried: &[usize], is_last_resort: bool) -> Option<(usize, Option<Permit>)> {
        let mut excluded = tried.to_vec();
        loop {
            let weights = self.keys.iter().enumerate().map(|(place, key)| {
                let is_rested = is_last_resort || key.is_rested(now_us);
                let is_usable = !excluded.contains(&place) && is_rested && key.used.has_room(&key.state, now_us);
                if is_usable { u128::from(key.state.weight) } else { 0 }
            });
            let place = Seeded::new(seed).weighted(weights.collect::<Vec<_>>().into_iter())?;
            let key = self.keys.get(place)?;
            let permit = key.health.try_acquire(now_us);
            if (permit.is_some() || is_last_resort) && key.used.take(&key.state, now_us) {
                return Some((place, permit));
            }
            excluded.push(place);
        }
    }
}

impl KeyRing {
    #[must_use]
    pub fn new(directory: Arc<Directory>, master_keys: Arc<MasterKeys>, has_private_addresses: bool) -> Self {
        Self { directory, master_keys, has_private_addresses, opened: Mutex::default() }
    }

    /// Returns the keys of an account.
    #[must_use]
    pub fn of(&self, account: &AccountId) -> AccountKeys<'_> {
        AccountKeys { ring: self, keys: self.directory.provider_keys_of(account) }
    }

    /// Returns a key ready for use at its provider.
    ///
    /// # Errors
    /// Fails if the credential cannot be opened, or cannot be sent.
    pub fn open(&self, state: &Arc<ProviderKey>, at: &Provider) -> Result<Arc<OwnKey>, OpenError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let before = opened.get(&state.id);
        if let Some(key) = before.filter(|key| key.state.revision == state.revision) {
            return Ok(Arc::clone(key));
        }
        let used = before.map_or_else(Arc::default, |key| Arc::clone(&key.used));
        let secret = self.master_keys.open(&state.place(), &state.sealed_key)?;
        let credential = provider::credential(at.format, &secret).map_err(|_| OpenError::Unusable)?;
        let own = |base: &String| at.elsewhere(base, !self.has_private_addresses).ok_or(OpenError::Unusable);
        let key = Arc::new(OwnKey {
            state: Arc::clone(state),
            credential,
            provider: state.base_url.as_ref().map(own).transpose()?,
            health: Arc::default(),
            rests: Pool::new(&[1]),
            used,
            secret: Secret(secret),
        });
        opened.insert(state.id.clone(), Arc::clone(&key));
        Ok(key)
    }
}

impl AccountKeys<'_> {
    /// Returns the keys with a budget whose spending is not known well enough.
    #[must_use]
    pub fn unknown_spending(&self, now_us: i64) -> Vec<events::KeyHash> {
        let opened = self.ring.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = self.keys.iter().flat_map(|keys| keys.iter()).filter(|key| !key.disabled && has_budget(key));
        let unknown = limited.filter(|key| opened.get(&key.id).is_some_and(|key| key.used.is_stale(now_us)));
        unknown.map(|key| key.id.as_str().into()).collect()
    }

    /// Notes the spending of a key as the ledger knows it: of the day and of the month.
    pub fn note_spending(&self, id: &str, now_us: i64, spent: [Nanos; 2]) {
        let opened = self.ring.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = opened.get(id) {
            key.used.note(now_us, spent);
        }
    }

    /// Returns the keys for an endpoint.
    #[must_use]
    pub fn at(&self, endpoint: &Endpoint) -> OwnKeys {
        let Some(all) = &self.keys else { return OwnKeys::default() };
        let fitting: Vec<&Arc<ProviderKey>> = all.iter().filter(|key| fits(key, endpoint)).collect();
        let is_exclusive = fitting.iter().any(|key| key.always_use);
        let opened = fitting.into_iter().filter_map(|key| match self.ring.open(key, &endpoint.provider) {
            Ok(key) => Some(key),
            Err(error) => {
                static TROUBLES: Throttle = Throttle::new();
                if let (_, Some(unsaid)) = TROUBLES.failed() {
                    let (account, id) = (key.account.as_str(), &key.id);
                    tracing::error!(%error, account, id, unsaid, "a provider key of an account cannot be used: {error}");
                }
                None
            }
        });
        OwnKeys { keys: opened.collect(), is_exclusive }
    }
}

const fn has_budget(key: &ProviderKey) -> bool {
    key.daily_budget_nanos.is_some() || key.monthly_budget_nanos.is_some()
}

fn fits(key: &ProviderKey, endpoint: &Endpoint) -> bool {
    let provider = &endpoint.provider;
    let is_region = key.region.is_none() || key.region == provider.policy.region;
    !key.disabled
        && key.provider == provider.slug
        && is_region
        && (key.models.is_empty() || {
            let name = names::canonical(&endpoint.model.id);
            key.models.iter().any(|pattern| names::allows(pattern, &name))
        })
}
