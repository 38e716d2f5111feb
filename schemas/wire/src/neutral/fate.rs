//! The fate of fields that only one format has, when a request goes to another format: refused, unless listed as harmless.

use super::{Request, Untranslatable};
use crate::call::Format;
use crate::{chat, generate, messages, responses};

/// Returns the fields of a format that may be dropped on the way to another format, each with the reason.
#[must_use]
pub const fn harmless(source: Format) -> &'static [(&'static str, &'static str)] {
    match source {
        Format::Chat => chat::neutral::HARMLESS,
        Format::Responses => responses::request::HARMLESS,
        Format::Messages => messages::request::HARMLESS,
        Format::Generate => generate::request::HARMLESS,
        Format::Embeddings(_) => &[],
    }
}

/// Checks that a request has no field of its own format that another format would have to honour.
///
/// # Errors
/// Fails with the first such field.
pub fn check(request: &Request<'_>, to: Format) -> Result<(), Untranslatable> {
    if request.source == to {
        return Ok(());
    }
    let harmless = harmless(request.source);
    match request.extras.iter().find(|(name, _)| !harmless.iter().any(|(known, _)| known == name)) {
        None => Ok(()),
        Some((name, _)) => Err(Untranslatable::new(name.clone().into_owned(), "its API has no such field; leave it out")),
    }
}
