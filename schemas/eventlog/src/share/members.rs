//! The membership of a reader in the group that shares a stream, stored in the database. The owners of partitions change only while no
//! reader has an open transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use events::subject::PARTITIONS;
use sqlx::{Any, AnyConnection, Row};

use super::assignment::{Assignment, Heartbeats, assign};
use super::frontier::{Chain, Frontier, Position, Settled};
use crate::checkpoint;
use crate::reader_id::ReaderId;
use crate::record::Checkpoint;
use crate::sources::Sources;
use crate::store::{Store, placeholders, to_db};

/// One reader in the group that shares a stream.
pub struct Member {
    store: Store,
    reader: ReaderId,
    /// The name of its machine. A reader that starts there takes over at once from one that died there.
    node: String,
    /// The name of this reader, never used before.
    name: String,
    is_new: bool,
    heartbeats: Heartbeats,
    owned: BTreeSet<i64>,
}

impl Member {
    /// Creates a reader that has not joined yet.
    #[must_use]
    pub fn new(store: Store, reader: ReaderId, node: String, name: String) -> Self {
        Self { store, reader, node, name, is_new: true, heartbeats: Heartbeats::default(), owned: BTreeSet::new() }
    }

    /// Returns the partitions whose events this reader applies.
    #[must_use]
    pub const fn owned(&self) -> &BTreeSet<i64> {
        &self.owned
    }

    /// Joins the group, or starts again, at the common checkpoint. Returns the checkpoint, and the chain and sources up to it.
    pub async fn join(&mut self) -> Result<(Option<Checkpoint>, Chain, Sources), sqlx::Error> {
        let mut transaction = self.store.begin_exclusive().await?;
        let checkpoint = checkpoint::checkpoint_in(&mut transaction, self.reader).await?;
        let sources = Sources::load(&mut transaction, self.reader).await?;
        let partitions: Vec<i64> = (0..i64::from(PARTITIONS)).collect();
        let sql = format!(
            "INSERT INTO partitions (reader, partition, owner, epoch) VALUES {} ON CONFLICT (reader, partition) DO NOTHING",
            placeholders(&transaction, partitions.len(), 4)
        );
        let mut query = sqlx::query::<Any>(sqlx::AssertSqlSafe(sql));
        for partition in partitions {
            query = query.bind(self.reader.name).bind(partition).bind("").bind(0_i64);
        }
        query.execute(&mut *transaction).await?;
        if self.is_new {
            self.take_over(&mut transaction).await?;
        }
        // The heartbeat counter does not grow: a reader that joins again and again without reading does not count as alive.
        let old = sqlx::query::<Any>("DELETE FROM members WHERE member = $1 RETURNING heartbeat")
            .bind(self.name.clone())
            .fetch_optional(&mut *transaction)
            .await?;
        let heartbeat: i64 = old.map_or(Ok(1), |row| row.try_get("heartbeat"))?;
        let chain = self.chain(&mut transaction).await?;
        sqlx::query::<Any>("INSERT INTO members (member, reader, node, heartbeat, sequence, chain) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(self.name.clone())
            .bind(self.reader.name)
            .bind(self.node.clone())
            .bind(heartbeat)
            .bind(to_db(checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.sequence))?)
            .bind(chain.to_string())
            .execute(&mut *transaction)
            .await?;
        let (living, owners) = self.observe(&mut transaction).await?;
        let plan = assign(&self.name, &owners, &living);
        self.apply_plan(&mut transaction, &plan).await?;
        self.owned =
            self.observe(&mut transaction).await?.1.into_iter().filter(|(_, owner)| *owner == self.name).map(|(of, _)| of).collect();
        transaction.commit().await?;
        self.is_new = false;
        tracing::info!(
            stream = self.reader.name,
            partitions = self.owned.len(),
            "reads {} for {} partitions",
            self.reader.name,
            self.owned.len()
        );
        Ok((checkpoint, chain, sources))
    }

    /// Reads the chain up to the common checkpoint.
    async fn chain(&self, connection: &mut AnyConnection) -> Result<Chain, sqlx::Error> {
        let row =
            sqlx::query::<Any>("SELECT chain FROM checkpoints WHERE reader = $1").bind(self.reader.name).fetch_optional(connection).await?;
        row.map_or(Ok(Chain::default()), |row| Ok(Chain::named(row.try_get("chain")?)))
    }

