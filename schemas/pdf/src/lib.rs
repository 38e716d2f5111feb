//! Reports as PDF: data in, bytes out. Tagged (PDF/UA-1, PDF/A-2a), searchable, and the same bytes for the same document.
//!
//! [`document`] is what a report says, `template.toml` how it looks. A report is laid out in whole hundredths of a point on [`sheet`]s, by
//! [`flow`], [`table`] and [`chart`]; then [`mod@print`] writes it.

pub mod document;
pub mod figure;
pub mod template;
pub mod fonts;
pub mod text;
pub mod sheet;
pub mod chart;
pub mod table;
pub mod flow;
pub mod print;

pub use document::{Align, Chart, Column, Document, Paper, Section, Series, Table, Total};
pub use figure::grouped;
pub use fonts::Fonts;

/// The reasons for which no report is made.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    #[error("the template of reports is damaged: {0}")]
    Template(String),
    #[error("the report cannot be written as PDF: {0}")]
    Write(String),
}

/// Writes a report with the embedded fonts, and with a font of this machine for Chinese, Japanese and Korean.
///
/// # Errors
/// Only if the report is too large for the format.
pub fn render(document: &Document) -> Result<Vec<u8>, PdfError> {
    render_with(document, Fonts::installed())
}

/// Writes a report with the given fonts: [`Fonts::embedded`] for bytes that do not depend on the machine.
///
/// # Errors
/// Only if the report is too large for the format.
pub fn render_with(document: &Document, fonts: &Fonts) -> Result<Vec<u8>, PdfError> {
    print::print(document, &flow::lay_out(document, fonts)?, fonts)
}

#[cfg(test)]
mod tests;
