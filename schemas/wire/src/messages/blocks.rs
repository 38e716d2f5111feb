//! Content blocks of requests and answers, read into neutral parts.

use serde_json::value::RawValue;

use super::members::{all, given, object, only, string, text};
use super::thoughts::{self, Redacted};
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Cache, Citation, Media, MediaKind, Part, Signature, Source, Text, ToolCall, ToolResult};

/// The origin of blocks. A block of a request must go back as it came, so that one with unknown members stays opaque. A block of an answer
/// goes to a client of another format, which cannot read the unknown members anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Request,
    Answer,
}

/// Reads content, which is a string or an array of blocks; `None` if it is neither.
pub fn parts(content: &RawValue, origin: Origin) -> Option<Vec<Part<'_>>> {
    if content.get().starts_with('"') {
        return Some(vec![Part::text(string(content)?)]);
    }
    let mut parts = Vec::new();
    let mut next: Option<Signature<'_>> = None;
    for block in all(content, |raw| block(raw, origin))? {
        match block {
            Block::Part(part) => parts.push(signed(part, &mut next)),
            Block::Signature(signature) => parts.extend(next.replace(signature).map(bare)),
        }
    }
    parts.extend(next.map(bare));
    Some(parts)
}

enum Block<'a> {
    Part(Part<'a>),
    /// The signature of the next text or call.
    Signature(Signature<'a>),
}

/// Returns a part with the signature that stands before it, if it is a text or a call.
fn signed<'a>(mut part: Part<'a>, next: &mut Option<Signature<'a>>) -> Part<'a> {
    match &mut part {
        Part::Text { signature, .. } => *signature = next.take(),
        Part::ToolCall(call) => call.signature = next.take(),
        Part::Refusal(_) | Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {}
    }
    part
}

/// Returns a signature that nothing follows: Google signs an empty text at the end.
pub fn bare(signature: Signature<'_>) -> Part<'_> {
    Part::Text { text: "".into(), citations: Vec::new(), cache: None, signature: Some(signature) }
}

/// Reads a block; `None` if it is no object with a `type`.
fn block(raw: &RawValue, origin: Origin) -> Option<Block<'_>> {
    let fields = object(raw)?;
    let kind = text(&fields, "type")?;
    let is_known = |names: &[&str]| origin == Origin::Answer || only(&fields, names);
    let part = match kind.as_ref() {
        "thinking" if is_known(&["type", "thinking", "signature"]) => text(&fields, "thinking")
            .map(|thinking| Part::Reasoning(thoughts::thinking(thinking, text(&fields, "signature").unwrap_or_default()))),
        "redacted_thinking" if is_known(&["type", "data"]) => match text(&fields, "data").map(thoughts::redacted) {
            Some(Redacted::Next(signature)) => return Some(Block::Signature(signature)),
            Some(Redacted::Reasoning(reasoning)) => Some(Part::Reasoning(reasoning)),
            None => None,
        },
        "tool_use" if is_known(&["type", "id", "name", "input", "cache_control", "caller"]) => call(&fields, origin),
        "tool_result" if is_known(&["type", "tool_use_id", "content", "is_error", "cache_control"]) => result(&fields, origin),
        _ => plain(&kind, &fields, origin),
    };
    Some(Block::Part(part.unwrap_or_else(|| opaque(raw))))
}

/// Returns a block as it is.
pub fn opaque(raw: &RawValue) -> Part<'_> {
    Part::Opaque { format: Format::Messages, raw: raw.into() }
}

/// Reads a block that may stand in the result of a tool too: a text, an image or a document.
fn plain<'a>(kind: &str, fields: &Fields<'a>, origin: Origin) -> Option<Part<'a>> {
    let is_known = |names: &[&str]| origin == Origin::Answer || only(fields, names);
    match kind {
        "text" if is_known(&["type", "text", "citations", "cache_control"]) => text_part(fields, origin),
        "image" if is_known(&["type", "source", "cache_control"]) => media(MediaKind::Image, fields),
        "document" if is_known(&["type", "source", "title", "citations", "cache_control"]) => {
            let is_cited = given(fields, "citations").is_some_and(|raw| raw.get().contains("true"));
            media(MediaKind::Document, fields).filter(|_| !is_cited)
        }
        _ => None,
    }
}

