//! The neutral form of Chat: its requests and whole answers, both ways.
//!
//! Chat cannot say everything that the neutral form says. Marks for caches go only to providers that know them, since they change no
//! answer. A wish to hide the reasoning is not passed on. Text documents become text parts. Images and files in results of tools move to
//! the user's message behind them. Within an assistant's message the order of text, calls and reasoning is lost, except that
//! `reasoning_details[].index` tells the place of each piece of reasoning.

mod raw;
mod bodies;
mod content;
mod reasoning;
mod message;
mod tools;
mod read;
mod turns;
mod write;
mod answer;

pub use answer::{read as read_answer, write as write_answer};
pub use read::read;
pub use write::write;

pub(super) use answer::{finish, finish_word};
pub(super) use bodies::{AnnotationBody, CallBody, DetailBody, ExtraBody, characters};
pub(super) use content::read_part;
pub(super) use message::{annotation, arguments, made_id, signature_of_call};
pub(super) use raw::{array, array_of, is_blank, object, object_of, text, text_of};
pub(super) use reasoning::{Detail, DetailKind, DetailPiece, EMPTY_TEXT, Place, is_detail, plain_text};

/// The fields of Chat that may be dropped on the way to another format, each with the reason.
pub const HARMLESS: &[(&str, &str)] = &[
    ("metadata", "it labels the request in OpenAI's dashboard"),
    ("moderation", "it asks for OpenAI's own moderation of the traffic, beside the answer"),
    ("prediction", "it makes an answer faster, not different"),
    ("prompt_cache_key", "it steers OpenAI's cache, which changes no answer"),
    ("prompt_cache_options", "it steers OpenAI's cache, which changes no answer"),
    ("prompt_cache_retention", "it steers OpenAI's cache, which changes no answer"),
    ("safety_identifier", "it helps OpenAI to find abuse; the name in `user` is kept"),
    ("store", "it keeps a copy of the answer in OpenAI's dashboard"),
    ("stream_options", "the gateway always reports the usage"),
    ("usage", "the gateway always reports the usage"),
];

#[cfg(test)]
mod tests;
