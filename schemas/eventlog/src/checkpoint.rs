//! The checkpoint of a reader, stored in its database. It moves by compare-and-set in the transaction that applies the events.

use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use crate::reader_id::ReaderId;
use crate::record::Checkpoint;
use crate::store::{Store, for_update, from_db, to_db};

/// Reads the checkpoint of a reader; `None` if it has none yet.
pub async fn checkpoint(store: &Store, reader: ReaderId) -> Result<Option<Checkpoint>, sqlx::Error> {
    checkpoint_in(&mut *store.reads.acquire().await?, reader).await
}

/// Reads the checkpoint of a reader as a transaction sees it.
pub(crate) async fn checkpoint_in(connection: &mut AnyConnection, reader: ReaderId) -> Result<Option<Checkpoint>, sqlx::Error> {
    select_checkpoint(connection, reader, "").await
}

/// Reads the checkpoint of a reader and locks it: no other process moves it until the transaction ends.
pub(crate) async fn lock_checkpoint(connection: &mut AnyConnection, reader: ReaderId) -> Result<Option<Checkpoint>, sqlx::Error> {
    let lock = for_update(connection);
    select_checkpoint(connection, reader, lock).await
}

async fn select_checkpoint(connection: &mut AnyConnection, reader: ReaderId, lock: &str) -> Result<Option<Checkpoint>, sqlx::Error> {
    let sql = format!("SELECT identity, sequence, event_id FROM checkpoints WHERE reader = $1 {lock}");
    let row = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(reader.name).fetch_optional(connection).await?;
    row.map(|row| {
        Ok(Checkpoint {
            identity: row.try_get("identity")?,
            sequence: from_db(row.try_get("sequence")?)?,
            event_id: row.try_get("event_id")?,
        })
    })
    .transpose()
}

/// Moves the checkpoint from `from`, as this reader left it. Returns false if another process has moved it.
pub(crate) async fn advance(
    connection: &mut AnyConnection,
    reader: ReaderId,
    from: Option<&Checkpoint>,
    to: &Checkpoint,
) -> Result<bool, sqlx::Error> {
    let done =
        match from {
            None => sqlx::query::<Any>(
                "INSERT INTO checkpoints (reader, identity, sequence, event_id) VALUES ($1, $2, $3, $4) ON CONFLICT (reader) DO NOTHING",
            )
            .bind(reader.name)
            .bind(to.identity.clone())
            .bind(to_db(to.sequence)?)
            .bind(to.event_id.clone())
            .execute(connection)
            .await?,
            Some(from) => {
                sqlx::query::<Any>(
                    "UPDATE checkpoints SET identity = $1, sequence = $2, event_id = $3
                 WHERE reader = $4 AND identity = $5 AND sequence = $6 AND event_id = $7",
                )
                .bind(to.identity.clone())
                .bind(to_db(to.sequence)?)
                .bind(to.event_id.clone())
                .bind(reader.name)
                .bind(from.identity.clone())
                .bind(to_db(from.sequence)?)
                .bind(from.event_id.clone())
                .execute(connection)
                .await?
            }
        };
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use events::subject::Stream;

    use super::*;

    #[tokio::test]
    async fn a_checkpoint_moves_only_from_where_its_reader_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", folder.path().join("x.db").display()), &[]).await.unwrap();
        let at = |sequence: u64| Checkpoint { identity: "s".into(), sequence, event_id: format!("e{sequence}") };
        let mut transaction = store.begin_exclusive().await.unwrap();
        let reader = ReaderId { name: "postings", stream: Stream::Usage };
        let mut moves = async |from: Option<&Checkpoint>, to| advance(&mut transaction, reader, from, &to).await.unwrap();
        assert!(moves(None, at(1)).await);
        assert!(!moves(None, at(2)).await, "somebody else was first");
        assert!(moves(Some(&at(1)), at(2)).await);
        assert!(!moves(Some(&at(1)), at(3)).await, "somebody else has moved on");
        let other = Checkpoint { event_id: "other".into(), ..at(2) };
        assert!(!moves(Some(&other), at(3)).await, "another event stood at that sequence");
    }
}
