//! Annotations of texts, which are citations.

use serde::Serialize;
use serde_json::value::RawValue;

use super::items::{member, present};
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Citation, Json};

/// An annotation as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Annotation<'a> {
    Url {
        #[serde(rename = "type")]
        kind: &'static str,
        url: &'a str,
        title: &'a str,
        start_index: u64,
        end_index: u64,
    },
    Opaque(&'a Json<'a>),
}

impl<'a> Annotation<'a> {
    /// Returns the annotation of a citation; `None` for a citation of another format. A citation without a range stands for the whole
    /// text, because the range is required.
    pub fn of(citation: &'a Citation<'_>, text: &str) -> Option<Self> {
        match citation {
            Citation::Url { url, title, start, end } => Some(Self::Url {
                kind: "url_citation",
                url,
                title: title.as_deref().unwrap_or(url),
                start_index: start.unwrap_or(0),
                end_index: end.unwrap_or_else(|| u64::try_from(text.chars().count()).unwrap_or(u64::MAX)),
            }),
            Citation::Opaque { format: Format::Responses, raw } => Some(Self::Opaque(raw)),
            Citation::Opaque { format: Format::Chat | Format::Messages | Format::Generate | Format::Embeddings(_), .. } => None,
        }
    }

    /// Returns the annotations of a text.
    pub fn all(citations: &'a [Citation<'_>], text: &str) -> Vec<Self> {
        citations.iter().filter_map(|citation| Self::of(citation, text)).collect()
    }
}

/// Reads an annotation.
pub fn read(raw: &RawValue) -> Citation<'_> {
    url(raw).unwrap_or_else(|| Citation::Opaque { format: Format::Responses, raw: raw.into() })
}

fn url(raw: &RawValue) -> Option<Citation<'_>> {
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    if member(&fields, "type")? != "url_citation" {
        return None;
    }
    let index = |name: &str| present(&fields, name).and_then(|raw| serde_json::from_str(raw.get()).ok());
    Some(Citation::Url {
        url: member(&fields, "url")?,
        title: member(&fields, "title"),
        start: index("start_index"),
        end: index("end_index"),
    })
}
