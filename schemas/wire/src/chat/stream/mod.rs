//! Streams of Chat, both ways.

mod blocks;
mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;
