//! Finish reasons. Source: Google's `FinishReason` type.

use crate::neutral::{Finish, Reason, Text};

/// Reasons of a filter.
const FILTERED: [&str; 12] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "MODEL_ARMOR",
];
/// Reasons of a model that gave up.
const BROKEN: [&str; 8] = [
    "OTHER",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "IMAGE_OTHER",
    "NO_IMAGE",
];
/// The value that says nothing.
const UNSPECIFIED: &str = "FINISH_REASON_UNSPECIFIED";

/// Returns whether a value is a finish at all.
pub fn is_finish(native: &str) -> bool {
    !native.is_empty() && !native.eq_ignore_ascii_case(UNSPECIFIED)
}

/// Reads the finish of a candidate. An unknown reason is a stop.
pub fn read<'a>(native: Text<'a>, message: Option<Text<'a>>, has_calls: bool) -> Finish<'a> {
    let upper = native.to_ascii_uppercase();
    let word = upper.as_str();
    let reason = match word {
        "MAX_TOKENS" => Reason::Length,
        "CONTINUATION" => Reason::Paused,
        _ if FILTERED.contains(&word) => Reason::Filtered,
        _ if BROKEN.contains(&word) => Reason::Broken,
        _ if has_calls => Reason::ToolCalls,
        _ => Reason::Stop,
    };
    Finish { reason, native: Some(native), stop_sequence: None, message }
}

/// Returns the finish of a prompt that was blocked.
pub fn blocked<'a>(native: Text<'a>, message: Option<Text<'a>>) -> Finish<'a> {
    Finish { reason: Reason::Filtered, native: Some(native), stop_sequence: None, message }
}

/// Returns Google's word for a finish: the provider's own if it is one.
pub fn word(finish: &Finish<'_>) -> &'static str {
    let own = |words: &[&'static str]| {
        let native = finish.native.as_deref()?;
        words.iter().copied().find(|word| *word == native)
    };
    match finish.reason {
        Reason::Stop | Reason::StopSequence | Reason::ToolCalls => "STOP",
        Reason::Length => "MAX_TOKENS",
        Reason::Filtered => own(&FILTERED).unwrap_or("SAFETY"),
        Reason::Paused => "CONTINUATION",
        Reason::Broken => own(&BROKEN).unwrap_or("OTHER"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_and_written() {
        for (native, reason) in [("STOP", Reason::Stop), ("MAX_TOKENS", Reason::Length), ("CONTINUATION", Reason::Paused)]
            .into_iter()
            .chain(FILTERED.iter().map(|native| (*native, Reason::Filtered)))
            .chain(BROKEN.iter().map(|native| (*native, Reason::Broken)))
        {
            let finish = read(native.into(), None, false);
            assert_eq!((finish.reason, word(&finish)), (reason, native));
            assert_eq!(read(native.to_lowercase().into(), None, false).reason, reason, "in any case");
        }
        assert_eq!(read("STOP".into(), None, true).reason, Reason::ToolCalls);
        assert_eq!(read("WHAT_COMES_NEXT".into(), None, true).reason, Reason::ToolCalls);
        assert_eq!(read("WHAT_COMES_NEXT".into(), None, false), Finish { native: Some("WHAT_COMES_NEXT".into()), ..Finish::default() });
    }

    #[test]
    fn foreign_words_become_googles() {
        let of = |reason, native: &'static str| word(&Finish { reason, native: Some(native.into()), ..Finish::default() });
        assert_eq!(of(Reason::Filtered, "content_filter"), "SAFETY");
        assert_eq!(of(Reason::Broken, "error"), "OTHER");
        assert_eq!(of(Reason::StopSequence, "stop_sequence"), "STOP");
        assert_eq!(of(Reason::ToolCalls, "tool_use"), "STOP");
    }
}
