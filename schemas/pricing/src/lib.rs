//! Prices: versioned lists, the quote before a request and the cost after it. No I/O, no floats.

pub mod catalog;
pub mod known_providers;
pub mod images;
pub mod import;
pub mod price;
pub mod fee;
pub mod quote;

pub use catalog::{Catalog, CatalogError, ModelEntry};
pub use fee::Fee;
pub use price::{ModelPrices, PriceError, ServiceTier};
pub use quote::{Quote, cost, fee};
