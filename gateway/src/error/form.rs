//! The form of errors on a route: the format of its clients, and the kind of code that they read.

use wire::call::Format;

/// The paths below `/api` that clients of OpenRouter call. Their errors have the status as code.
const OPENROUTER: [&str; 5] = ["/api/v1/chat/completions", "/api/v1/responses", "/api/v1/messages", "/api/v1/embeddings", "/api/v1/models"];

/// The form of errors on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorForm {
    pub format: Format,
    /// Whether `error.code` is the status instead of a word.
    pub has_status_code: bool,
}

impl ErrorForm {
    /// Returns the form at a path, for errors that no route has a part in.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let is_anthropic = path.strip_prefix("/api").unwrap_or(path).starts_with("/v1/messages");
        let vendor = if is_anthropic { Format::Messages } else { Format::Chat };
        Self::at(path, if path.starts_with("/v1beta/") { Format::Generate } else { vendor })
    }

    /// Returns the form of a format at a path.
    #[must_use]
    pub fn at(path: &str, format: Format) -> Self {
        let is_below = |route: &&str| path.strip_prefix(*route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Self { format, has_status_code: OPENROUTER.iter().any(is_below) }
    }
}

impl From<Format> for ErrorForm {
    fn from(format: Format) -> Self {
        Self { format, has_status_code: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_outside_of_routes_have_the_format_of_their_clients() {
        let of = |path| ErrorForm::of_path(path).format;
        assert_eq!((of("/v1/messages/count_tokens"), of("/api/v1/messages")), (Format::Messages, Format::Messages));
        assert_eq!((of("/v1beta/models/g:generateContent"), of("/v1/chat/completions")), (Format::Generate, Format::Chat));
    }

    #[test]
    fn only_inference_routes_below_api_have_the_status_as_code() {
        let of = |path| ErrorForm::at(path, Format::Chat).has_status_code;
        assert!(of("/api/v1/chat/completions") && of("/api/v1/models") && of("/api/v1/models/a/b"));
        assert!(!of("/v1/chat/completions") && !of("/api/v1/keys") && !of("/api/v1/modelsx"));
    }
}
