//! `arouter admin consumer`: NATS users that read the events of one account.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use eventlog::Access;
use events::clock::rfc3339;
use events::ids::SystemIds;
use events::{Clock, SystemClock};
use serde_json::json;

use crate::Settings;
use crate::config::Config;
use crate::nats::conf::{account_of, exports_of};
use crate::nats::consumers::{self, Consumer};
use crate::up::{Streams, connect};

#[derive(Subcommand)]
pub enum ConsumerCommand {
    /// Creates a NATS user that reads the events of one account, and prints its address once.
    Create {
        /// Name of the consumer: lower-case letters, digits and hyphens.
        name: String,
        /// Id of the account.
        #[arg(long)]
        account: String,
        /// Configuration file with the nats.url of a NATS of your own. The lines for its configuration are printed.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Lists the consumers.
    List,
    /// Deletes a consumer: it is cut off at once.
    Revoke {
        /// Name of the consumer.
        name: String,
    },
}

/// Runs the command on the data folder of a running `arouter up`, or on a NATS of the operator's.
pub async fn run(command: &ConsumerCommand, data: &Path) -> Result<()> {
    match command {
        ConsumerCommand::Create { name, account, config } => create(name, account, config.clone(), data).await,
        ConsumerCommand::List => {
            let rows: Vec<_> = consumers::read(data)?
                .into_iter()
                .map(|consumer| json!({"name": consumer.name, "account": consumer.account, "created_at": consumer.created_at}))
                .collect();
            println!("{}", serde_json::to_string_pretty(&json!({ "data": rows }))?);
            Ok(())
        }
        ConsumerCommand::Revoke { name } => {
            let revoke = |consumers: &mut Vec<Consumer>| {
                let place = consumers.iter().position(|consumer| consumer.name == *name).with_context(|| format!("no consumer {name}"))?;
                consumers.remove(place);
                Ok(())
            };
            consumers::change(data, revoke).await?;
            println!("{}", serde_json::to_string_pretty(&json!({"name": name, "revoked": true}))?);
            Ok(())
        }
    }
}

async fn create(name: &str, account: &str, config: Option<PathBuf>, data: &Path) -> Result<()> {
    let (consumer, password) = Consumer::try_new(name, account, rfc3339(SystemClock.now_us()), &SystemIds)?;
    let config = Config::load(&Settings { config, data: data.to_owned(), listen: None })?;
    if let Some(access) = config.nats.access()? {
        return create_elsewhere(&access, &consumer, &password).await;
    }
    let (new, own) = (consumer.clone(), consumer.name.clone());
    let add = |consumers: &mut Vec<Consumer>| {
        if consumers.iter().any(|consumer| consumer.name == own) {
            bail!("there is a consumer {own}: choose another name, or revoke it first");
        }
        consumers.push(new);
        Ok(())
    };
    let port = consumers::change(data, add).await?;
    let user = consumer.user();
    let nats_url = consumers::access_of(port, &consumer, password).to_url();
    let shown = json!({
        "name": consumer.name,
        "account": consumer.account,
        "nats_url": nats_url,
        "durable": user,
        "streams": ["REQUESTS", "USAGE", "CONTROL"],
        "try": format!("nats --server {nats_url} consumer next USAGE {user} --count 10"),
        "example": format!("python3 deploy/examples/python/usage.py {nats_url} usage.jsonl"),
    });
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}

/// Makes the durable consumers on a NATS that is not ours, and prints what its operator adds to its configuration.
async fn create_elsewhere(access: &Access, consumer: &Consumer, password: &str) -> Result<()> {
    let log = connect(access, "tools", Streams::Awaited).await?;
    let user = consumer.user();
    log.create_account_consumer(&user, consumer.account.as_str())
        .await
        .with_context(|| format!("the consumer {user} cannot be made: a name that another account had cannot be used again"))?;
    log.close().await;
    println!("# Add this to the exports of the account AROUTER:\n      {}", exports_of(consumer));
    println!("\n# Add this account beside READERS, then run `nats-server --signal reload` twice:\n  {}", account_of(consumer));
    println!("\n# Shown once. user: {user}  password: {password}");
    Ok(())
}
