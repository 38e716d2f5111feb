//! The first start creates an account, two keys and some credit. They are written to a file before they are created, so that a start
//! after a crash repeats them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use events::control::{Account, AccountCreated, Key, KeyCreated};
use events::ids::{KeyKind, label};
use events::rpc::{CountAccounts, CreditCommand, CreditReply, PostCredit};
use events::{AccountId, KeyHash, Nanos};
use gateway::admin::{Admin, RPC_TIMEOUT};
use serde::{Deserialize, Serialize};

use crate::config::BootstrapConfig;
use crate::data_dir::write_secret;

/// The file in the data folder that has the result of the first start.
pub const FILE: &str = "first-run.json";

/// The account and keys that the first start creates.
#[derive(Debug, Serialize, Deserialize)]
pub struct FirstRun {
    /// The base URL for OpenAI's SDKs.
    pub base_url: String,
    pub account: AccountId,
    /// The key for requests to models.
    pub live_key: String,
    /// The key that manages keys, reads transactions and exports.
    pub management_key: String,
    /// The address of the event log for subscribers, with their credentials. `None` if `up` does not run its own nats-server.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nats_url: Option<String>,
}

/// Creates the first account unless there is one. Returns the account and its keys only in the start that generates them.
pub async fn bootstrap(
    admin: &Admin,
    config: &BootstrapConfig,
    data: &Path,
    base_url: &str,
    nats_url: Option<String>,
) -> Result<Option<FirstRun>> {
    let path = data.join(FILE);
    let credit = Nanos::from_usd(&config.credit_usd.0).with_context(|| format!("bootstrap.credit_usd = {}", config.credit_usd.0))?;
    let (first, is_new) = match std::fs::read(&path) {
        Ok(bytes) => (serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged: delete it", path.display()))?, false),
        Err(_) if admin.ledger.call(&CountAccounts {}, RPC_TIMEOUT).await? > 0 => return Ok(None),
        Err(_) => {
            let first = FirstRun {
                base_url: base_url.to_owned(),
                nats_url,
                account: admin.ids.account(&*admin.clock),
                live_key: admin.ids.secret(KeyKind::Regular),
                management_key: admin.ids.secret(KeyKind::Management),
            };
            write_secret(&path, &serde_json::to_string_pretty(&first)?)?;
            (first, true)
        }
    };
    make(admin, &first, &config.account_name).await?;
    let command = PostCredit {
        id: format!("bootstrap-{}", first.account),
        account: first.account.clone(),
        command: CreditCommand::Grant { amount_nanos: credit, priority: None, expires_at_us: None },
        description: "first start".to_owned(),
    };
    if credit > Nanos::ZERO {
        match admin.post_credit(&command).await? {
            // A conflict means that the configured amount was changed after the first start. The first grant stays.
            CreditReply::Posted { .. } | CreditReply::Conflict => {}
            CreditReply::UnknownAccount | CreditReply::Insufficient | CreditReply::NotRefundable | CreditReply::TooLarge => {
                bail!("the ledger did not take the first credit: start again")
            }
        }
    }
    Ok(is_new.then_some(first))
}

/// Creates the account and the keys that are not in the directory yet. Each is written as revision 1, so that later changes take
/// precedence.
async fn make(admin: &Admin, first: &FirstRun, name: &str) -> Result<()> {
    let now_us = admin.clock.now_us();
    let id = first.account.as_str();
    if !admin.directory.has_account(&first.account) {
        let account = Account {
            id: first.account.clone(),
            name: name.to_owned(),
            created_at_us: now_us,
            revision: 1,
            suspended: false,
            default_model: None,
        };
        admin.record(id, id, &AccountCreated { account }).await?;
    }
    for (secret, kind, name) in
        [(&first.live_key, KeyKind::Regular, "first key"), (&first.management_key, KeyKind::Management, "first management key")]
    {
        let hash = KeyHash::of_secret(secret);
        if admin.directory.knows(&hash) {
            continue;
        }
        let key = Key {
            hash: hash.clone(),
            account: first.account.clone(),
            kind,
            name: name.to_owned(),
            label: label(secret),
            disabled: false,
            limit_nanos: None,
            limit_reset: None,
            allowed_models: None,
            allowed_providers: None,
            rate_limit: events::control::RateLimit::default(),
            enforce_zdr: false,
            include_byok_in_limit: false,
            created_by: None,
            creating_call: None,
            expires_at_us: None,
            created_at_us: now_us,
            updated_at_us: None,
            revision: 1,
        };
        admin.record(id, hash.as_str(), &KeyCreated { key }).await?;
    }
    Ok(())
}
