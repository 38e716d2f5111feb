//! Monthly statements of an account: opening balance, movements by kind, closing balance, and a hash over the transactions.
//!
//! **The month of a transaction.** An account's history is numbered (`version`). A month (UTC) begins at the first transaction whose time
//! lies in it or later, and ends before the first one whose time lies in a later month. So months are consecutive parts of the history. A
//! charge that is posted after the history has reached the next month counts there: it belongs to the month of its posting, though its
//! own time is earlier. The rule reads nothing but rows that never change and that `arouter replay` makes again.
//!
//! **Closed.** A month is closed once the history has a transaction of a later month, lent credit included. Nothing can be added to it
//! then, so its statement has the same bytes for ever: nothing in it depends on the time of the call. The month of an account that rests
//! since stays open.
//!
//! **The hash.** `sha256` is the SHA-256 of the month's transactions as `/api/v1/transactions` returns them, in ascending order of
//! posting (its list is newest first). Each is one line of UTF-8 that ends with `\n`: a JSON array without spaces of the strings `id`,
//! `type`, `amount`, `currency`, `description`, `created_at`, `balance_after`, `generation_id`, `key_hash`. The last two are `null` if
//! absent. Amounts have nine decimals (as in CSV), times six and `Z`.

pub mod month;
pub mod body;
pub mod compute;
pub mod get;
pub mod report;
pub mod prove;
