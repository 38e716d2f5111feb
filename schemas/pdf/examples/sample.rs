//! Writes a report with everything in it: `cargo run -p pdf --example sample -- report.pdf [rows] [bars]`.

use pdf::{Align, Chart, Column, Document, Paper, Section, Series, Table, Total};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "report.pdf".to_owned());
    let rows = arguments.next().map_or(Ok(2_000), |text| text.parse())?;
    let bars = arguments.next().map_or(Ok(31), |text| text.parse())?;
    let document = document(rows, bars);
    let start = std::time::Instant::now();
    let bytes = pdf::render(&document)?;
    println!("{} bytes in {} ms", bytes.len(), start.elapsed().as_millis());
    std::fs::write(path, bytes)?;
    Ok(())
}

fn document(rows: usize, bars: usize) -> Document {
    let total = |label: &str, value: &str| Total { label: label.to_owned(), value: value.to_owned(), note: String::new() };
    Document {
        title: "Activity report".to_owned(),
        subtitle: "Requests, tokens and cost by day".to_owned(),
        facts: vec![
            ("Account".to_owned(), "acct_demo · Łódź Ελλάδα Привет Việt Nam 東京 שלום مرحبا".to_owned()),
            ("Period".to_owned(), "2026-10-01 to 2026-10-31 (UTC)".to_owned()),
        ],
        paper: Paper::A4,
        language: "en".to_owned(),
        footer: "Up to event 12,345,678 at 2026-11-01T00:00:04Z · amounts in USD, exact to nine decimals".to_owned(),
        created_us: 1_793_491_204_000_000,
        sections: vec![
            Section::Totals(vec![
                total("Requests", "1,234,567"),
                total("Tokens", "98,765,432,100"),
                total("Cost", "1,234.567890123"),
                total("Models", "17"),
            ]),
            Section::Chart(chart("Cost", "USD", 9, bars, &["Chat", "Messages"])),
            Section::Chart(chart("Requests", "requests", 0, bars, &["All"])),
            Section::Chart(chart("Tokens", "tokens", 0, bars, &["Prompt", "Answer", "Reasoning"])),
            Section::Table(table(rows)),
            Section::Text("Amounts are sums of the postings; nothing is rounded.".to_owned()),
        ],
    }
}

fn chart(title: &str, unit: &str, decimals: u32, bars: usize, names: &[&str]) -> Chart {
    let scale = if decimals == 9 { 1_300_000_000 } else { 1_300 };
    let value = |bar: usize, name: usize| i64::try_from((bar * 7 + name * 5) % 23).unwrap_or_default() * scale;
    let series = names.iter().enumerate();
    Chart {
        title: title.to_owned(),
        unit: unit.to_owned(),
        decimals,
        labels: (0..bars).map(|bar| format!("2026-{:02}-{:02}", bar / 31 + 1, bar % 31 + 1)).collect(),
        series: series
            .map(|(name, text)| Series { name: (*text).to_owned(), values: (0..bars).map(|bar| value(bar, name)).collect() })
            .collect(),
    }
}

fn table(rows: usize) -> Table {
    let long = "A very long name of a key that somebody pasted from a document ".repeat(4);
    let names = [
        "production".to_owned(),
        "=HYPERLINK(\"http://example.com\")".to_owned(),
        "Ключ для отчётов".to_owned(),
        "東京オフィス 김민수 中文".to_owned(),
        "מפתח ראשי (2)".to_owned(),
        "مفتاح التقارير 12".to_owned(),
        long,
        "x".repeat(200),
        "private\u{e000}use \u{1f600}".to_owned(),
    ];
    let left = |title: &str, weight| Column { title: title.to_owned(), align: Align::Left, weight };
    let right = |title: &str| Column { title: title.to_owned(), align: Align::Right, weight: 1 };
    let row = |row: usize| {
        vec![
            format!("2026-10-{:02}", row % 31 + 1),
            names.get(row % names.len()).cloned().unwrap_or_default(),
            "anthropic/claude-sonnet-4.5".to_owned(),
            "Anthropic".to_owned(),
            format!("{}", row * 31 % 5_000),
            format!("{}", row * 977 % 100_000),
            format!("{}", row * 131 % 10_000),
            format!("{}.{:09}", row % 90, row * 7_919 % 1_000_000_000),
        ]
    };
    Table {
        title: "By day, key and model".to_owned(),
        columns: vec![
            left("Day", 2),
            left("Key", 4),
            left("Model", 4),
            left("Provider", 2),
            right("Requests"),
            right("Prompt tokens"),
            right("Answer tokens"),
            right("Cost (USD)"),
        ],
        rows: (0..rows).map(row).collect(),
        total: Some(vec![
            "Total".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            "4,999,999".to_owned(),
            "99,999,999".to_owned(),
            "9,999,999".to_owned(),
            "89,123.456789012".to_owned(),
        ]),
    }
}