    async fn put_chain(&self, connection: &mut AnyConnection, chain: Chain) -> Result<(), sqlx::Error> {
        sqlx::query::<Any>("UPDATE checkpoints SET chain = $1 WHERE reader = $2")
            .bind(chain.to_string())
            .bind(self.reader.name)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Takes over the partitions of readers that ran on the same machine, and deletes members without partitions. A deleted member that is
    /// alive joins again.
    async fn take_over(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        sqlx::query::<Any>(
            "UPDATE partitions SET owner = $1, epoch = epoch + 1
             WHERE reader = $2 AND owner IN (SELECT member FROM members WHERE reader = $2 AND node = $3)",
        )
        .bind(self.name.clone())
        .bind(self.reader.name)
        .bind(self.node.clone())
        .execute(&mut *connection)
        .await?;
        sqlx::query::<Any>("DELETE FROM members WHERE reader = $1 AND member NOT IN (SELECT owner FROM partitions WHERE reader = $1)")
            .bind(self.reader.name)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Writes a heartbeat and checks whether partitions should change owners. Returns true if this reader must start again: it is no member
    /// any more, its partitions have changed, or it should take some.
    pub async fn heartbeat(&mut self) -> Result<bool, sqlx::Error> {
        let mut transaction = self.store.begin_shared().await?;
        let is_known = sqlx::query::<Any>("UPDATE members SET heartbeat = heartbeat + 1 WHERE member = $1")
            .bind(self.name.clone())
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            == 1;
        let (living, owners) = self.observe(&mut transaction).await?;
        transaction.commit().await?;
        let changes = assign(&self.name, &owners, &living);
        let owned: BTreeSet<i64> = owners.into_iter().filter(|(_, owner)| *owner == self.name).map(|(partition, _)| partition).collect();
        if !is_known || owned != self.owned || !changes.claim.is_empty() {
            return Ok(true);
        }
        if !changes.release.is_empty() {
            let mut transaction = self.store.begin_exclusive().await?;
            self.apply_plan(&mut transaction, &Assignment { claim: Vec::new(), ..changes.clone() }).await?;
            transaction.commit().await?;
            self.owned.retain(|partition| !changes.release.contains(partition));
        }
        Ok(false)
    }

    /// Returns the living readers and the owner of each partition.
    async fn observe(&mut self, connection: &mut AnyConnection) -> Result<(BTreeSet<String>, BTreeMap<i64, String>), sqlx::Error> {
        let rows = sqlx::query::<Any>("SELECT member, heartbeat FROM members WHERE reader = $1")
            .bind(self.reader.name)
            .fetch_all(&mut *connection)
            .await?;
        let seen =
            rows.iter().map(|row| Ok((row.try_get("member")?, row.try_get("heartbeat")?))).collect::<Result<Vec<_>, sqlx::Error>>()?;
        let rows = sqlx::query::<Any>("SELECT partition, owner FROM partitions WHERE reader = $1")
            .bind(self.reader.name)
            .fetch_all(connection)
            .await?;
        let owners = rows.iter().map(|row| Ok((row.try_get("partition")?, row.try_get("owner")?))).collect::<Result<_, sqlx::Error>>()?;
        Ok((self.heartbeats.note(&seen, Instant::now()), owners))
    }

    async fn apply_plan(&self, connection: &mut AnyConnection, plan: &Assignment) -> Result<(), sqlx::Error> {
        let changes =
            plan.claim.iter().map(|partition| (partition, self.name.as_str())).chain(plan.release.iter().map(|partition| (partition, "")));
        for (partition, owner) in changes {
            sqlx::query::<Any>("UPDATE partitions SET owner = $1, epoch = epoch + 1 WHERE reader = $2 AND partition = $3")
                .bind(owner.to_owned())
                .bind(self.reader.name)
                .bind(*partition)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    /// Returns whether this reader still owns all partitions that it believes to own, for as long as the transaction lasts.
    pub async fn holds(&self, connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let row = sqlx::query::<Any>("SELECT COUNT(*) AS held FROM partitions WHERE reader = $1 AND owner = $2")
            .bind(self.reader.name)
            .bind(self.name.clone())
            .fetch_one(connection)
            .await?;
        Ok(usize::try_from(row.try_get::<i64, _>("held")?) == Ok(self.owned.len()))
    }

    /// Moves the common checkpoint to the start of a log that was rolled back or replaced. Positions that readers reported for the old log
    /// no longer count. Returns `None` if another reader was first.
    pub async fn begin_anew(&self, from: Option<&Checkpoint>, to: &Checkpoint) -> Result<Option<Chain>, sqlx::Error> {
        let mut transaction = self.store.begin_exclusive().await?;
        let chain = self.begin_at(&mut transaction, from, to).await?;
        if chain.is_some() {
            transaction.commit().await?;
        }
        Ok(chain)
    }

    /// Does the same as [`Self::begin_anew`], in the caller's exclusive transaction. The caller must not commit it if the result is `None`.
    pub async fn begin_at(
        &self,
        connection: &mut AnyConnection,
        from: Option<&Checkpoint>,
        to: &Checkpoint,
    ) -> Result<Option<Chain>, sqlx::Error> {
        if !checkpoint::advance(connection, self.reader, from, to).await? {
            return Ok(None);
        }
        // Extends the chain by the stream's identity, so that no two starts have the same chain: a reader that began at an earlier start
        // knows less of the sources.
        let chain = self.chain(connection).await?.with(&to.identity);
        self.put_chain(connection, chain).await?;
        sqlx::query::<Any>("UPDATE members SET sequence = 0, chain = '' WHERE reader = $1")
            .bind(self.reader.name)
            .execute(connection)
            .await?;
        Ok(Some(chain))
    }

    /// Reports the position of this reader, and moves the common checkpoint to the position that all readers have reached. Returns false if
    /// this reader must start again.
    pub async fn settle(&self, frontier: &mut Frontier) -> Result<bool, sqlx::Error> {
        let mut transaction = self.store.begin_shared().await?;
        let position = frontier.position();
        let updated = sqlx::query::<Any>("UPDATE members SET heartbeat = heartbeat + 1, sequence = $1, chain = $2 WHERE member = $3")
            .bind(to_db(position.sequence)?)
            .bind(position.chain.to_string())
            .bind(self.name.clone())
            .execute(&mut *transaction)
            .await?;
        let Some(common) = checkpoint::lock_checkpoint(&mut transaction, self.reader).await? else { return Ok(false) };
        if updated.rows_affected() != 1 {
            return Ok(false);
        }
        let chain = self.chain(&mut transaction).await?;
        match frontier.settle(&common, chain, &self.positions(&mut transaction).await?) {
            Settled::Again => return Ok(false),
            Settled::Stays => {}
            Settled::Moved => {
                frontier.sources().save(&mut transaction, self.reader).await?;
                if !checkpoint::advance(&mut transaction, self.reader, Some(&common), frontier.at()).await? {
                    return Ok(false);
                }
                self.put_chain(&mut transaction, frontier.common_position().chain).await?;
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Reads the positions of the owners of all partitions. A partition without an owner gets a position that no reader has read.
    async fn positions(&self, connection: &mut AnyConnection) -> Result<Vec<Position>, sqlx::Error> {
        let rows = sqlx::query::<Any>(
            "SELECT DISTINCT COALESCE(m.sequence, -1) AS sequence, COALESCE(m.chain, '') AS chain FROM partitions p
             LEFT JOIN members m ON m.member = p.owner WHERE p.reader = $1",
        )
        .bind(self.reader.name)
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                // A partition without an owner: no reader has read this sequence.
                let sequence = u64::try_from(row.try_get::<i64, _>("sequence")?).unwrap_or(u64::MAX);
                Ok(Position { sequence, chain: Chain::named(row.try_get("chain")?) })
            })
            .collect()
    }

    /// Releases the partitions of this reader to the others.
    ///
    /// # Errors
    /// Fails if the database is unavailable. The others then take the partitions after [`super::assignment::SILENCE`].
    pub async fn leave(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.store.begin_exclusive().await?;
        sqlx::query::<Any>("UPDATE partitions SET owner = '', epoch = epoch + 1 WHERE reader = $1 AND owner = $2")
            .bind(self.reader.name)
            .bind(self.name.clone())
            .execute(&mut *transaction)
            .await?;
        sqlx::query::<Any>("DELETE FROM members WHERE member = $1").bind(self.name.clone()).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}
