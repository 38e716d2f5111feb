//! The addresses of the event log, and the credentials there.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use eventlog::{Access, Credentials};
use serde::Deserialize;

use crate::environment::variable;

/// One server address or several.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "an address, or a list of addresses")]
pub enum Addresses {
    /// One address, or several separated by commas.
    One(String),
    /// The seed servers of a cluster.
    Several(Vec<String>),
}

/// Settings of the event log.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// The addresses of running servers. `None` means that `up` starts its own. Credentials in the addresses are used.
    pub url: Option<Addresses>,
    /// The user name at the servers.
    pub user: Option<String>,
    /// The name of the environment variable that has the user's password.
    pub password_env: Option<String>,
    /// The name of the environment variable that has a token.
    pub token_env: Option<String>,
    /// A file that contains the seed of an nkey.
    pub nkey_seed_file: Option<PathBuf>,
    /// A credentials file with a JWT and a seed.
    pub creds_file: Option<PathBuf>,
    /// A file with the CA certificates (PEM) that the servers' certificates are checked against.
    pub tls_ca: Option<PathBuf>,
    /// The client certificate (PEM), for servers that require one.
    pub tls_cert: Option<PathBuf>,
    /// The private key (PEM) of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Whether a server that requires no credentials is accepted. Anybody who can reach such a server can write to the log.
    pub allow_unauthenticated: bool,
    /// The nats-server program that `up` starts; default: from PATH or `.tools`.
    pub binary: Option<PathBuf>,
    /// The port of the server that `up` starts; 0 selects a free one.
    pub port: u16,
    /// The number of replicas of each stream.
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
    /// Returns the addresses and credentials of the configured servers; `None` if none is configured.
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
