//! Configuration from a TOML file. Texts, numbers and truth values can also be set by environment variables `AROUTER_{SECTION}__{KEY}`.

mod exports;
mod nats;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eventlog::Archive;
use eventlog::archiver::ArchiveTerms;
use events::{clock, failpoint};
use gateway::config::{ByokConfig, Decimal, LimitsConfig, ModelConfig, ProviderConfig, ServerConfig, SpoolConfig, UpstreamConfig};
use ledger::credit::billing::Billing;
use ledger::lease::Terms;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::Settings;
use crate::environment::{check_names, named_variables, names_variable, put, store_variables, variable, variables};
use crate::simulated::SimulatedConfig;
pub use exports::{Every, ExportConfig, ExportReport};
pub use nats::NatsConfig;

#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    /// The limits on what one caller may use of shared resources.
    pub limits: LimitsConfig,
    pub metrics: MetricsConfig,
    pub node: NodeConfig,
    pub billing: Billing,
    pub bootstrap: BootstrapConfig,
    pub nats: NatsConfig,
    pub ledger: ReaderConfig,
    pub projector: ReaderConfig,
    /// The archive, which keeps events after they have left their streams.
    pub archive: ArchiveConfig,
    /// Reports that are written by themselves.
    pub exports: Vec<ExportConfig>,
    /// The terms on which credit is lent to gateways.
    pub leases: Terms,
    pub spool: SpoolConfig,
    pub upstream: UpstreamConfig,
    /// Own provider keys of accounts.
    pub byok: ByokConfig,
    /// The built-in provider, which serves if no other provider is configured.
    pub simulated: SimulatedConfig,
    /// Settings that all processes share.
    pub internal: InternalConfig,
    /// The keys for secrets of accounts.
    pub secrets: SecretsConfig,
    pub operator: OperatorConfig,
    pub providers: Vec<ProviderConfig>,
    /// Models in addition to those of the catalogue.
    pub models: Vec<ModelConfig>,
}

/// Settings of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's name in events. Each gateway needs a different one.
    pub name: String,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: "node-1".to_owned() }
    }
}

/// Settings that apply to the first start only.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// Credit of the first account, in USD.
    pub credit_usd: Decimal,
    /// The name of the first account.
    pub account_name: String,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { credit_usd: Decimal("10".to_owned()), account_name: "main".to_owned() }
    }
}

/// Settings of the Prometheus metrics.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The address that serves the metrics, which is not that of requests. `None` means that no metrics are served.
    pub listen: Option<SocketAddr>,
}

/// Settings of the ledger or the projector.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReaderConfig {
    /// Only for the ledger: the file with the keys that sign its facts; default: `ledger.signing_key` in the data folder.
    pub signing_key_file: Option<PathBuf>,
    /// `sqlite://PATH` or `postgres://…`; default: a file in the data folder.
    pub database_url: Option<String>,
    /// Only for the projector: whether webhooks may be sent to private addresses.
    pub webhooks_to_private_addresses: bool,
    /// The address on which the process serves reads if it runs standalone.
    pub listen: Option<SocketAddr>,
    /// The address at which the gateway reaches the process if it runs standalone, such as `http://10.0.0.5:8081`.
    pub url: Option<String>,
}

/// Settings of the archive.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// A folder, or `s3://BUCKET/PATH`. `None` means that nothing is archived.
    pub url: Option<String>,
    /// Options of the object store, such as `aws_region` and `aws_endpoint`. Environment variables `AWS_…` are used too.
    pub options: BTreeMap<String, String>,
    /// The longest time in seconds that an event waits for its segment.
    pub every_seconds: u32,
    /// The size of a segment before compression.
    pub segment_bytes: usize,
    /// The days for which archived events stay in their streams. `None` means for ever.
    pub keep_days: Option<f64>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        let ArchiveTerms { every_seconds, segment_bytes, keep_days } = ArchiveTerms::default();
        Self { url: None, options: BTreeMap::new(), every_seconds, segment_bytes, keep_days }
    }
}

impl ArchiveConfig {
    pub const fn terms(&self) -> ArchiveTerms {
        ArchiveTerms { every_seconds: self.every_seconds, segment_bytes: self.segment_bytes, keep_days: self.keep_days }
    }

    /// Opens the archive; `None` if none is configured.
    pub fn open(&self) -> Result<Option<Archive>> {
        let Some(url) = &self.url else { return Ok(None) };
        let options = store_variables().into_iter().chain(self.options.clone());
        Ok(Some(Archive::open(url, options)?))
    }
}

/// Settings that the processes share if they run standalone.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalConfig {
    /// The secret by which the processes trust each other; at least 32 characters.
    pub secret: Option<Secret>,
}

/// Settings of secrets at rest.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsConfig {
    /// The master key that encrypts secrets of accounts, at least 32 characters. Several keys are separated by spaces; the first one
    /// encrypts. Default: `internal.secret`, or without one `secrets.master_key` in the data folder, which is made at the first start.
    pub master_key: Option<Secret>,
}

/// Settings of the operator.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorConfig {
    /// The operator's token, at least 16 characters; default: generated at the first start, in `operator.token` in the data folder.
    pub token: Option<Secret>,
}

