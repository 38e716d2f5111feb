//! `arouter admin`: accounts, keys and credit, by the same commands as HTTP.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::data_dir;

/// Where the gateway is and what it shall do.
#[derive(Args)]
pub struct AdminArgs {
    /// The data folder of the gateway: its address and the operator's token are read there.
    #[arg(long, default_value = "./data", global = true)]
    data: PathBuf,
    /// The gateway's address instead, such as http://10.0.0.4:8080.
    #[arg(long, global = true)]
    url: Option<String>,
    /// The operator's token instead.
    #[arg(long, env = "AROUTER_OPERATOR_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Keys of an account, with its management key.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Credit of an account, in USD.
    #[command(subcommand)]
    Credit(CreditCommand),
    /// Events that the ledger could not apply; an account that may owe something by one gets no new leases.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
}

#[derive(Subcommand)]
enum AccountCommand {
    /// Makes an account; prints its id and its management key.
    Create {
        /// Its name.
        name: String,
    },
    /// Refuses every key of an account from now on.
    Suspend {
        /// Its id.
        id: String,
    },
    /// Takes its keys again.
    Resume {
        /// Its id.
        id: String,
    },
    /// Makes a management key for an account that has lost its own; prints it once.
    ManagementKey {
        /// Its id.
        id: String,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Deletes any key of any account; for the operator.
    Revoke {
        /// Its hash.
        hash: String,
    },
    /// Makes a key; prints it once.
    Create {
        /// Its name.
        name: String,
        /// The account's management key.
        #[arg(long)]
        management_key: String,
        /// Most it may spend, USD.
        #[arg(long)]
        limit: Option<String>,
        /// When the limit starts over: daily, weekly or monthly.
        #[arg(long)]
        limit_reset: Option<String>,
    },
    /// Lists keys.
    List {
        /// The account's management key.
        #[arg(long)]
        management_key: String,
    },
    /// Deletes a key.
    Delete {
        /// Its hash.
        hash: String,
        /// The account's management key.
        #[arg(long)]
        management_key: String,
    },
}

#[derive(Subcommand)]
enum QuarantineCommand {
    /// Lists what waits for a decision.
    List,
    /// Shows an event as it came.
    Show {
        /// Its id.
        event_id: String,
    },
    /// Applies an event again, after what kept it from being applied is mended.
    Release {
        /// Its id.
        event_id: String,
    },
    /// Gives an event up: nothing is booked for it.
    Discard {
        /// Its id.
        event_id: String,
    },
}

#[derive(Subcommand)]
enum CreditCommand {
    /// Gives credit.
    Grant {
        /// The account's id.
        account: String,
        /// USD.
        amount: String,
        /// When what is left of it goes, such as 2027-01-31T00:00:00Z; default: never.
        #[arg(long)]
        expires_at: Option<String>,
        /// Lower ones are spent first; default 100.
        #[arg(long)]
        priority: Option<i64>,
        /// For people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Books credit that was paid for; the configured fee comes on top.
    Purchase {
        /// The account's id.
        account: String,
        /// USD.
        amount: String,
        /// When what is left of it goes; default: after billing.purchase_expires_days.
        #[arg(long)]
        expires_at: Option<String>,
        /// For people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Gives the unspent part of a purchase back, within 24 hours.
    Refund {
        /// The account's id.
        account: String,
        /// The purchase's transaction id.
        purchase: String,
        /// For people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Corrects credit, up or down.
    Adjust {
        /// The account's id.
        account: String,
        /// USD.
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// For people.
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

/// Does it and prints the answer.
pub async fn run(args: AdminArgs) -> Result<()> {
    let operator = || match &args.token {
        Some(token) => Ok(token.clone()),
        None => std::fs::read_to_string(args.data.join("operator.token")).map(|token| token.trim().to_owned()).with_context(|| {
            format!("no operator.token in {}: name the gateway's folder with --data, or the token with --token", args.data.display())
        }),
    };
    let (method, path, credential, body) = match &args.command {
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
    call(&args, method, &path, &credential, &body).await
}

async fn call(args: &AdminArgs, method: Method, path: &str, credential: &str, body: &Value) -> Result<()> {
    let base = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => data_dir::running(&args.data).map(|running| running.base_url.trim_end_matches("/v1").to_owned()).with_context(|| {
            format!("no gateway has run on {}: name its folder with --data, or its address with --url", args.data.display())
        })?,
    };
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
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}
