//! Settings of scheduled exports.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Deserialize;

/// A report of one account that is written after each period.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// The name of the export, which is the folder of its files below `url`.
    pub name: String,
    /// The account's id.
    pub account: String,
    pub report: ExportReport,
    pub every: Every,
    pub format: ExportFormat,
    /// The groups of `activity`, with commas between.
    #[serde(default = "by_model")]
    pub group_by: String,
    /// A folder, or `s3://BUCKET/PATH`.
    pub url: String,
    /// Options of the object store, such as `aws_region` and `aws_endpoint`. Environment variables `AWS_…` are used too.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The minutes after the end of a period for which its last events are awaited.
    #[serde(default = "an_hour")]
    pub delay_minutes: u32,
}

/// The content of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportReport {
    /// Spend, tokens and requests by groups.
    Activity,
    /// One row for each request.
    Requests,
    /// The monthly statement.
    Statement,
}

/// The period of an export, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    Day,
    Month,
}

/// The format of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    Csv,
    Pdf,
    Parquet,
}

impl ExportFormat {
    /// Returns the value of `format` in the API, which is the extension of the files too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Pdf => "pdf",
            Self::Parquet => "parquet",
        }
    }
}

fn by_model() -> String {
    "model".to_owned()
}

const fn an_hour() -> u32 {
    60
}

impl ExportConfig {
    /// # Errors
    /// Fails for a name that is no folder, and for a report that does not exist in the format or for the period.
    pub fn check(&self) -> Result<()> {
        let Self { name, report, every, format, .. } = self;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(is_name) {
            bail!("configuration: exports: the name {name:?} is a folder too: write letters, digits, - and _");
        }
        match (report, every, format) {
            (ExportReport::Statement, Every::Day, _) => {
                bail!("configuration: export {name}: a statement is monthly: write every = \"month\"")
            }
            (ExportReport::Requests, _, ExportFormat::Pdf) => {
                bail!("configuration: export {name}: requests are a table: write format = \"csv\" or \"parquet\"")
            }
            (ExportReport::Activity | ExportReport::Statement, _, ExportFormat::Parquet) => {
                bail!("configuration: export {name}: Parquet has single requests: write report = \"requests\"")
            }
            (ExportReport::Statement, Every::Month, ExportFormat::Csv | ExportFormat::Pdf)
            | (ExportReport::Activity, _, ExportFormat::Csv | ExportFormat::Pdf)
            | (ExportReport::Requests, _, ExportFormat::Csv | ExportFormat::Parquet) => Ok(()),
        }
    }
}
