//! Tables as CSV: RFC 4180, UTF-8, `\r\n`, a header row, and no cell that a spreadsheet would run.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::{AsOf, ReadError};

/// The first characters of formulas. Spreadsheets skip white space and control characters, and treat full-width signs like ASCII ones.
const FORMULA: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Prefixes text that begins like a formula with an apostrophe.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Builds the response with a table; the cursor of the next part is in `X-Next-Cursor`.
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
