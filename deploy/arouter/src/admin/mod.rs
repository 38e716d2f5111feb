//! `arouter admin`: commands for accounts, keys, credit and quarantined events. Each of them calls the gateway's HTTP API, except
//! those for consumers, which change the configuration of nats-server.

mod consumer;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use self::consumer::ConsumerCommand;
use crate::data_dir;

/// The address and the credentials of a gateway.
#[derive(Args)]
pub struct Connection {
    /// Data folder of the gateway. The gateway's address and the operator's token are read from it.
    #[arg(long, default_value = "./data", global = true)]
    data: PathBuf,
    /// Address of the gateway, such as http://10.0.0.4:8080; default: read from the data folder.
    #[arg(long, global = true)]
    url: Option<String>,
    /// Operator's token; default: read from the data folder.
    #[arg(long, env = "AROUTER_OPERATOR_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

/// A gateway, and the command to run on it.
#[derive(Args)]
pub struct AdminArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Creates, suspends and resumes accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Manages the keys of an account, with its management key.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Grants, purchases, refunds and adjusts the credit of an account, in USD.
    #[command(subcommand)]
    Credit(CreditCommand),
    /// Events that the ledger could not apply. An account that may owe money for such an event gets no new leases.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// NATS users that read the events of one account and nothing else.
    #[command(subcommand)]
    Consumer(ConsumerCommand),
}

