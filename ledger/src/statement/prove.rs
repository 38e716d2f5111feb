//! The proof of a statement: it is computed again from the books and compared field by field.

use eventlog::Store;

use super::body::Statement;
use super::compute::{StatementError, statement};
use super::month::Month;

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("a PDF is for people: give the JSON or the CSV of the same month")]
    Pdf,
    #[error("this is not a statement: {0}")]
    Malformed(String),
    #[error(transparent)]
    Books(#[from] StatementError),
}

/// The outcome of a comparison with the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// All fields are those of the books: account, month, number of transactions.
    Proved { account: String, month: String, transactions: u64 },
    /// The first field that differs.
    Differs { field: String, stated: String, books: String },
}

/// Compares a statement, as JSON or CSV, with the books. An open month is compared with the books as they were at its `as_of`.
///
/// # Errors
/// The file is no statement, or the books have none for its month.
pub async fn prove(store: &Store, file: &[u8]) -> Result<Proof, ProofError> {
    let stated = fields(file)?;
    let field = |name: &str| stated.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    let month: Month = field("month").parse().map_err(|()| ProofError::Malformed("it has no month".to_owned()))?;
    let version = field("as_of.version").parse().map_err(|_| ProofError::Malformed("it has no as_of.version".to_owned()))?;
    let up_to = (field("closed") != "true").then_some(version);
    let mut snapshot = store.snapshot().await.map_err(StatementError::from)?;
    let books = statement(&mut snapshot, field("account"), month, up_to).await?;
    Ok(compare(&stated, &books))
}

fn compare(stated: &[(String, String)], books: &Statement) -> Proof {
    let fields = books.fields();
    for place in 0..fields.len().max(stated.len()) {
        let absent = (String::new(), "nothing".to_owned());
        let (stated, books) = (stated.get(place).unwrap_or(&absent), fields.get(place).unwrap_or(&absent));
        if stated != books {
            let field = if books.0.is_empty() { &stated.0 } else { &books.0 };
            return Proof::Differs { field: field.clone(), stated: stated.1.clone(), books: books.1.clone() };
        }
    }
    Proof::Proved { account: books.account.clone(), month: books.month.clone(), transactions: books.transactions }
}

/// Reads names and values of a statement in either form.
fn fields(file: &[u8]) -> Result<Vec<(String, String)>, ProofError> {
    let malformed = |error: &dyn std::fmt::Display| ProofError::Malformed(error.to_string());
    if file.starts_with(b"%PDF") {
        return Err(ProofError::Pdf);
    }
    if file.trim_ascii_start().starts_with(b"{") {
        let statement: Statement = serde_json::from_slice(file).map_err(|error| malformed(&error))?;
        return Ok(statement.fields());
    }
    let mut fields = Vec::new();
    for record in csv::Reader::from_reader(file).records() {
        let record = record.map_err(|error| malformed(&error))?;
        fields.push((record.get(0).unwrap_or_default().to_owned(), record.get(1).unwrap_or_default().to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::super::body::{LastVersion, Movement};
    use super::*;
    use events::Nanos;

    fn sample() -> Statement {
        let movement = |kind: &str, count, amount| Movement { kind: kind.to_owned(), count, amount: Nanos(amount) };
        Statement {
            account: "acct_1".to_owned(),
            month: "2026-01".to_owned(),
            currency: "USD".to_owned(),
            closed: true,
            opening_balance: Nanos(1),
            movements: vec![movement("usage", 2, -3), movement("credit", 1, 20_000_000_000)],
            closing_balance: Nanos(19_999_999_998),
            transactions: 3,
            sha256: "ab".to_owned(),
            as_of: LastVersion { version: 7, time: None },
        }
    }

    #[test]
    fn both_forms_say_the_same_and_a_digit_is_seen() {
        let statement = sample();
        let json = serde_json::to_vec(&statement).unwrap();
        assert_eq!(fields(&json).unwrap(), statement.fields());
        assert_eq!(fields(&statement.to_csv().unwrap()).unwrap(), statement.fields());
        let wrong = String::from_utf8(json).unwrap().replace("-0.000000003", "-0.000000004");
        let differs =
            Proof::Differs { field: "usage.amount".to_owned(), stated: "-0.000000004".to_owned(), books: "-0.000000003".to_owned() };
        assert_eq!(compare(&fields(wrong.as_bytes()).unwrap(), &statement), differs);
        assert!(matches!(fields(b"%PDF-1.7"), Err(ProofError::Pdf)));
    }

    #[test]
    fn a_missing_or_added_row_is_seen() {
        let statement = sample();
        let mut stated = statement.fields();
        stated.push(("more".to_owned(), "1".to_owned()));
        assert!(matches!(compare(&stated, &statement), Proof::Differs { field, .. } if field == "more"));
        assert!(matches!(compare(&statement.fields()[..9], &statement), Proof::Differs { .. }));
    }
}
