//! The count of requests with own provider keys, by account and UTC month. Posting keeps it, and replies about leases contain it.

use std::collections::BTreeMap;

use eventlog::store::{from_db, placeholders, portions};
use events::rpc::ByokMonth;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use crate::key::Period;

/// An account and the start of a month, in microseconds since 1970.
pub type MonthId = (String, i64);

/// Returns the running month of an account.
pub async fn month(connection: &mut AnyConnection, account: &str, now_us: i64) -> Result<ByokMonth, sqlx::Error> {
    let starts_at_us = Period::Monthly.start_us(now_us);
    let row = sqlx::query::<Any>("SELECT requests FROM byok_months WHERE account = $1 AND starts_at_us = $2")
        .bind(account.to_owned())
        .bind(starts_at_us)
        .fetch_optional(connection)
        .await?;
    let requests = row.map_or(Ok(0), |row| from_db(row.try_get("requests")?))?;
    Ok(ByokMonth { starts_at_us, ends_at_us: Period::Monthly.end_us(now_us).unwrap_or(i64::MAX), requests })
}

/// Adds requests to months.
pub async fn add(connection: &mut AnyConnection, months: &BTreeMap<MonthId, i64>) -> Result<(), sqlx::Error> {
    let months: Vec<(&MonthId, &i64)> = months.iter().collect();
    for portion in portions(&months) {
        let sql = format!(
            "INSERT INTO byok_months (account, starts_at_us, requests) VALUES {}
             ON CONFLICT (account, starts_at_us) DO UPDATE SET requests = byok_months.requests + excluded.requests",
            placeholders(connection, portion.len(), 3)
        );
        let query = sqlx::query::<Any>(AssertSqlSafe(sql));
        let bound = portion
            .iter()
            .fold(query, |query, ((account, starts_at_us), requests)| query.bind(account.clone()).bind(*starts_at_us).bind(**requests));
        bound.execute(&mut *connection).await?;
    }
    Ok(())
}
