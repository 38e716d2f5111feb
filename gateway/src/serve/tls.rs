//! TLS on the listener: a certificate chain and its key from two files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two is missing.
    #[error("set both server.tls_cert and server.tls_key, or neither")]
    Half,
    /// A file cannot be read, or is no PEM file of that kind.
    #[error("cannot use {path}: {cause}; it must be a PEM file")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: rustls::pki_types::pem::Error,
    },
    /// The key does not belong to the certificate, or is of no known kind.
    #[error("the certificate {path} and its key cannot be used: {cause}")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// The certificate that connections are accepted with.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<TlsAcceptor>,
}

impl Certificate {
    /// The certificate in these files; none when none is configured.
    ///
    /// # Errors
    /// When the files cannot be used.
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

    /// Accepts connections with the newest certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again whenever they change, until `stop`. Files that cannot be used change nothing.
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
                // Tried again: the two files may be written one after the other.
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
