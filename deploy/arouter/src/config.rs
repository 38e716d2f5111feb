//! Configuration: a TOML file, and every key also as environment variable `AROUTER_{SECTION}__{KEY}`. Alone here is the environment read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eventlog::archiver::ArchiveTerms;
use eventlog::{Access, Archive, Credentials};
use events::{clock, failpoint};
use gateway::config::{BillingConfig, Decimal, LimitsConfig, ModelConfig, ProviderConfig, ServerConfig, SpoolConfig, UpstreamConfig};
use ledger::lease::Terms;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::Settings;
use crate::simulated::SimulatedConfig;

const PREFIX: &str = "AROUTER_";
/// Variables of ours that are no configuration keys.
const OTHERS: [&str; 1] = ["AROUTER_LOG"];

/// Everything that can be configured.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where requests come in.
    pub server: ServerConfig,
    /// Budgets: what one caller may take of what all share.
    pub limits: LimitsConfig,
    /// Figures for Prometheus.
    pub metrics: MetricsConfig,
    /// This machine.
    pub node: NodeConfig,
    /// What is sold.
    pub billing: BillingConfig,
    /// The first start.
    pub bootstrap: BootstrapConfig,
    /// The event log.
    pub nats: NatsConfig,
    /// The ledger.
    pub ledger: ReaderConfig,
    /// The projector.
    pub projector: ReaderConfig,
    /// What outlives the streams.
    pub archive: ArchiveConfig,
    /// What gateways are lent credit on.
    pub leases: Terms,
    /// The spool.
    pub spool: SpoolConfig,
    /// Calls to providers.
    pub upstream: UpstreamConfig,
    /// The built-in provider, used when no other is configured.
    pub simulated: SimulatedConfig,
    /// What the processes share.
    pub internal: InternalConfig,
    /// The operator.
    pub operator: OperatorConfig,
    /// Providers.
    pub providers: Vec<ProviderConfig>,
    /// Models beside the catalogue's.
    pub models: Vec<ModelConfig>,
}

/// This machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name in events; each gateway needs another.
    pub name: String,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: "node-1".to_owned() }
    }
}

/// The first start.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// What the first account is given, USD.
    pub credit_usd: Decimal,
    /// Its name.
    pub account_name: String,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { credit_usd: Decimal("10".to_owned()), account_name: "main".to_owned() }
    }
}

/// Figures for Prometheus.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Their address, apart from that of requests; they are not served when absent.
    pub listen: Option<SocketAddr>,
}

/// One address, or several.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "an address, or a list of addresses")]
pub enum Addresses {
    /// One; or several, with commas between.
    One(String),
    /// The seeds of a cluster.
    Several(Vec<String>),
}

/// The event log.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers that run already; `up` starts its own when absent. Credentials in them are used.
    pub url: Option<Addresses>,
    /// Our user there.
    pub user: Option<String>,
    /// The environment variable with the user's password.
    pub password_env: Option<String>,
    /// The environment variable with a token.
    pub token_env: Option<String>,
    /// A file with the seed of an nkey.
    pub nkey_seed_file: Option<PathBuf>,
    /// A credentials file: JWT and seed.
    pub creds_file: Option<PathBuf>,
    /// Certificates of authorities (PEM) that servers are trusted by.
    pub tls_ca: Option<PathBuf>,
    /// Our certificate (PEM), for servers that ask for one.
    pub tls_cert: Option<PathBuf>,
    /// The key (PEM) of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Takes a server that asks for no credentials: whoever reaches it can write to the log.
    pub allow_unauthenticated: bool,
    /// The program that `up` starts; default: from PATH or `.tools`.
    pub binary: Option<PathBuf>,
    /// The port of the server that `up` starts; 0 takes a free one.
    pub port: u16,
    /// Copies of each stream.
    pub replicas: usize,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: None,
            user: None,
            password_env: None,
            token_env: None,
            nkey_seed_file: None,
            creds_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            allow_unauthenticated: false,
            binary: None,
            port: 0,
            replicas: 1,
        }
    }
}

impl NatsConfig {
    /// The way to the configured servers; none when none is.
    pub fn access(&self) -> Result<Option<Access>> {
        let url = match &self.url {
            None => return Ok(None),
            Some(Addresses::One(url)) => url.clone(),
            Some(Addresses::Several(urls)) => urls.join(","),
        };
        let mut access: Access = url.parse().context("nats.url")?;
        let from = |name: &String| variable(name).with_context(|| format!("nats: the environment variable {name} is not set"));
        let mut given = Vec::new();
        match (&self.user, &self.password_env) {
            (Some(user), Some(name)) => given.push(Credentials::Password(user.clone(), from(name)?)),
            (None, None) => {}
            (Some(_), None) => bail!("nats.user: set nats.password_env too, the environment variable with its password"),
            (None, Some(_)) => bail!("nats.password_env: set nats.user too"),
        }
        if let Some(name) = &self.token_env {
            given.push(Credentials::Token(from(name)?));
        }
        if let Some(path) = &self.nkey_seed_file {
            let seed = std::fs::read_to_string(path).with_context(|| format!("cannot read nats.nkey_seed_file {}", path.display()))?;
            given.push(Credentials::Nkey(seed.trim().to_owned()));
        }
        given.extend(self.creds_file.clone().map(Credentials::File));
        if given.len() > 1 {
            bail!("nats: give one kind of credentials: user and password_env, token_env, nkey_seed_file or creds_file");
        }
        if let Some(credentials) = given.pop() {
            access.credentials = credentials;
        }
        access.tls_ca.clone_from(&self.tls_ca);
        access.tls_identity = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => bail!("nats: set both tls_cert and tls_key, or neither"),
        };
        access.allow_unauthenticated = self.allow_unauthenticated;
        Ok(Some(access))
    }
}

