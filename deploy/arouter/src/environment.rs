//! Settings from environment variables. Only this file reads the environment.

use std::path::PathBuf;

use anyhow::{Result, bail};
use events::{clock, failpoint};
use toml::{Table, Value};

use crate::config::{Config, section};

const PREFIX: &str = "AROUTER_";
/// Variables that are no settings: the log filter, the token of `arouter admin`, the program for scripts, and those of tests.
const OTHERS: [&str; 5] = ["AROUTER_LOG", "AROUTER_OPERATOR_TOKEN", "AROUTER_BIN", failpoint::VARIABLE, clock::SHIFT_VARIABLE];
/// The prefix of variables that tests read.
const TEST_PREFIX: &str = "AROUTER_TEST_";

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variables() -> Vec<(String, String)> {
    std::env::vars()
        .filter(|(name, _)| name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX) && !OTHERS.contains(&name.as_str()))
        .collect()
}

/// Returns the environment variables that configure S3-compatible stores.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn store_variables() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_lowercase(), value)).collect()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the folders of PATH.
pub fn program_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default()
}

/// Sets a key from an environment variable: `AROUTER_SERVER__LISTEN=…` sets `server.listen`. The key decides the type of the value: a text
/// where it takes one, else a number or a truth value.
pub fn put(table: &mut Table, name: &str, value: String) -> Result<()> {
    let (in_section, key) = name[PREFIX.len()..].split_once("__").unwrap_or_default();
    let (in_section, key) = (in_section.to_lowercase(), key.to_lowercase());
    let takes = |value: &Value| {
        let of_section = Table::from_iter([(key.clone(), value.clone())]);
        Table::from_iter([(in_section.clone(), Value::Table(of_section))]).try_into::<Config>().is_ok()
    };
    let number = value.parse().map(Value::Integer).or_else(|_| value.parse().map(Value::Float)).ok();
    let others = [number, value.parse().map(Value::Boolean).ok()];
    let text = Value::String(value);
    let value = std::iter::once(text.clone()).chain(others.into_iter().flatten()).find(takes).unwrap_or(text);
    section(table, &in_section)?.insert(key, value);
    Ok(())
}

/// The likeness of two names above which one is taken for a misspelling of the other.
const LIKENESS_MIN: f64 = 0.93;

/// Checks that every variable sets a key, except those that the configuration names itself. A name without `__` that is like no key is
/// only warned about: orchestrators set variables such as `AROUTER_SERVICE_HOST` for a service of that name.
///
/// # Errors
/// Names an unknown variable and the nearest known one.
pub fn check_names<'a>(variables: impl Iterator<Item = &'a str>, exempt: &[&str]) -> Result<()> {
    let of_section = |section: &String| known_keys(Some(section)).into_iter().map(move |key| (section.clone(), key)).collect::<Vec<_>>();
    let all = known_keys(None).iter().flat_map(of_section).collect::<Vec<_>>();
    let known: Vec<String> = all.iter().map(|(section, key)| format!("{PREFIX}{section}__{key}").to_uppercase()).collect();
    for unknown in variables.filter(|name| !exempt.contains(name) && !known.contains(&name.to_uppercase())) {
        let likeness = |known: &String| strsim::jaro_winkler(&unknown[PREFIX.len()..], &known[PREFIX.len()..]);
        let nearest = known.iter().map(|known| (likeness(known), known)).max_by(|(one, _), (other, _)| one.total_cmp(other));
        let hint = nearest.map(|(_, nearest)| format!(": did you mean {nearest}?")).unwrap_or_default();
        let is_near = nearest.is_some_and(|(likeness, _)| likeness >= LIKENESS_MIN);
        if is_near || unknown.contains("__") {
            bail!("the environment variable {unknown} sets nothing{hint}");
        }
        tracing::warn!(unknown, "the environment variable {unknown} sets nothing");
    }
    Ok(())
}

/// Returns the environment variables that a configuration names: credentials of providers and of NATS.
pub fn named_variables(table: &Table) -> Vec<String> {
    let providers = table.get("providers").and_then(Value::as_array).into_iter().flatten();
    let keys = providers.clone().filter_map(|provider| provider.get("keys")).filter_map(Value::as_array).flatten();
    let providers = providers.chain(keys).filter_map(|holder| holder.get("api_key_env"));
    let nats = ["password_env", "token_env"].into_iter().filter_map(|key| table.get("nats")?.get(key));
    providers.chain(nats).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the variable that a variable names: `AROUTER_NATS__PASSWORD_ENV` and the like.
pub fn names_variable((name, value): &(String, String)) -> Option<&str> {
    name.to_uppercase().ends_with("_ENV").then_some(value.as_str())
}

/// Returns the keys of a section, or the sections: what the refusal of an impossible key names.
fn known_keys(section: Option<&str>) -> Vec<String> {
    let impossible = Table::from_iter([("?".to_owned(), Value::Boolean(true))]);
    let table = match section {
        None => impossible,
        Some(section) => Table::from_iter([(section.to_owned(), Value::Table(impossible))]),
    };
    let refusal = table.try_into::<Config>().err().map(|error| error.message().to_owned()).unwrap_or_default();
    refusal.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_go_over_the_file() {
        let mut table: Table = "[server]\nlisten = \"127.0.0.1:1\"".parse().unwrap();
        put(&mut table, "AROUTER_SERVER__LISTEN", "127.0.0.1:2".to_owned()).unwrap();
        put(&mut table, "AROUTER_SPOOL__BYTES_MAX", "5".to_owned()).unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!((config.server.listen.port(), config.spool.bytes_max), (2, 5));
    }

    #[test]
    fn the_key_decides_the_type_of_an_environment_variable() {
        let mut table = Table::new();
        put(&mut table, "AROUTER_NODE__NAME", "1".to_owned()).unwrap();
        put(&mut table, "AROUTER_NATS__USER", "true".to_owned()).unwrap();
        put(&mut table, "AROUTER_NATS__ALLOW_UNAUTHENTICATED", "true".to_owned()).unwrap();
        put(&mut table, "AROUTER_ARCHIVE__KEEP_DAYS", "0.5".to_owned()).unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!((config.node.name.as_str(), config.nats.user.as_deref()), ("1", Some("true")));
        assert_eq!((config.nats.allow_unauthenticated, config.archive.keep_days), (true, Some(0.5)));
    }

    #[test]
    fn an_unknown_environment_variable_names_the_nearest_known_one() {
        let refused = |name: &str| check_names([name].into_iter(), &["AROUTER_OPENAI__KEY"]).map_err(|error| error.to_string());
        assert_eq!(refused("AROUTER_SERVER__LISTEN"), Ok(()));
        for (name, nearest) in [
            ("AROUTER_SERVER_LISTEN", "AROUTER_SERVER__LISTEN"),
            ("AROUTER_NATS__URLS", "AROUTER_NATS__URL"),
            ("AROUTER_LEDGER_DATABASE_URL", "AROUTER_LEDGER__DATABASE_URL"),
        ] {
            assert!(refused(name).unwrap_err().ends_with(&format!("{name} sets nothing: did you mean {nearest}?")), "{name}");
        }
        assert!(refused("AROUTER_X__Y").is_err());
        for harmless in ["AROUTER_SERVICE_HOST", "AROUTER_PORT_8080_TCP_ADDR", "AROUTER_server__listen", "AROUTER_OPENAI__KEY"] {
            assert_eq!(refused(harmless), Ok(()), "{harmless}");
        }
    }
}
