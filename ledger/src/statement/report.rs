//! A statement on paper.

use events::Nanos;
use events::clock::parse_rfc3339;
use pdf::{Align, Column, Document, Fonts, Paper, PdfError, Section, Table, Total, grouped};

use super::body::Statement;

/// Writes the statement as PDF, with the embedded fonts only, so that the bytes do not depend on the machine.
///
/// # Errors
/// The document cannot be written.
pub fn report(statement: &Statement, paper: Paper) -> Result<Vec<u8>, PdfError> {
    let end = statement.as_of.time.as_deref();
    let state = if statement.closed { "closed: nothing can be added" } else { "open: transactions may be added" };
    let total = |label: &str, value: String| Total { label: label.to_owned(), value, note: statement.currency.clone() };
    let document = Document {
        title: format!("Statement for {}", statement.month),
        subtitle: format!("All amounts in {}, exact to nine decimals", statement.currency),
        facts: vec![
            ("Account".to_owned(), statement.account.clone()),
            ("Month (UTC)".to_owned(), statement.month.clone()),
            ("State".to_owned(), state.to_owned()),
            ("SHA-256".to_owned(), statement.sha256.clone()),
        ],
        paper,
        language: "en".to_owned(),
        footer: format!("Up to version {} of the account's history, at {}", statement.as_of.version, end.unwrap_or("its beginning")),
        created_us: end.and_then(parse_rfc3339).unwrap_or_default(),
        sections: vec![
            Section::Totals(vec![
                total("Opening balance", shown(statement.opening_balance)),
                total("Closing balance", shown(statement.closing_balance)),
            ]),
            Section::Table(movements(statement)),
            Section::Text(
                "A transaction belongs to the month of its posting. The SHA-256 covers the month's transactions; \
                 \"arouter verify --statement\" proves the JSON or CSV form of this statement against the books."
                    .to_owned(),
            ),
        ],
    };
    pdf::render_with(&document, Fonts::embedded())
}

fn movements(statement: &Statement) -> Table {
    let column = |title: &str, align| Column { title: title.to_owned(), align, weight: 1 };
    let row = |name: &str, count: String, amount: String| vec![name.to_owned(), count, amount];
    let mut rows = vec![row("Opening balance", String::new(), shown(statement.opening_balance))];
    rows.extend(statement.movements.iter().map(|of| row(&of.kind, grouped(&of.count.to_string()), shown(of.amount))));
    Table {
        title: "Movements".to_owned(),
        columns: vec![column("Type", Align::Left), column("Transactions", Align::Right), column("Amount", Align::Right)],
        rows,
        total: Some(row("Closing balance", grouped(&statement.transactions.to_string()), shown(statement.closing_balance))),
    }
}

fn shown(amount: Nanos) -> String {
    grouped(&amount.to_decimals())
}
