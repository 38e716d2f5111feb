//! Tables as CSV: RFC 4180, UTF-8, `\r\n`, a header row, and no cell that a spreadsheet would run.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::{AsOf, ReadError};

/// What a formula may begin with: spreadsheets pass over white space and control characters, and read full-width signs like ours.
const FORMULA: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// A text cell that begins like a formula gets a leading apostrophe.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The answer with a table; a cursor to the next part is in `X-Next-Cursor`.
///
/// # Errors
/// When a row cannot be written.
pub fn respond(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    as_of: &AsOf,
    next_cursor: Option<&str>,
) -> Result<Response, ReadError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(header).map_err(|_| ReadError::Internal)?;
    for row in rows {
        writer.write_record(row).map_err(|_| ReadError::Internal)?;
    }
    let bytes = writer.into_inner().map_err(|_| ReadError::Internal)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let extras = [("x-as-of", Some(as_of.to_header())), ("x-next-cursor", next_cursor.map(str::to_owned))];
    for (name, value) in extras {
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        assert_eq!(safe("=1+1"), "'=1+1");
        assert_eq!(safe("@x"), "'@x");
        assert_eq!(safe("plain - text"), "plain - text");
    }
}
