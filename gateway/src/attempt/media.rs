//! Images, sounds and documents by address, fetched for providers that take only their bytes. A caller chooses the address, so only public
//! addresses are connected to: each one is checked when the name is resolved for the connection itself.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use outbound::{is_public_host, public_only};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use wire::neutral::{MediaKind, Request, Source};

use crate::error::GatewayError;

/// The maximum size of one file, in bytes.
const BYTES_MAX: usize = 20 * 1024 * 1024;
/// The maximum time for one file.
const PATIENCE: Duration = Duration::from_secs(10);
/// The maximum number of files of one request.
const FILES_MAX: usize = 32;
/// The maximum number of redirects.
const REDIRECTS_MAX: usize = 3;
/// Hosts whose files Google fetches itself.
const GOOGLE: [&str; 4] = ["generativelanguage.googleapis.com", "www.youtube.com", "youtube.com", "youtu.be"];

/// The client that fetches files.
pub struct MediaClient {
    http: Client,
    allows_private: bool,
}

/// The reason why a file is not fetched.
#[derive(Debug, thiserror::Error)]
enum MediaError {
    #[error("it is not an http or https address")]
    Scheme,
    #[error("its host is not public")]
    Private,
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("it has more than {} MB", BYTES_MAX / 1024 / 1024)]
    TooLarge,
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("its type {0:?} is none that this model takes")]
    Kind(String),
    #[error("it cannot be fetched")]
    Failed,
}

impl MediaClient {
    /// Creates a client. `allows_private` is for gateways whose callers may reach the operator's own network.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn try_new(allows_private: bool) -> Result<Self, reqwest::Error> {
        let redirects = Policy::custom(move |attempt| {
            let is_fit = attempt.previous().len() <= REDIRECTS_MAX && (allows_private || is_public_host(attempt.url()));
            if is_fit { attempt.follow() } else { attempt.stop() }
        });
        let builder =
            Client::builder().redirect(redirects).timeout(PATIENCE).no_proxy().user_agent(concat!("arouter/", env!("CARGO_PKG_VERSION")));
        let builder = if allows_private { builder } else { public_only(builder) };
        Ok(Self { http: builder.build()?, allows_private })
    }

    /// Replaces every address in a request by the bytes that it names, except those that Google fetches itself.
    ///
    /// # Errors
    /// Returns 400 if a file cannot be fetched, or is not of a fitting type.
    pub async fn inline(&self, request: &mut Request<'_>) -> Result<(), GatewayError> {
        let mut files = 0;
        for media in request.media_mut() {
            let Source::Url(address) = &media.source else { continue };
            let wrong = |error: &MediaError| GatewayError::BadRequest {
                message: format!("The file at {address} is not sent to the model: {error}."),
                param: None,
            };
            let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let Some(url) = url else {
                if address.starts_with("gs://") {
                    continue;
                }
                return Err(wrong(&MediaError::Scheme));
            };
            if url.host_str().is_some_and(|host| GOOGLE.contains(&host)) {
                continue;
            }
            files += 1;
            if files > FILES_MAX {
                let message = format!("A request may name at most {FILES_MAX} files by their address.");
                return Err(GatewayError::BadRequest { message, param: None });
            }
            let fetched = tokio::time::timeout(PATIENCE, self.fetch(url, media.kind)).await.unwrap_or(Err(MediaError::Timeout));
            let (mime, bytes) = fetched.map_err(|error| wrong(&error))?;
            media.source = Source::Base64(STANDARD.encode(&bytes).into());
            media.mime = Some(mime.into());
        }
        Ok(())
    }

    async fn fetch(&self, url: Url, kind: MediaKind) -> Result<(String, BytesMut), MediaError> {
        if !self.allows_private && !is_public_host(&url) {
            return Err(MediaError::Private);
        }
        let mut response =
            self.http.get(url).send().await.map_err(|error| if error.is_timeout() { MediaError::Timeout } else { MediaError::Failed })?;
        if !response.status().is_success() {
            return Err(MediaError::Status(response.status().as_u16()));
        }
        let given = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mime = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !is_fit(&mime, kind) {
            return Err(MediaError::Kind(mime));
        }
        let mut bytes = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|_| MediaError::Failed)? {
            if bytes.len() + piece.len() > BYTES_MAX {
                return Err(MediaError::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((mime, bytes))
    }
}

fn is_fit(mime: &str, kind: MediaKind) -> bool {
    match kind {
        MediaKind::Image => mime.starts_with("image/"),
        MediaKind::Audio => mime.starts_with("audio/"),
        MediaKind::Document => mime == "application/pdf" || mime.starts_with("text/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused_at_the_connection() {
        let _provider = rustls::crypto::ring::default_provider().install_default();
        let client = MediaClient::try_new(false).unwrap();
        let error = client.fetch(Url::parse("http://localhost:1/x.png").unwrap(), MediaKind::Image).await.unwrap_err();
        assert!(matches!(error, MediaError::Failed), "{error}");
        let error = client.fetch(Url::parse("http://127.0.0.1:1/x.png").unwrap(), MediaKind::Image).await.unwrap_err();
        assert!(matches!(error, MediaError::Private), "{error}");
    }
}
