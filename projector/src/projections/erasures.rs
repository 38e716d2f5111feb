//! Erased end users: the rows of all projections show a token in place of the name, whether they came before the erasure or after it.
//!
//! An erasure has only a keyed hash of the name. So the names of the account's rows are hashed and compared.

use std::collections::{BTreeSet, HashMap};

use eventlog::digest::Table;
use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::control::{ControlEvent, UserErased};
use events::subject::Stream;
use serde_json::Value;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row};

use super::Projection;
use super::usage::Dimension;
use super::usage::sums::{COLUMNS, adding};
use super::usage::width::Width;

/// The projection of erased users.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "erasures", stream: Stream::Control },
    fold: &Erasures,
    tables: &[Table::new("erased_users", &["account", "user_hash", "token"])],
    pace: Pace::PROMPT,
    behind: None,
};

/// The place of the end user in an event.
const USER: &str = "/data/user";
/// The columns that identify a row of `usage_sums`, but for the name.
const SUMS_KEY: &str = "account, width, dimension, start_us";
/// The columns that identify a row of `usage_details`, but for the name.
const DETAILS_KEY: &str = "account, width, start_us, model, provider, key_hash, app";

/// The fold of `CONTROL`.
pub struct Erasures;

impl Fold for Erasures {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            // Events that are not understood are set aside by the reader of key names.
            let erased = |event: &Event<'_>| match ControlEvent::read(&event.envelope) {
                Ok(Some(ControlEvent::UserErased(erased))) => Some(erased),
                Ok(
                    Some(
                        ControlEvent::Account(_)
                        | ControlEvent::Key(_)
                        | ControlEvent::KeyDeleted(_)
                        | ControlEvent::Webhook(_)
                        | ControlEvent::WebhookDeleted(_)
                        | ControlEvent::Catalog(_)
                        | ControlEvent::ProviderKey(_),
                    )
                    | None,
                )
                | Err(_) => None,
            };
            for erased in events.iter().filter_map(erased) {
                erase(connection, &erased).await?;
            }
            Ok(Vec::<Rejected<'_>>::new())
        })
    }
}

async fn erase(connection: &mut AnyConnection, erased: &UserErased) -> Result<(), sqlx::Error> {
    let account = erased.account.as_str();
    let sql = "INSERT INTO erased_users (account, user_hash, token) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let query = sqlx::query::<Any>(sql).bind(account.to_owned()).bind(erased.user_hash.clone()).bind(erased.token.clone());
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(());
    }
    for name in names(connection, account).await? {
        if UserErased::hash(account, &name) == erased.user_hash {
            rename(connection, account, &name, &erased.token).await?;
        }
    }
    rename_deliveries(connection, erased).await
}

/// Returns the names of an account's end users.
async fn names(connection: &mut AnyConnection, account: &str) -> Result<BTreeSet<String>, sqlx::Error> {
    let mut names = BTreeSet::new();
    // The projections may be at different places of the log, so each may know a name that the other does not.
    let sums = "SELECT DISTINCT value AS name FROM usage_sums WHERE account = $1 AND width = 3 AND dimension = $2 AND value <> ''";
    let generations = "SELECT DISTINCT end_user AS name FROM generations WHERE account = $1 AND end_user <> ''";
    let of_sums = sqlx::query::<Any>(sums).bind(account.to_owned()).bind(Dimension::User.code());
    let of_generations = sqlx::query::<Any>(generations).bind(account.to_owned());
    for query in [of_sums, of_generations] {
        for row in query.fetch_all(&mut *connection).await? {
            names.insert(row.try_get("name")?);
        }
    }
    Ok(names)
}

/// Returns an event with the name of its end user replaced; `None` if it stays as it is.
#[must_use]
pub fn renamed(event: &str, token: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    let mut event: Value = serde_json::from_str(event).ok()?;
    let user = event.pointer_mut(USER)?;
    *user = token(user.as_str()?)?.into();
    Some(event.to_string())
}

/// Returns the token of an erased user; `None` for a name that is not erased.
pub async fn token_of(reads: &AnyPool, account: &str, name: &str) -> Result<Option<String>, sqlx::Error> {
    let query = sqlx::query::<Any>("SELECT token FROM erased_users WHERE account = $1 AND user_hash = $2");
    let row = query.bind(account.to_owned()).bind(UserErased::hash(account, name)).fetch_optional(reads).await?;
    row.map(|row| row.try_get("token")).transpose()
}

