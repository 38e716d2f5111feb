//! The activity report as PDF: totals, a chart for each metric, and the rows.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use events::clock::{parse_rfc3339, rfc3339};
use pdf::{Align, Chart, Column, Document, Fonts, Paper, Section, Series, Table, Total, grouped};
use read_api::{Http, ReadError};

use super::query::{Asked, Group, SEPARATOR};
use super::report::ActivityReport;
use super::rows::ActivityRow;
use crate::projections::usage::sums::Sums;
use crate::projections::usage::width::{DAY_US, Width};

/// The maximum number of rows on paper; a table of more is for a machine.
pub const ROWS_MAX: usize = 5_000;
/// The time after the end of a period after which no event of it is on its way.
const SETTLED_US: i64 = DAY_US;

/// Answers with the report of a query.
///
/// # Errors
/// Fails if the database does, or if the document cannot be written.
pub async fn respond(http: &Http, asked: Asked, paper: Paper) -> Result<Response, ReadError> {
    let report = ActivityReport::read(http, &asked).await?;
    let as_of = report.as_of.to_header();
    let written = tokio::task::spawn_blocking(move || pdf::render_with(&document(&report, &asked, paper), Fonts::embedded()));
    let bytes = written.await.map_err(|_| ReadError::Internal)?.map_err(|error| {
        tracing::error!(%error, "the activity report cannot be written as PDF: {error}");
        ReadError::Internal
    })?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/pdf"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"activity.pdf\""));
    if let Ok(as_of) = HeaderValue::from_str(&as_of) {
        headers.insert("x-as-of", as_of);
    }
    Ok(response)
}

fn document(report: &ActivityReport, asked: &Asked, paper: Paper) -> Document {
    let edges = (asked.period.edges_us.first(), asked.period.edges_us.last());
    let (start_us, end_us) = (edges.0.copied().unwrap_or_default(), edges.1.copied().unwrap_or_default());
    let as_of_us = parse_rfc3339(&report.as_of.time).unwrap_or_default();
    // The page of a period that is over must not change with later events.
    let is_settled = as_of_us >= end_us.saturating_add(SETTLED_US);
    let footer = match report.as_of.event.as_deref() {
        Some(_) if is_settled => format!("Covers every event of the period, which ended at {}", rfc3339(end_us)),
        Some(event) if report.as_of.lag_ms > 0 => format!("Up to event {event}, {} ms behind the log", report.as_of.lag_ms),
        Some(event) => format!("Up to event {event}, the newest one"),
        None => "No event has been read yet".to_owned(),
    };
    let groups: Vec<&str> = asked.groups.iter().map(|group| group.name()).collect();
    let totals = &report.totals;
    let total = |label: &str, value: String, note: String| Total { label: label.to_owned(), value: grouped(&value), note };
    let count = |count: i64| grouped(&count.to_string());
    let tokens = format!("{} prompt, {} completion", count(totals.prompt_tokens), count(totals.completion_tokens));
    let mut sections = vec![
        Section::Totals(vec![
            total("Spend", totals.spend.to_decimals(), "USD".to_owned()),
            total("Tokens", totals.total_tokens().to_string(), tokens),
            total("Requests", totals.requests.to_string(), format!("{} failed", count(totals.errors))),
        ]),
        Section::Chart(chart(report, asked.period.width, ("Spend", "USD", 9), |sums| sums.spend.0)),
        Section::Chart(chart(report, asked.period.width, ("Tokens", "tokens", 0), Sums::total_tokens)),
        Section::Chart(chart(report, asked.period.width, ("Requests", "requests", 0), |sums| sums.requests)),
        Section::Table(table(report, asked)),
    ];
    if report.next_cursor.is_some() {
        sections.push(Section::Text(format!(
            "The table shows the first {} rows; format=csv has all of them.",
            grouped(&report.rows.len().to_string())
        )));
    }
    Document {
        title: "Activity".to_owned(),
        subtitle: format!("By {}; all times are UTC", groups.join(", ")),
        facts: vec![
            ("Account".to_owned(), asked.selection.account.clone()),
            ("Period".to_owned(), format!("{} to {}", rfc3339(start_us), rfc3339(end_us))),
        ],
        paper,
        language: "en".to_owned(),
        footer,
        created_us: if is_settled { end_us } else { report.series.last().map_or(start_us, |bucket| bucket.start_us) },
        sections,
    }
}

fn chart(report: &ActivityReport, width: Width, (title, unit, decimals): (&str, &str, u32), of: impl Fn(&Sums) -> i64) -> Chart {
    Chart {
        title: title.to_owned(),
        unit: unit.to_owned(),
        decimals,
        labels: report.series.iter().map(|bucket| label(width, bucket.start_us)).collect(),
        series: vec![Series { name: title.to_owned(), values: report.series.iter().map(|bucket| of(&bucket.sums)).collect() }],
    }
}

/// Returns the part of a bucket's start that tells it from its neighbours.
fn label(width: Width, start_us: i64) -> String {
    let text = rfc3339(start_us);
    let part = match width {
        Width::Minute => text.get(11..16),
        Width::Hour => text.get(5..16),
        Width::Day => text.get(..10),
        Width::Month => text.get(..7),
    };
    part.unwrap_or(&text).replace('T', " ")
}

fn table(report: &ActivityReport, asked: &Asked) -> Table {
    let column = |title: &str, align, weight| Column { title: title.to_owned(), align, weight };
    let figures = ["Spend, USD", "Requests", "Prompt", "Completion", "Tokens"];
    let mut columns = vec![column("From", Align::Left, 2), column("Group", Align::Left, 4)];
    columns.extend(figures.map(|title| column(title, Align::Right, 1)));
    let row = |row: &ActivityRow| {
        let start = rfc3339(row.start_us).get(..16).unwrap_or_default().replace('T', " ");
        [vec![start, group(row, report, asked)], cells(&row.sums).to_vec()].concat()
    };
    let total = [vec!["Total".to_owned(), String::new()], cells(&report.totals).to_vec()].concat();
    Table {
        title: "Rows".to_owned(),
        columns,
        rows: report.rows.iter().filter(|row| row.sums.requests > 0).map(row).collect(),
        total: Some(total),
    }
}

fn cells(sums: &Sums) -> [String; 5] {
    let count = |count: i64| grouped(&count.to_string());
    [
        grouped(&sums.spend.to_decimals()),
        count(sums.requests),
        count(sums.prompt_tokens),
        count(sums.completion_tokens),
        count(sums.total_tokens()),
    ]
}

/// Returns the group of a row. A key is shown by its label, which does not change, unlike its name.
fn group(row: &ActivityRow, report: &ActivityReport, asked: &Asked) -> String {
    let shown = |(group, value): (&Group, String)| match group {
        Group::ApiKey => report.keys.get(&value).map_or(value.clone(), |key| key.label.clone()),
        Group::Model | Group::Creator | Group::User | Group::Provider | Group::App => value,
    };
    asked.groups.iter().zip(asked.shown(&row.values)).map(shown).collect::<Vec<_>>().join(SEPARATOR)
}
