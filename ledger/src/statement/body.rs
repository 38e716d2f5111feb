//! A statement as JSON, as CSV and as a list of fields.

use events::Nanos;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The statement of an account for one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub account: String,
    /// The month, such as `2026-01`.
    pub month: String,
    pub currency: String,
    /// Whether nothing can be added to the month any more.
    pub closed: bool,
    #[serde(serialize_with = "events::money::as_usd", deserialize_with = "usd")]
    #[schema(value_type = read_api::Usd)]
    pub opening_balance: Nanos,
    /// One for each kind, also if it has none.
    pub movements: Vec<Movement>,
    #[serde(serialize_with = "events::money::as_usd", deserialize_with = "usd")]
    #[schema(value_type = read_api::Usd)]
    pub closing_balance: Nanos,
    /// The number of transactions.
    pub transactions: u64,
    /// The hash over the transactions; its form stands in [`super`].
    pub sha256: String,
    pub as_of: LastVersion,
}

/// All transactions of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StatementMovement)]
pub struct Movement {
    #[serde(rename = "type")]
    pub kind: String,
    pub count: u64,
    #[serde(serialize_with = "events::money::as_usd", deserialize_with = "usd")]
    #[schema(value_type = read_api::Usd)]
    pub amount: Nanos,
}

/// The end of the history that a statement covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LastVersion {
    /// The number of the last transaction in the account's history; 0 before the first.
    pub version: i64,
    /// Its time in RFC 3339; null before the first.
    pub time: Option<String>,
}

fn usd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Nanos::from_usd(raw.get()).map_err(serde::de::Error::custom)
}

impl Statement {
    /// Returns names and values in the order of the CSV form. Amounts have nine decimals.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![
            ("account".to_owned(), self.account.clone()),
            ("month".to_owned(), self.month.clone()),
            ("currency".to_owned(), self.currency.clone()),
            ("closed".to_owned(), self.closed.to_string()),
            ("opening_balance".to_owned(), self.opening_balance.to_decimals()),
        ];
        for movement in &self.movements {
            fields.push((format!("{}.count", movement.kind), movement.count.to_string()));
            fields.push((format!("{}.amount", movement.kind), movement.amount.to_decimals()));
        }
        fields.push(("closing_balance".to_owned(), self.closing_balance.to_decimals()));
        fields.push(("transactions".to_owned(), self.transactions.to_string()));
        fields.push(("sha256".to_owned(), self.sha256.clone()));
        fields.push(("as_of.version".to_owned(), self.as_of.version.to_string()));
        fields.push(("as_of.time".to_owned(), self.as_of.time.clone().unwrap_or_default()));
        fields
    }

    /// Writes the fields as CSV: `field,value`, one in each row.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub fn to_csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        writer.write_record(["field", "value"])?;
        for (field, value) in self.fields() {
            writer.write_record([field, value])?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}