fn text_part<'a>(fields: &Fields<'a>, origin: Origin) -> Option<Part<'a>> {
    let citations = match given(fields, "citations") {
        None => Vec::new(),
        Some(raw) => all(raw, |raw| Some(citation(raw, origin)))?,
    };
    Some(Part::Text { text: text(fields, "text")?, citations, cache: cache(fields)?, signature: None })
}

/// Reads a citation. In a request, Anthropic's own reference to a page must return with its encrypted index, so it stays opaque.
pub fn citation(raw: &RawValue, origin: Origin) -> Citation<'_> {
    let url = |fields: &Fields<'_>| {
        let is_own = origin == Origin::Request && text(fields, "encrypted_index").is_some_and(|index| !index.is_empty());
        !is_own && text(fields, "type").is_some_and(|kind| kind == "web_search_result_location")
    };
    let page = object(raw)
        .filter(url)
        .and_then(|fields| Some(Citation::Url { url: text(&fields, "url")?, title: text(&fields, "title"), start: None, end: None }));
    page.unwrap_or(Citation::Opaque { format: Format::Messages, raw: raw.into() })
}

/// Reads `cache_control`; the outer `None` is a value that the neutral form cannot express.
pub fn cache(fields: &Fields<'_>) -> Option<Option<Cache>> {
    let Some(raw) = given(fields, "cache_control") else { return Some(None) };
    let control = object(raw).filter(|control| only(control, &["type", "ttl"]))?;
    if text(&control, "type")? != "ephemeral" {
        return None;
    }
    match given(&control, "ttl").map(string) {
        None => Some(Some(Cache::Default)),
        Some(Some(ttl)) if ttl == "5m" => Some(Some(Cache::FiveMinutes)),
        Some(Some(ttl)) if ttl == "1h" => Some(Some(Cache::OneHour)),
        Some(_) => None,
    }
}

fn media<'a>(kind: MediaKind, fields: &Fields<'a>) -> Option<Part<'a>> {
    let source = object(given(fields, "source")?)?;
    let of = |name: &str| text(&source, name);
    let (mime, names): (Option<Text<'a>>, &[&str]) = match of("type")?.as_ref() {
        "base64" | "text" => (Some(of("media_type")?), &["type", "media_type", "data"]),
        "url" => (None, &["type", "url"]),
        "file" => (None, &["type", "file_id"]),
        _ => return None,
    };
    if !only(&source, names) {
        return None;
    }
    let source = match of("type")?.as_ref() {
        "base64" => Source::Base64(of("data")?),
        "text" => Source::Text(of("data")?),
        "url" => Source::Url(of("url")?),
        _ => Source::File { format: Format::Messages, id: of("file_id")? },
    };
    Some(Part::Media(Media { kind, source, mime, name: text(fields, "title"), detail: None, cache: cache(fields)? }))
}

/// Reads a call of a tool of the caller. A call that code of the vendor makes stays opaque in a request.
fn call<'a>(fields: &Fields<'a>, origin: Origin) -> Option<Part<'a>> {
    let is_direct =
        given(fields, "caller").and_then(object).is_none_or(|caller| text(&caller, "type").is_some_and(|kind| kind == "direct"));
    let input = fields.get("input").filter(|raw| raw.get().starts_with('{'))?;
    if !is_direct && origin == Origin::Request {
        return None;
    }
    Some(Part::ToolCall(ToolCall {
        id: text(fields, "id")?,
        name: text(fields, "name")?,
        arguments: input.get().into(),
        is_custom: false,
        signature: None,
        cache: cache(fields)?,
    }))
}