/// Replaces the name in the deliveries of an account, sent or not: they may be listed and replayed.
async fn rename_deliveries(connection: &mut AnyConnection, erased: &UserErased) -> Result<(), sqlx::Error> {
    let account = erased.account.as_str();
    let of_account = "SELECT id, body FROM deliveries WHERE webhook IN (SELECT id FROM webhooks WHERE account = $1) AND id > $2
        ORDER BY id LIMIT 500";
    let mut after = String::new();
    loop {
        let rows = sqlx::query::<Any>(of_account).bind(account.to_owned()).bind(after).fetch_all(&mut *connection).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get("id")?;
        for row in rows {
            let is_erased = |name: &str| (UserErased::hash(account, name) == erased.user_hash).then(|| erased.token.clone());
            if let Some(body) = renamed(row.try_get("body")?, is_erased) {
                let update = sqlx::query::<Any>("UPDATE deliveries SET body = $2 WHERE id = $1");
                update.bind(row.try_get::<String, _>("id")?).bind(body).execute(&mut *connection).await?;
            }
        }
    }
}

/// Replaces a name in all rows of an account. Rows that exist with the token already are added up.
async fn rename(connection: &mut AnyConnection, account: &str, name: &str, token: &str) -> Result<(), sqlx::Error> {
    let columns = COLUMNS.join(", ");
    let is_user = format!("dimension = {}", Dimension::User.code());
    // The tables have no index by user; each start is in the sums over all users.
    let moved = |table: &str, key: &str, column: &str, which: &str, width: Width| {
        let (width, all) = (width.code(), Dimension::All.code());
        let found = format!(
            "account = $1 AND width = {width} AND {which} AND {column} = $2 AND start_us IN (SELECT start_us FROM usage_sums
             WHERE account = $1 AND width = {width} AND dimension = {all})"
        );
        [
            format!(
                "INSERT INTO {table} ({key}, {column}, {columns}) SELECT {key}, $3, {columns} FROM {table} WHERE {found}
                 ON CONFLICT ({key}, {column}) DO UPDATE SET {}",
                adding(table)
            ),
            format!("DELETE FROM {table} WHERE {found}"),
        ]
    };
    let update = "UPDATE generations SET end_user = $3 WHERE account = $1 AND end_user = $2".to_owned();
    let summed = Width::ALL.into_iter().filter(|width| Dimension::User.has_sums(*width));
    let sums = summed.flat_map(|width| moved("usage_sums", SUMS_KEY, "value", &is_user, width));
    let details = Width::ALL.into_iter().flat_map(|width| moved("usage_details", DETAILS_KEY, "end_user", "1 = 1", width));
    for sql in [update].into_iter().chain(sums).chain(details) {
        let has_token = sql.contains("$3");
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(account.to_owned()).bind(name.to_owned());
        if has_token {
            query = query.bind(token.to_owned());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The erasures that a transaction sees, by account and keyed hash.
pub struct Pseudonyms(HashMap<String, HashMap<String, String>>);

impl Pseudonyms {
    pub async fn load(connection: &mut AnyConnection) -> Result<Self, sqlx::Error> {
        let mut tokens: HashMap<String, HashMap<String, String>> = HashMap::new();
        for row in sqlx::query::<Any>("SELECT account, user_hash, token FROM erased_users").fetch_all(connection).await? {
            tokens.entry(row.try_get("account")?).or_default().insert(row.try_get("user_hash")?, row.try_get("token")?);
        }
        Ok(Self(tokens))
    }

    /// Replaces the name of an erased user by its token.
    pub fn replace(&self, account: &str, user: &mut Option<String>) {
        if let Some(name) = user
            && let Some(token) = self.token(account, name)
        {
            name.clone_from(token);
        }
    }

    /// Returns the token of an erased user.
    #[must_use]
    pub fn token(&self, account: &str, name: &str) -> Option<&String> {
        self.0.get(account)?.get(&UserErased::hash(account, name))
    }

    /// Returns whether an account has erased users.
    #[must_use]
    pub fn has(&self, account: &str) -> bool {
        self.0.contains_key(account)
    }
}
