-- A movement has at most four legs: the account's credit, what is lent of it, the operator's loss, and one other book. They stand in its
-- row, so that the database itself refuses a movement that does not sum to zero.
ALTER TABLE transactions ADD COLUMN credit_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transactions ADD COLUMN held_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transactions ADD COLUMN overdraft_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transactions ADD COLUMN book TEXT NOT NULL DEFAULT '';
ALTER TABLE transactions ADD COLUMN book_nanos BIGINT NOT NULL DEFAULT 0
    CONSTRAINT transactions_sum_to_zero CHECK (credit_nanos + held_nanos + overdraft_nanos + book_nanos = 0);
UPDATE transactions SET
    credit_nanos = COALESCE((SELECT CAST(SUM(e.amount_nanos) AS BIGINT) FROM entries e WHERE e.transaction_id = transactions.id AND e.book = 'credit:' || transactions.account), 0),
    held_nanos = COALESCE((SELECT CAST(SUM(e.amount_nanos) AS BIGINT) FROM entries e WHERE e.transaction_id = transactions.id AND e.book = 'held:' || transactions.account), 0),
    overdraft_nanos = COALESCE((SELECT CAST(SUM(e.amount_nanos) AS BIGINT) FROM entries e WHERE e.transaction_id = transactions.id AND e.book = 'late_overdraft'), 0),
    book = COALESCE((SELECT MAX(e.book) FROM entries e WHERE e.transaction_id = transactions.id
        AND e.book NOT IN ('credit:' || transactions.account, 'held:' || transactions.account, 'late_overdraft')), ''),
    book_nanos = COALESCE((SELECT CAST(SUM(e.amount_nanos) AS BIGINT) FROM entries e WHERE e.transaction_id = transactions.id
        AND e.book NOT IN ('credit:' || transactions.account, 'held:' || transactions.account, 'late_overdraft')), 0);
DROP TABLE entries;

-- The legs one by one, for those who ask by book.
CREATE VIEW entries (transaction_id, book, amount_nanos) AS
    SELECT id, 'credit:' || account, credit_nanos FROM transactions WHERE credit_nanos <> 0
    UNION ALL SELECT id, 'held:' || account, held_nanos FROM transactions WHERE held_nanos <> 0
    UNION ALL SELECT id, 'late_overdraft', overdraft_nanos FROM transactions WHERE overdraft_nanos <> 0
    UNION ALL SELECT id, book, book_nanos FROM transactions WHERE book_nanos <> 0;