/// A text that no message shows. A value of digits only is still read as text.
#[derive(Clone)]
pub struct Secret(pub String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Integer(number) => Ok(Self(number.to_string())),
            Value::Boolean(truth) => Ok(Self(truth.to_string())),
            Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => Err(D::Error::custom("a secret must be a text")),
        }
    }
}

impl Config {
    /// Reads the file, the environment, and the credentials that the providers' settings name.
    pub fn load(settings: &Settings) -> Result<Self> {
        let mut table = match &settings.config {
            None => Table::new(),
            Some(path) => read(path)?,
        };
        let variables = variables();
        let named = named_variables(&table);
        let named: Vec<&str> = named.iter().map(String::as_str).chain(variables.iter().filter_map(names_variable)).collect();
        check_names(variables.iter().map(|(name, _)| name.as_str()), &named)?;
        for (name, value) in variables.iter().filter(|(name, _)| !named.contains(&name.as_str()) && name.contains("__")).cloned() {
            put(&mut table, &name, value)?;
        }
        if let Some(listen) = &settings.listen {
            section(&mut table, "server")?.insert("listen".to_owned(), Value::String(listen.clone()));
        }
        let mut config: Self =
            table.try_into().map_err(|error: toml::de::Error| anyhow::anyhow!("configuration: {}", explained(&error)))?;
        for provider in &mut config.providers {
            if let Some(name) = &provider.api_key_env {
                let key =
                    variable(name).with_context(|| format!("provider {}: the environment variable {name} is not set", provider.slug))?;
                provider.api_key = Some(key);
            }
            if let Some(name) = &provider.proxy_url_env {
                let url =
                    variable(name).with_context(|| format!("provider {}: the environment variable {name} is not set", provider.slug))?;
                provider.proxy_url = Some(url);
            }
            for key in &mut provider.keys {
                if let Some(name) = &key.api_key_env {
                    let value = variable(name)
                        .with_context(|| format!("provider {}: the environment variable {name} is not set", provider.slug))?;
                    key.api_key = Some(value);
                }
                if key.api_key.is_none() {
                    bail!("configuration: provider {}: each of its keys needs api_key_env or api_key", provider.slug);
                }
            }
        }
        if config.archive.keep_days.is_some_and(|days| !(days.is_finite() && days >= 0.0)) {
            bail!("configuration: archive.keep_days must be a number of days, 0 or more; leave it out to keep all events in the streams");
        }
        config.exports.iter().try_for_each(ExportConfig::check)?;
        if config.internal.secret.as_ref().is_some_and(|secret| secret.0.len() < 32) {
            bail!("configuration: internal.secret must have at least 32 characters");
        }
        if config.operator.token.as_ref().is_some_and(|token| token.0.len() < 16) {
            bail!("configuration: operator.token must have at least 16 characters");
        }
        if let Some(point) = variable(failpoint::VARIABLE)
            && !failpoint::arm(&point)
        {
            bail!("{}: this build has no failpoint {point}; failpoints are for tests", failpoint::VARIABLE);
        }
        if let Some(seconds) = variable(clock::SHIFT_VARIABLE)
            && !seconds.parse().is_ok_and(clock::shift)
        {
            bail!("{}: only a debug build moves its clock, by a number of seconds", clock::SHIFT_VARIABLE);
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not valid TOML", path.display()))
}

pub fn section<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table> {
    let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().with_context(|| format!("configuration: {name} is not a section that environment variables can set"))
}

/// Formats the error in one line; for an unknown name it suggests the nearest known one.
fn explained(error: &toml::de::Error) -> String {
    let message = error.message().trim();
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            let nearest =
                known.iter().max_by(|one, other| strsim::jaro_winkler(unknown, one).total_cmp(&strsim::jaro_winkler(unknown, other)));
            nearest.map_or_else(|| message.to_owned(), |nearest| format!("unknown key `{unknown}`: did you mean `{nearest}`?"))
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let table: Table = "[server]\nlisten_on = \"x\"".parse().unwrap();
        let error = table.try_into::<Config>().err().unwrap();
        assert_eq!(explained(&error), "unknown key `listen_on`: did you mean `listen`?");
    }

    #[test]
    fn a_price_is_a_number_or_a_string() {
        let model =
            |prompt: &str| format!("[[models]]\nid = \"a/b\"\nprovider = \"a\"\nprompt_usd_per_mtok = {prompt}\ncontext_length = 1\n");
        let read = |prompt: &str| model(prompt).parse::<Table>().unwrap().try_into::<Config>();
        for (written, exact) in [("0.2", "0.2"), ("3", "3"), ("1e-7", "0.0000001"), ("\"0.15\"", "0.15")] {
            assert_eq!(read(written).unwrap().models[0].prompt_usd_per_mtok.as_ref().unwrap().0, exact);
        }
        assert!(read("true").is_err());
    }

    #[test]
    fn the_example_file_reads() {
        let table: Table = include_str!("../../../arouter.example.toml").parse().unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!(config.providers.len(), 2);
    }
}