fn result<'a>(fields: &Fields<'a>, origin: Origin) -> Option<Part<'a>> {
    let inner = |raw: &'a RawValue| {
        let block = object(raw)?;
        Some(plain(&text(&block, "type")?, &block, origin).unwrap_or_else(|| opaque(raw)))
    };
    let content = match given(fields, "content") {
        None => Vec::new(),
        Some(raw) if raw.get().starts_with('"') => vec![Part::text(string(raw)?)],
        Some(raw) => all(raw, inner)?,
    };
    Some(Part::ToolResult(ToolResult {
        call_id: text(fields, "tool_use_id")?,
        name: None,
        content,
        is_error: fields.read("is_error").ok()?.unwrap_or(false),
        is_custom: false,
        cache: cache(fields)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::Vendor;

    fn of(text: &str, origin: Origin) -> Vec<Part<'static>> {
        let raw: &'static RawValue = Box::leak(RawValue::from_string(text.to_owned()).unwrap());
        parts(raw, origin).unwrap()
    }

    fn is_opaque(block: &str) -> bool {
        matches!(of(&format!("[{block}]"), Origin::Request)[..], [Part::Opaque { format: Format::Messages, .. }])
    }

    #[test]
    fn a_block_with_more_than_the_neutral_form_says_stays_opaque() {
        for block in [
            r#"{"type":"text","text":"x","new":1}"#,
            r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"2h"}}"#,
            r#"{"type":"document","source":{"type":"url","url":"https://x"},"citations":{"enabled":true}}"#,
            r#"{"type":"document","source":{"type":"url","url":"https://x"},"context":"c"}"#,
            r#"{"type":"document","source":{"type":"content","content":"c"}}"#,
            r#"{"type":"image","source":{"type":"url","url":"https://x"},"transformations":{}}"#,
            r#"{"type":"tool_use","id":"a","name":"b","input":{},"toolset_name":"t"}"#,
            r#"{"type":"tool_use","id":"a","name":"b","input":{},"caller":{"type":"code_execution_20250825","tool_id":"x"}}"#,
            r#"{"type":"search_result","source":"s","title":"t","content":[]}"#,
            r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{}}"#,
        ] {
            assert!(is_opaque(block), "{block}");
        }
        assert!(!is_opaque(r#"{"type":"tool_use","id":"a","name":"b","input":{},"caller":{"type":"direct"},"toolset_name":null}"#));
    }

    #[test]
    fn a_text_of_an_answer_is_a_text_whatever_else_it_has() {
        let parts = of(r#"[{"type":"text","text":"x","new":1,"citations":null}]"#, Origin::Answer);
        assert_eq!(parts, [Part::text("x")]);
    }

    #[test]
    fn a_wrapped_signature_belongs_to_the_next_text_or_call() {
        let parts = of(
            r#"[{"type":"redacted_thinking","data":"arouter:google-gemini-v1:s1"},{"type":"thinking","thinking":"t","signature":""},
            {"type":"tool_use","id":"a","name":"b","input":{}},{"type":"text","text":"x"},
            {"type":"redacted_thinking","data":"arouter:google-gemini-v1:s2"}]"#,
            Origin::Request,
        );
        let of = |data: &'static str| Some(Signature { vendor: Vendor::Google, data: data.into() });
        assert!(matches!(&parts[0], Part::Reasoning(reasoning) if reasoning.text == "t" && reasoning.signature.is_none()));
        assert!(matches!(&parts[1], Part::ToolCall(call) if call.signature == of("s1")));
        assert!(matches!(&parts[2], Part::Text { signature: None, .. }));
        assert!(matches!(&parts[3], Part::Text { text, signature, .. } if text.is_empty() && *signature == of("s2")));
        assert_eq!(parts.len(), 4);
    }

    #[test]
    fn a_page_is_a_url_except_where_its_index_must_return() {
        let text = r#"[{"type":"text","text":"x","citations":[{"type":"web_search_result_location","url":"u","title":null,"encrypted_index":"e","cited_text":"c"},
            {"type":"char_location","cited_text":"c"}]}]"#;
        let of = |origin| {
            let Part::Text { citations, .. } = of(text, origin).swap_remove(0) else { panic!("a text") };
            citations
        };
        assert_eq!(of(Origin::Answer)[0], Citation::Url { url: "u".into(), title: None, start: None, end: None });
        assert!(matches!(of(Origin::Answer)[1], Citation::Opaque { format: Format::Messages, .. }));
        assert!(matches!(of(Origin::Request)[0], Citation::Opaque { .. }));
    }

    #[test]
    fn results_hold_texts_media_and_opaque_blocks_but_no_results() {
        let parts = of(
            r#"[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"x"},
            {"type":"tool_reference","tool_name":"t"},{"type":"tool_result","tool_use_id":"b"}]},{"type":"tool_result","tool_use_id":"c"}]"#,
            Origin::Request,
        );
        let [Part::ToolResult(first), Part::ToolResult(second)] = &parts[..] else { panic!("{parts:?}") };
        assert!(first.is_error && first.content.len() == 3 && first.content[0] == Part::text("x"));
        assert!(first.content[1..].iter().all(|part| matches!(part, Part::Opaque { .. })));
        assert!(second.content.is_empty() && !second.is_error);
    }
}
