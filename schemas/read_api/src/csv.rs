//! Tables as CSV: RFC 4180, UTF-8, `\r\n`, a header row, and no cell that a spreadsheet would run.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;

use crate::{AsOf, ReadError};

/// The first characters of formulas. Spreadsheets skip white space and control characters, and treat full-width signs like ASCII ones.
const FORMULA: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Prefixes text that begins like a formula with an apostrophe.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text of a table, or of a part of it.
pub struct Table(csv::Writer<Vec<u8>>);

impl Table {
    /// An empty part, without a header row.
    #[must_use]
    pub fn new() -> Self {
        Self(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new()))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Fails if the row has another number of cells than the one before.
    pub fn row<Cell: AsRef<[u8]>>(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<(), ReadError> {
        self.0.write_record(cells).map_err(|_| ReadError::Internal)
    }

    /// Returns the text of all rows.
    ///
    /// # Errors
    /// Never fails in practice, because memory takes all bytes.
    pub fn into_bytes(self) -> Result<Vec<u8>, ReadError> {
        self.0.into_inner().map_err(|_| ReadError::Internal)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds the response with a table; the cursor of the next part is in `X-Next-Cursor`.
///
/// # Errors
/// Fails if a row has another number of cells than the header.
pub fn respond(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    as_of: &AsOf,
    next_cursor: Option<&str>,
) -> Result<Response, ReadError> {
    let mut table = Table::new();
    table.row(header)?;
    for row in rows {
        table.row(row)?;
    }
    Ok(response(Body::from(table.into_bytes()?), as_of, next_cursor))
}

/// Builds the response with a table that is made while it is sent. An error ends the connection, so that the client sees that the table
/// is not complete.
pub fn stream(parts: impl Stream<Item = Result<Vec<u8>, ReadError>> + Send + 'static, as_of: &AsOf) -> Response {
    response(Body::from_stream(parts), as_of, None)
}

fn response(body: Body, as_of: &AsOf, next_cursor: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let extras = [("x-as-of", Some(as_of.to_header())), ("x-next-cursor", next_cursor.map(str::to_owned))];
    for (name, value) in extras {
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    (headers, body).into_response()
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
