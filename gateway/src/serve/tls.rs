//! TLS on the listener: a certificate chain and its key from two files, which are read again after a change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The interval at which the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An error that makes the certificate unusable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Only one of the two files is configured.
    #[error("set both server.tls_cert and server.tls_key, or neither")]
    Half,
    /// A file cannot be read, or is not a PEM file of the expected kind.
    #[error("cannot use {path}: {cause}; it must be a PEM file")]
    File { path: PathBuf, cause: rustls::pki_types::pem::Error },
    /// The key does not belong to the certificate, or is of an unsupported kind.
    #[error("the certificate {path} and its key cannot be used: {cause}")]
    Pair {
        /// The file of the certificate.
        path: PathBuf,
        cause: rustls::Error,
    },
}

/// The certificate with which connections are accepted.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<TlsAcceptor>,
}

impl Certificate {
    /// Loads the certificate from these files; `None` if none is configured.
    ///
    /// # Errors
    /// Fails if only one file is configured, or if the files cannot be used.
    pub fn load(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<Arc<Self>>, TlsError> {
        match (cert, key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => {
                let current = RwLock::new(acceptor(cert, key)?);
                Ok(Some(Arc::new(Self { cert: cert.clone(), key: key.clone(), current })))
            }
            (Some(_), None) | (None, Some(_)) => Err(TlsError::Half),
        }
    }

    /// Returns a TLS acceptor with the newest certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again after each change, until `stop`. Unusable files leave the certificate as it is.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.changed_at();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = self.changed_at();
            if now == seen {
                continue;
            }
            match acceptor(&self.cert, &self.key) {
                Ok(acceptor) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                    seen = now;
                    tracing::info!(path = %self.cert.display(), "the certificate {} was read again", self.cert.display());
                }
                // The files are tried again at the next check, because they may be written one after the other.
                Err(error) => tracing::error!(%error, "the old certificate stays in use: {error}"),
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::File { path, cause }
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(of(cert))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(of(key))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|cause| TlsError::Pair { path: cert.to_owned(), cause })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
