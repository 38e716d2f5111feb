//! Accounts, created and suspended by the operator.

pub mod create;
pub mod change;
pub mod update;
pub mod own;
pub mod suspend;
pub mod management_key;

use crate::error::GatewayError;

fn unknown() -> GatewayError {
    GatewayError::NotFound("There is no such account.".to_owned())
}
