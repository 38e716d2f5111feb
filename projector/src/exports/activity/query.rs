//! The query of an activity report, parsed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pdf::Paper;
use read_api::ReadError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::paper::ROWS_MAX;
use super::selection::{Place, Selection};
use super::sums_body::Metric;
use crate::exports::period::Period;
use crate::projections::usage::Dimension;

/// The default and the greatest number of rows in one JSON answer.
const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// The text between the values of several groups.
pub const SEPARATOR: &str = " | ";

/// The fields of the query.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityQuery {
    /// `1h`, `1d` (the default), `1mo` or `1y` up to now; or `from` and `to`.
    period: Option<String>,
    /// The start, RFC 3339.
    from: Option<String>,
    /// The end, RFC 3339.
    to: Option<String>,
    /// `model` (the default), `api_key`, `creator`, `user`, `provider` or `app`; several with commas between.
    group_by: Option<String>,
    /// `spend`, `tokens` or `requests`; all if absent.
    metric: Option<String>,
    user: Option<String>,
    model: Option<String>,
    key_hash: Option<String>,
    provider: Option<String>,
    app: Option<String>,
    /// `json`, the default, `csv`, `pdf` or, with `detail=true`, `parquet`.
    format: Option<String>,
    /// With `format=csv` or `parquet`: one row a request, of the last 90 days.
    detail: Option<bool>,
    /// Of a PDF: `a4`, the default, or `letter`.
    paper: Option<String>,
    /// The most rows of a page.
    #[param(minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<usize>,
    /// The `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// OpenRouter's parameter: one of the last 30 completed days, such as `2026-01-31`. The answer has OpenRouter's shape.
    pub date: Option<String>,
    /// OpenRouter's parameter, with OpenRouter's answer.
    pub api_key_hash: Option<String>,
    /// OpenRouter's parameter, with OpenRouter's answer.
    pub user_id: Option<String>,
}

/// A value of `group_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Model,
    ApiKey,
    /// The owner of the key. Events do not name a creator, so it is the account.
    Creator,
    User,
    Provider,
    App,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Json,
    Csv,
    /// One row a request.
    Detail(DetailFormat),
    /// PDF.
    Paper(Paper),
}

/// The format of a table of single requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailFormat {
    Csv,
    Parquet,
}

/// A valid query of one account.
#[derive(Debug, Clone)]
pub struct Asked {
    pub period: Period,
    pub groups: Vec<Group>,
    pub selection: Selection,
    pub metric: Option<Metric>,
    pub output: Output,
    pub limit: usize,
    pub after: Option<Place>,
}

impl Group {
    const ALL: [Self; 6] = [Self::Model, Self::ApiKey, Self::Creator, Self::User, Self::Provider, Self::App];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::ApiKey => "api_key",
            Self::Creator => "creator",
            Self::User => "user",
            Self::Provider => "provider",
            Self::App => "app",
        }
    }

    const fn dimension(self) -> Dimension {
        match self {
            Self::Model => Dimension::Model,
            Self::ApiKey => Dimension::Key,
            Self::Creator => Dimension::All,
            Self::User => Dimension::User,
            Self::Provider => Dimension::Provider,
            Self::App => Dimension::App,
        }
    }

    fn parse(names: &str) -> Result<Vec<Self>, ReadError> {
        let mut groups = Vec::new();
        for name in names.split(',') {
            let group = Self::ALL.into_iter().find(|group| group.name() == name.trim());
            let group = group.filter(|group| !groups.contains(group)).ok_or_else(|| {
                ReadError::bad("group_by", "it must be one or several of model, api_key, creator, user, provider, app, with commas between")
            })?;
            groups.push(group);
        }
        Ok(groups)
    }
}

impl Asked {
    /// Returns the values of a row as the answer shows them.
    #[must_use]
    pub fn shown(&self, values: &[String]) -> Vec<String> {
        let shown = |(group, value): (&Group, &String)| match group {
            Group::Creator => self.selection.account.clone(),
            Group::Model | Group::ApiKey | Group::User | Group::Provider | Group::App => value.clone(),
        };
        self.groups.iter().zip(values).map(shown).collect()
    }
}

impl ActivityQuery {
    /// Returns whether a parameter of OpenRouter asks for OpenRouter's answer.
    #[must_use]
    pub const fn is_by_date(&self) -> bool {
        self.date.is_some() || self.api_key_hash.is_some() || self.user_id.is_some()
    }