#[derive(Subcommand)]
enum AccountCommand {
    /// Creates an account and prints its id and its management key.
    Create {
        /// Name of the account.
        name: String,
    },
    /// Suspends an account: all of its keys are refused from now on.
    Suspend {
        /// Id of the account.
        id: String,
    },
    /// Resumes a suspended account: its keys are accepted again.
    Resume {
        /// Id of the account.
        id: String,
    },
    /// Creates a management key for an account that has lost its own, and prints it once.
    ManagementKey {
        /// Id of the account.
        id: String,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Deletes any key of any account, with the operator's token.
    Revoke {
        /// Hash of the key.
        hash: String,
    },
    /// Creates a key and prints it once.
    Create {
        /// Name of the key.
        name: String,
        /// Management key of the account.
        #[arg(long)]
        management_key: String,
        /// The most that the key may spend, in USD.
        #[arg(long)]
        limit: Option<String>,
        /// Period after which the limit starts again: daily, weekly or monthly.
        #[arg(long)]
        limit_reset: Option<String>,
    },
    /// Lists the keys of an account.
    List {
        /// Management key of the account.
        #[arg(long)]
        management_key: String,
    },
    /// Deletes a key.
    Delete {
        /// Hash of the key.
        hash: String,
        /// Management key of the account.
        #[arg(long)]
        management_key: String,
    },
}

#[derive(Subcommand)]
enum QuarantineCommand {
    /// Lists the quarantined events that wait for a decision.
    List,
    /// Shows a quarantined event as it was received.
    Show {
        /// Id of the event.
        event_id: String,
    },
    /// Applies an event again, after its cause has been repaired.
    Release {
        /// Id of the event.
        event_id: String,
    },
    /// Discards an event: nothing is posted for it.
    Discard {
        /// Id of the event.
        event_id: String,
    },
}

#[derive(Subcommand)]
enum CreditCommand {
    /// Grants credit.
    Grant {
        /// Id of the account.
        account: String,
        /// Amount in USD.
        amount: String,
        /// Time at which the unspent rest expires, such as 2027-01-31T00:00:00Z; default: never.
        #[arg(long)]
        expires_at: Option<String>,
        /// Priority of the grant. Grants with lower numbers are spent first; default: 100.
        #[arg(long)]
        priority: Option<i64>,
        /// Description for human readers.
        #[arg(long)]
        description: Option<String>,
    },
    /// Posts credit that was paid for. The configured fee is charged on top of the amount.
    Purchase {
        /// Id of the account.
        account: String,
        /// Amount in USD.
        amount: String,
        /// Time at which the unspent rest expires; default: after billing.purchase_expires_days.
        #[arg(long)]
        expires_at: Option<String>,
        /// Description for human readers.
        #[arg(long)]
        description: Option<String>,
    },
    /// Refunds the unspent part of a purchase, within 24 hours.
    Refund {
        /// Id of the account.
        account: String,
        /// Transaction id of the purchase.
        purchase: String,
        /// Description for human readers.
        #[arg(long)]
        description: Option<String>,
    },
    /// Adjusts credit, up or down.
    Adjust {
        /// Id of the account.
        account: String,
        /// Amount in USD; negative to reduce the credit.
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// Description for human readers.
        #[arg(long)]
        description: Option<String>,
    },
}

impl CreditCommand {
    fn body(&self) -> Value {
        match self {
            Self::Grant { account, amount, expires_at, priority, description } => json!({
                "account": account, "amount": amount, "kind": "grant", "expires_at": expires_at, "priority": priority, "description": description
            }),
            Self::Purchase { account, amount, expires_at, description } => {
                json!({"account": account, "amount": amount, "kind": "credit", "expires_at": expires_at, "description": description})
            }
            Self::Refund { account, purchase, description } => {
                json!({"account": account, "purchase": purchase, "kind": "refund", "description": description})
            }
            Self::Adjust { account, amount, description } => {
                json!({"account": account, "amount": amount, "kind": "adjustment", "description": description})
            }
        }
    }
}

/// Runs the command and prints the response.
pub async fn run(args: AdminArgs) -> Result<()> {
    let operator = || args.connection.operator();
    let (method, path, credential, body) = match &args.command {
        AdminCommand::Consumer(command) => return consumer::run(command, &args.connection.data).await,
        AdminCommand::Account(AccountCommand::Create { name }) => {
            (Method::POST, "/api/v1/admin/accounts".to_owned(), operator()?, json!({"name": name}))
        }
        AdminCommand::Account(AccountCommand::Suspend { id }) => {
            (Method::POST, format!("/api/v1/admin/accounts/{id}/suspend"), operator()?, Value::Null)
        }
        AdminCommand::Account(AccountCommand::Resume { id }) => {
            (Method::POST, format!("/api/v1/admin/accounts/{id}/resume"), operator()?, Value::Null)
        }
        AdminCommand::Account(AccountCommand::ManagementKey { id }) => {
            (Method::POST, format!("/api/v1/admin/accounts/{id}/management-keys"), operator()?, json!({"name": "made by the operator"}))
        }
        AdminCommand::Key(KeyCommand::Revoke { hash }) => (Method::DELETE, format!("/api/v1/admin/keys/{hash}"), operator()?, Value::Null),
        AdminCommand::Quarantine(QuarantineCommand::List) => (Method::GET, "/api/v1/admin/quarantine".to_owned(), operator()?, Value::Null),
        AdminCommand::Quarantine(QuarantineCommand::Show { event_id }) => {
            (Method::GET, format!("/api/v1/admin/quarantine/{event_id}"), operator()?, Value::Null)
        }
        AdminCommand::Quarantine(QuarantineCommand::Release { event_id }) => {
            (Method::POST, format!("/api/v1/admin/quarantine/{event_id}/release"), operator()?, Value::Null)
        }
        AdminCommand::Quarantine(QuarantineCommand::Discard { event_id }) => {
            (Method::POST, format!("/api/v1/admin/quarantine/{event_id}/discard"), operator()?, Value::Null)
        }
        AdminCommand::Credit(command) => (Method::POST, "/api/v1/admin/credit".to_owned(), operator()?, command.body()),
        AdminCommand::Key(KeyCommand::Create { name, management_key, limit, limit_reset }) => {
            let mut body = json!({"name": name, "limit_reset": limit_reset});
            if let Some(limit) = limit {
                body["limit"] = json!(limit);
            }
            (Method::POST, "/api/v1/keys".to_owned(), management_key.clone(), body)
        }
        AdminCommand::Key(KeyCommand::List { management_key }) => {
            (Method::GET, "/api/v1/keys?include_disabled=true".to_owned(), management_key.clone(), Value::Null)
        }
        AdminCommand::Key(KeyCommand::Delete { hash, management_key }) => {
            (Method::DELETE, format!("/api/v1/keys/{hash}"), management_key.clone(), Value::Null)
        }
    };
    let shown = args.connection.call(method, &path, &credential, &body).await?;
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}

impl Connection {
    /// Returns the operator's token.
    pub fn operator(&self) -> Result<String> {
        match &self.token {
            Some(token) => Ok(token.clone()),
            None => std::fs::read_to_string(self.data.join("operator.token")).map(|token| token.trim().to_owned()).with_context(|| {
                format!("no operator.token in {}: name the gateway's folder with --data, or the token with --token", self.data.display())
            }),
        }
    }

    /// Calls the gateway. Returns the body of a success; fails with the message of any other answer.
    pub async fn call(&self, method: Method, path: &str, credential: &str, body: &Value) -> Result<Value> {
        let base = data_dir::gateway_url(self.url.as_deref(), &self.data)?;
        let mut request = Client::builder()
            .no_proxy()
            .build()?
            .request(method, format!("{base}{path}"))
            .header("authorization", format!("Bearer {credential}"));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.with_context(|| format!("the gateway does not answer at {base}: is it running?"))?;
        let status = answer.status();
        let text = answer.text().await?;
        let shown: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if !status.is_success() {
            bail!("{}", shown.pointer("/error/message").and_then(Value::as_str).unwrap_or("the gateway refused"));
        }
        Ok(shown)
    }
}
