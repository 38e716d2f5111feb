//! Parts that the OpenAPI documents of all crates share: amounts, and references to the responses of refused calls.

use std::borrow::Cow;
use std::collections::BTreeMap;

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Response, Schema};
use utoipa::{PartialSchema, ToSchema};

/// An amount in USD.
pub struct Usd;

impl PartialSchema for Usd {
    fn schema() -> RefOr<Schema> {
        let object: Object =
            ObjectBuilder::new().schema_type(Type::Number).description(Some("An amount in USD, exact to 9 decimals.")).build();
        object.into()
    }
}

impl ToSchema for Usd {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Usd")
    }
}

/// Returns references to the shared responses `{schema}{status}`.
#[must_use]
pub fn refused(schema: &str, statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let reference = |status: &str| RefOr::Ref(Ref::from_response_name(format!("{schema}{status}")));
    statuses.iter().map(|status| ((*status).to_owned(), reference(status))).collect()
}