    /// Returns the first of our own parameters, which OpenRouter's answer does not have.
    #[must_use]
    pub fn own_field(&self) -> Option<&'static str> {
        let texts = [
            ("period", &self.period),
            ("from", &self.from),
            ("to", &self.to),
            ("group_by", &self.group_by),
            ("metric", &self.metric),
            ("user", &self.user),
            ("model", &self.model),
            ("key_hash", &self.key_hash),
            ("provider", &self.provider),
            ("app", &self.app),
            ("format", &self.format),
            ("cursor", &self.cursor),
        ];
        texts.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name)
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// 400 naming the field.
    pub fn parse(self, account: &str, now_us: i64) -> Result<Asked, ReadError> {
        let paper = match self.paper.as_deref() {
            None | Some("a4") => Paper::A4,
            Some("letter") => Paper::Letter,
            Some(_) => return Err(ReadError::bad("paper", "it must be a4 or letter")),
        };
        let output = match (self.format.as_deref(), self.detail.unwrap_or(false)) {
            (None | Some("json"), false) => Output::Json,
            (Some("csv"), false) => Output::Csv,
            (Some("csv"), true) => Output::Detail(DetailFormat::Csv),
            (Some("parquet"), true) => Output::Detail(DetailFormat::Parquet),
            (Some("parquet"), false) => return Err(ReadError::bad("format", "parquet is a table of single requests: add detail=true")),
            (Some("pdf"), false) => Output::Paper(paper),
            (None | Some("json" | "pdf"), true) => return Err(ReadError::bad("detail", "it needs format=csv or parquet")),
            (Some(_), _) => return Err(ReadError::bad("format", "it must be json, csv, pdf or parquet")),
        };
        let metric = match self.metric.as_deref() {
            None | Some("all") => None,
            Some("spend") => Some(Metric::Spend),
            Some("tokens") => Some(Metric::Tokens),
            Some("requests") => Some(Metric::Requests),
            Some(_) => return Err(ReadError::bad("metric", "it must be spend, tokens or requests")),
        };
        let period = Period::try_new(self.period.as_deref(), self.from.as_deref(), self.to.as_deref(), now_us)?;
        let groups = Group::parse(self.group_by.as_deref().unwrap_or("model"))?;
        let limit = self.limit.unwrap_or(if matches!(output, Output::Paper(_)) { ROWS_MAX } else { LIMIT_DEFAULT });
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ReadError::bad("limit", "it must be a whole number from 1 to 10000"));
        }
        let after = self.cursor.as_deref().map(|cursor| read_cursor(cursor, &groups, &period)).transpose()?;
        let filters = [
            (Dimension::User, self.user),
            (Dimension::Model, self.model),
            (Dimension::Key, self.key_hash),
            (Dimension::Provider, self.provider),
            (Dimension::App, self.app),
        ];
        let filters: BTreeMap<_, _> =
            filters.into_iter().filter_map(|(of, value)| Some((of, value.filter(|value| !value.is_empty())?))).collect();
        let selection = Selection { account: account.to_owned(), groups: groups.iter().map(|group| group.dimension()).collect(), filters };
        Ok(Asked { period, groups, selection, metric, output, limit, after })
    }
}

/// Returns the cursor that leads to the rows after a place.
#[must_use]
pub fn cursor(place: &Place) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(place.start_us, &place.values)).unwrap_or_default())
}

fn read_cursor(text: &str, groups: &[Group], period: &Period) -> Result<Place, ReadError> {
    let place = || {
        let (start_us, values): (i64, Vec<String>) = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (from_us, to_us) = period.bounds();
        // A period up to now moves on, and so does its first bucket.
        let start_us = start_us.max(from_us);
        let is_storable = values.iter().all(|value| !value.contains('\0'));
        (values.len() == groups.len() && start_us < to_us && is_storable).then_some(Place { start_us, values })
    };
    place().ok_or_else(|| ReadError::bad("cursor", "use the next_cursor of an earlier answer to the same query"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_back_to_their_place_and_others_are_refused() {
        let period = Period::between(0, 7_200_000_000, None).unwrap();
        let place = Place { start_us: 3_600_000_000, values: vec!["a | b".to_owned(), String::new()] };
        let groups = Group::parse("model,user").unwrap();
        assert_eq!(read_cursor(&cursor(&place), &groups, &period).unwrap(), place);
        assert!(read_cursor(&cursor(&place), &groups[..1], &period).is_err());
        assert!(read_cursor("x", &groups, &period).is_err());
        assert!(Group::parse("model,model").is_err() && Group::parse("").is_err() && Group::parse("model,x").is_err());
    }
}