/// The ledger or the projector.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReaderConfig {
    /// Of the ledger: the file with the keys that its facts are signed with; default: `ledger.signing_key` in the data folder.
    pub signing_key_file: Option<PathBuf>,
    /// `sqlite://PATH` or `postgres://…`; default: a file in the data folder.
    pub database_url: Option<String>,
    /// Where it answers reads when it runs apart.
    pub listen: Option<SocketAddr>,
    /// Where the gateway finds it when it runs apart, such as `http://10.0.0.5:8081`.
    pub url: Option<String>,
}

/// What outlives the streams.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// A folder, or `s3://BUCKET/PATH`; without it nothing is archived.
    pub url: Option<String>,
    /// Of the store, such as `aws_region`, `aws_endpoint`; `AWS_…` variables of the environment count too.
    pub options: BTreeMap<String, String>,
    /// The longest that events wait for their segment.
    pub every_seconds: u32,
    /// A segment's size before compression.
    pub segment_bytes: usize,
    /// Days that archived events stay in their streams; for ever when absent.
    pub keep_days: Option<f64>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        let ArchiveTerms { every_seconds, segment_bytes, keep_days } = ArchiveTerms::default();
        Self { url: None, options: BTreeMap::new(), every_seconds, segment_bytes, keep_days }
    }
}

impl ArchiveConfig {
    /// When segments are written.
    pub const fn terms(&self) -> ArchiveTerms {
        ArchiveTerms { every_seconds: self.every_seconds, segment_bytes: self.segment_bytes, keep_days: self.keep_days }
    }

    /// The archive, when there is one.
    pub fn open(&self) -> Result<Option<Archive>> {
        let Some(url) = &self.url else { return Ok(None) };
        let options = store_variables().into_iter().chain(self.options.clone());
        Ok(Some(Archive::open(url, options)?))
    }
}

/// What the processes share when they run apart.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalConfig {
    /// By which the processes trust each other; at least 32 characters.
    pub secret: Option<Secret>,
}

/// The operator.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorConfig {
    /// At least 16 characters; default: made at the first start, in `operator.token` in the data folder.
    pub token: Option<Secret>,
}

/// A text that no message shows, whatever it looks like: one of digits only is still a text.
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
    /// Reads the file and the environment, and the credentials that providers name.
    pub fn load(settings: &Settings) -> Result<Self> {
        let mut table = match &settings.config {
            None => Table::new(),
            Some(path) => read(path)?,
        };
        for (name, value) in variables() {
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
        }
        if config.archive.keep_days.is_some_and(|days| !(days.is_finite() && days >= 0.0)) {
            bail!("configuration: archive.keep_days must be a number of days, 0 or more; leave it out to keep all events in the streams");
        }
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

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variables() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with(PREFIX) && name.contains("__") && !OTHERS.contains(&name.as_str())).collect()
}

/// What S3-compatible stores read from the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn store_variables() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_lowercase(), value)).collect()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folders in which programs are looked for.
pub fn program_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default()
}

/// `AROUTER_SERVER__LISTEN=…` as `server.listen`.
fn put(table: &mut Table, name: &str, value: String) -> Result<()> {
    let (in_section, key) = name[PREFIX.len()..].split_once("__").unwrap_or_default();
    let value = match (value.parse::<i64>(), value.parse::<bool>()) {
        (Ok(number), _) => Value::Integer(number),
        (_, Ok(truth)) => Value::Boolean(truth),
        _ => Value::String(value),
    };
    section(table, &in_section.to_lowercase())?.insert(key.to_lowercase(), value);
    Ok(())
}

fn section<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table> {
    let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().with_context(|| format!("configuration: {name} is not a section that environment variables can set"))
}

/// The error in one line, with the nearest known name for an unknown one.
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
    fn environment_variables_go_over_the_file() {
        let mut table: Table = "[server]\nlisten = \"127.0.0.1:1\"".parse().unwrap();
        put(&mut table, "AROUTER_SERVER__LISTEN", "127.0.0.1:2".to_owned()).unwrap();
        put(&mut table, "AROUTER_SPOOL__BYTES_MAX", "5".to_owned()).unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!((config.server.listen.port(), config.spool.bytes_max), (2, 5));
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
        let table: Table = include_str!("../../arouter.example.toml").parse().unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!(config.providers.len(), 2);
    }
}
