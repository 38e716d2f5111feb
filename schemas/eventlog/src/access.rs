//! Access to NATS: addresses, credentials and TLS.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use async_nats::{ConnectOptions, ServerAddr};
use url::Url;

/// The default port of NATS.
const PORT: u16 = 4222;

/// The addresses of NATS, and the credentials and TLS settings used there.
#[derive(Clone, Default)]
pub struct Access {
    /// Addresses without credentials; several are the seeds of one cluster.
    pub servers: Vec<String>,
    pub credentials: Credentials,
    /// A file of authority certificates (PEM) that are trusted in addition to the system's.
    pub tls_ca: Option<PathBuf>,
    /// The client certificate and its key (PEM), for servers that require one.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Whether a server without authentication is accepted, which lets everybody who reaches it write to the log.
    pub allow_unauthenticated: bool,
}

/// The credentials of a client.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    Password(String, String),
    Token(String),
    /// The seed of an nkey.
    Nkey(String),
    /// A file with a JWT and a seed.
    File(PathBuf),
}

/// The error for a malformed address.
#[derive(Debug, thiserror::Error)]
#[error("the NATS address {0} cannot be used: write nats://HOST:PORT, tls://HOST:PORT, or several with commas between")]
pub struct BadAddress(String);

impl FromStr for Access {
    type Err = BadAddress;

    /// Parses one address, or several separated by commas. Credentials are removed from the addresses; the first ones apply to all.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let mut access = Self::default();
        for (number, address) in text.split(',').map(str::trim).filter(|address| !address.is_empty()).enumerate() {
            // The error does not show the address, which may contain a password.
            let bad = || BadAddress(format!("number {}", number + 1));
            let address = if address.contains("://") { address.to_owned() } else { format!("nats://{address}") };
            let mut url = Url::parse(&address).map_err(|_| bad())?;
            let of = |part: &str| percent_decode(part).ok_or_else(bad);
            let credentials = match (url.username(), url.password()) {
                ("", None) => Credentials::None,
                (token, None) => Credentials::Token(of(token)?),
                (user, Some(password)) => Credentials::Password(of(user)?, of(password)?),
            };
            if matches!(access.credentials, Credentials::None) {
                access.credentials = credentials;
            }
            if url.set_username("").and_then(|()| url.set_password(None)).is_err() || url.host_str().is_none() {
                return Err(bad());
            }
            let (scheme, host, port) = (url.scheme(), url.host_str().unwrap_or_default(), url.port().unwrap_or(PORT));
            access.servers.push(format!("{scheme}://{host}:{port}"));
        }
        if access.servers.is_empty() { Err(BadAddress("(empty)".to_owned())) } else { Ok(access) }
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit(rest.next())? * 16 + digit(rest.next())?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Access {
    /// Writes the addresses without credentials.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.servers.join(","))
    }
}

impl Access {
    /// Returns the addresses with the credentials in them, for tools that accept nothing else.
    #[must_use]
    pub fn to_url(&self) -> String {
        let with = |server: &String| match &self.credentials {
            Credentials::Password(user, password) => server.replacen("://", &format!("://{user}:{password}@"), 1),
            Credentials::Token(token) => server.replacen("://", &format!("://{token}@"), 1),
            Credentials::None | Credentials::Nkey(_) | Credentials::File(_) => server.clone(),
        };
        self.servers.iter().map(with).collect::<Vec<_>>().join(",")
    }

    /// Parses the addresses for the NATS client.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, BadAddress> {
        self.servers.iter().map(|server| server.parse().map_err(|_| BadAddress(server.clone()))).collect()
    }

    /// Returns the options of the NATS client.
    ///
    /// # Errors
    /// Fails if the credentials file cannot be read.
    pub(crate) async fn options(&self) -> io::Result<ConnectOptions> {
        let mut options = match &self.credentials {
            Credentials::None => ConnectOptions::new(),
            Credentials::Password(user, password) => ConnectOptions::with_user_and_password(user.clone(), password.clone()),
            Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
            Credentials::Nkey(seed) => ConnectOptions::with_nkey(seed.clone()),
            Credentials::File(path) => ConnectOptions::with_credentials_file(path).await?,
        };
        if let Some(authorities) = &self.tls_ca {
            options = options.add_root_certificates(authorities.clone()).require_tls(true);
        }
        if let Some((cert, key)) = &self.tls_identity {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_addresses_and_never_shown() {
        let access: Access = "nats://user:p%40ss@10.0.0.1:4222, tls://10.0.0.2,10.0.0.3:4333".parse().ok().unwrap();
        assert_eq!(access.to_string(), "nats://10.0.0.1:4222,tls://10.0.0.2:4222,nats://10.0.0.3:4333");
        assert!(matches!(&access.credentials, Credentials::Password(user, password) if user == "user" && password == "p@ss"));
        let token: Access = "nats://secret@h:1".parse().ok().unwrap();
        assert!(matches!(&token.credentials, Credentials::Token(token) if token == "secret"));
        assert_eq!(token.to_url(), "nats://secret@h:1");
        for bad in ["", " , ", "nats://", "http://user:secret@[::1"] {
            let error = bad.parse::<Access>().err().unwrap().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
