//! Parts of contents, read into the neutral form.

use std::cell::OnceCell;

use serde_json::value::RawValue;

use super::base64;
use super::calls::Calls;
use super::signature::{self, Signed};
use super::spelling::{each, list, named, object, text, text_of};
use crate::call::Format;
use crate::fields::{Element, Fields};
use crate::neutral::{Json, Media, MediaKind, Part, Reasoning, Source, Text, ToolCall, ToolResult};

/// The addresses of files that are stored at Google.
const STORED: &str = "https://generativelanguage.googleapis.com/";
/// Members with content; exactly one of them makes a part.
const CONTENT: [&str; 5] = ["text", "functionCall", "functionResponse", "inlineData", "fileData"];

/// The place of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A part with an unknown member stays opaque, since it may matter.
    Request,
    /// An unknown member is passed over, so that the client gets the content.
    Answer,
}

/// Reads a part; one of an unknown shape stays opaque.
pub fn read<'a>(raw: &'a RawValue, place: Place, calls: &mut Calls) -> Part<'a> {
    object(raw).and_then(|part| typed(&part, place, calls)).unwrap_or_else(|| opaque(raw))
}

/// Reads the parts of a request, each in turn, and passes them to `see`. `None` if they are no array.
pub fn all<'a>(parts: &'a RawValue, calls: &mut Calls, mut see: impl FnMut(Part<'a>)) -> Option<()> {
    let raw = OnceCell::new();
    let mut at = 0_usize;
    each(parts, |element| {
        let part = match element {
            Element::Object(part) => named(part).and_then(|part| typed(&part, Place::Request, calls)),
            Element::Other => None,
        };
        // The text is split again, once, for parts that nobody knows.
        let unknown = || raw.get_or_init(|| list(parts)).get(at).map(|raw| opaque(raw));
        if let Some(part) = part.or_else(unknown) {
            see(part);
        }
        at += 1;
    })
    .ok()
}

fn opaque(raw: &RawValue) -> Part<'_> {
    Part::Opaque { format: Format::Generate, raw: Json::from(raw) }
}

fn typed<'a>(part: &Fields<'a>, place: Place, calls: &mut Calls) -> Option<Part<'a>> {
    let signed = text_of(part, "thoughtSignature").map(signature::read);
    let is_thought = part.get("thought").is_some_and(|raw| raw.get() == "true");
    let is_content = |name: &str| match place {
        Place::Request => !matches!(name, "thought" | "thoughtSignature"),
        Place::Answer => CONTENT.contains(&name),
    };
    let mut content = part.0.iter().filter(|(name, _)| is_content(name));
    let found = content.next();
    if content.next().is_some() {
        return None;
    }
    let Some((name, value)) = found else {
        return signed.map(|signed| text_part("".into(), is_thought, Some(signed)));
    };
    let is_bare = signed.is_none() && !is_thought;
    match (name.as_ref(), place) {
        ("text", _) => Some(text_part(text(value)?, is_thought, signed)),
        ("functionCall", _) => call(value, place, signed, calls),
        ("functionResponse", Place::Request) if is_bare => result(value, calls),
        ("inlineData" | "fileData", Place::Request) if is_bare => media(name, value).map(Part::Media),
        ("inlineData" | "fileData", Place::Answer) => media(name, value).map(Part::Media),
        _ => None,
    }
}

fn text_part<'a>(text: Text<'a>, is_thought: bool, signed: Option<Signed<'a>>) -> Part<'a> {
    let (signature, encrypted) = match signed {
        Some(Signed::Encrypted(encrypted)) => (None, Some(encrypted)),
        Some(Signed::Signature(signature)) => (Some(signature), None),
        None => (None, None),
    };
    if is_thought || encrypted.is_some() {
        return Part::Reasoning(Reasoning { text, signature, encrypted, ..Reasoning::default() });
    }
    Part::Text { text, citations: Vec::new(), cache: None, signature }
}

fn call<'a>(raw: &'a RawValue, place: Place, signed: Option<Signed<'a>>, calls: &mut Calls) -> Option<Part<'a>> {
    let call = object(raw)?;
    if place == Place::Request && !has_only(&call, &["id", "name", "args"]) {
        return None;
    }
    let arguments = match call.get("args") {
        None => Text::Borrowed(""),
        Some(args) => Text::Borrowed(Some(args.get()).filter(|args| args.starts_with('{'))?),
    };
    let name = text_of(&call, "name")?;
    let signature = match signed {
        Some(Signed::Signature(signature)) => Some(signature),
        Some(Signed::Encrypted(_)) | None => None,
    };
    let id = calls.call(text_of(&call, "id"), &name);
    Some(Part::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature, cache: None }))
}

fn result<'a>(raw: &'a RawValue, calls: &mut Calls) -> Option<Part<'a>> {
    let result = object(raw)?;
    if !has_only(&result, &["id", "name", "response", "parts"]) {
        return None;
    }
    let (output, is_error) = result.get("response").map_or(Some((Text::Borrowed(""), false)), response)?;
    let mut content = vec![Part::text(output)];
    if let Some(parts) = result.get("parts") {
        let mut are_media = true;
        let read = each(parts, |part| match media_part(part) {
            Some(media) => content.push(Part::Media(media)),
            None => are_media = false,
        });
        if read.is_err() || !are_media {
            return None;
        }
    }
    let name = text_of(&result, "name")?;
    let call_id = calls.result(text_of(&result, "id"), &name);
    Some(Part::ToolResult(ToolResult { call_id, name: Some(name), content, is_error, is_custom: false, cache: None }))
}

/// Reads the object of a result: its text, and whether it is an error. Without a key of either kind the whole object is the output.
fn response(raw: &RawValue) -> Option<(Text<'_>, bool)> {
    let response: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(match response.0.as_slice() {
        [(name, output)] if name == "output" => (text(output).unwrap_or_else(|| output.get().into()), false),
        [(name, error)] if name == "error" => (text(error).unwrap_or_else(|| error.get().into()), true),
        _ => (raw.get().into(), false),
    })
}

fn media_part(raw: &RawValue) -> Option<Media<'_>> {
    let part = object(raw)?;
    match part.0.as_slice() {
        [(name, value)] => media(name, value),
        _ => None,
    }
}

/// Reads `inlineData` or `fileData`.
fn media<'a>(name: &str, raw: &'a RawValue) -> Option<Media<'a>> {
    let media = object(raw)?;
    let mime = text_of(&media, "mimeType")?;
    let source = match name {
        "inlineData" if has_only(&media, &["mimeType", "data", "displayName"]) => {
            Source::Base64(base64::standard(text_of(&media, "data")?))
        }
        "fileData" if has_only(&media, &["mimeType", "fileUri", "displayName"]) => match text_of(&media, "fileUri")? {
            uri if uri.starts_with(STORED) => Source::File { format: Format::Generate, id: uri },
            uri => Source::Url(uri),
        },
        _ => return None,
    };
    let kind = kind(&mime)?;
    Some(Media { kind, source, mime: Some(mime), name: text_of(&media, "displayName"), detail: None, cache: None })
}

/// Returns the kind of a media type; the neutral form has none for videos.
fn kind(mime: &str) -> Option<MediaKind> {
    match mime.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "image" => Some(MediaKind::Image),
        "audio" => Some(MediaKind::Audio),
        "application" | "text" => Some(MediaKind::Document),
        _ => None,
    }
}

fn has_only(fields: &Fields<'_>, names: &[&str]) -> bool {
    fields.0.iter().all(|(name, _)| names.contains(&name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::{Signature, Vendor};

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn results_are_output_or_error() {
        for (given, text, is_error) in [
            (r#"{"output":"x"}"#, "x", false),
            (r#"{"error":"x"}"#, "x", true),
            (r#"{"output":{"a":1}}"#, r#"{"a":1}"#, false),
            (r#"{"output":"{\"a\":1}"}"#, r#"{"a":1}"#, false),
            (r#"{"temperature":20}"#, r#"{"temperature":20}"#, false),
            (r#"{"output":"x","error":"y"}"#, r#"{"output":"x","error":"y"}"#, false),
        ] {
            assert_eq!(response(&raw(given)).unwrap(), (text.into(), is_error), "{given}");
        }
    }

    #[test]
    fn both_spellings_and_alphabets_are_read() {
        let image = raw(r#"{"inline_data":{"mime_type":"image/png","data":"_-8"}}"#);
        let Part::Media(media) = read(&image, Place::Request, &mut Calls::default()) else { panic!() };
        assert_eq!((media.kind, media.source, media.mime.as_deref()), (MediaKind::Image, Source::Base64("/+8=".into()), Some("image/png")));
        let file = raw(r#"{"file_data":{"file_uri":"https://x/y.pdf","mime_type":"application/pdf"}}"#);
        let Part::Media(media) = read(&file, Place::Request, &mut Calls::default()) else { panic!() };
        assert_eq!((media.kind, media.source), (MediaKind::Document, Source::Url("https://x/y.pdf".into())));
        let stored = raw(r#"{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/a","mimeType":"image/png"}}"#);
        let Part::Media(media) = read(&stored, Place::Request, &mut Calls::default()) else { panic!() };
        assert!(matches!(media.source, Source::File { format: Format::Generate, .. }));
    }

    #[test]
    fn unknown_members_stay_opaque_in_requests_only() {
        for part in [
            r#"{"text":"x","partMetadata":{}}"#,
            r#"{"functionCall":{"name":"f","willContinue":true}}"#,
            r#"{"inlineData":{"mimeType":"image/png","data":"aGk="},"thoughtSignature":"YQ=="}"#,
        ] {
            let part = raw(part);
            assert!(matches!(read(&part, Place::Request, &mut Calls::default()), Part::Opaque { .. }), "{part}");
            assert!(!matches!(read(&part, Place::Answer, &mut Calls::default()), Part::Opaque { .. }), "{part}");
        }
        for part in [r#"{"executableCode":{"code":"1"}}"#, r#"{"inlineData":{"mimeType":"video/mp4","data":"aGk="}}"#, "7"] {
            let part = raw(part);
            assert!(matches!(read(&part, Place::Answer, &mut Calls::default()), Part::Opaque { .. }), "{part}");
        }
    }

    #[test]
    fn unknown_parts_keep_their_place_and_their_text() {
        let parts = raw(r#"[{"text":"a"}, {"x": 1},7,{"text":"b","text":"c"},{"text":"d"}]"#);
        let mut all = Vec::new();
        super::all(&parts, &mut Calls::default(), |part| all.push(part)).unwrap();
        let unknown = |text: &str| Part::Opaque { format: Format::Generate, raw: Json::parse(text).unwrap() };
        let twice = r#"{"text":"b","text":"c"}"#;
        assert_eq!(all, [Part::text("a"), unknown(r#"{"x": 1}"#), unknown("7"), unknown(twice), Part::text("d")]);
        assert!(super::all(&raw("7"), &mut Calls::default(), |_| ()).is_none());
    }

    #[test]
    fn signatures_stand_on_every_kind_of_part() {
        let signature = Some(Signature { vendor: Vendor::Google, data: "YQ==".into() });
        let read = |text: &str| read(Box::leak(raw(text)), Place::Request, &mut Calls::default());
        let Part::Text { text, signature: of, .. } = read(r#"{"text":"","thoughtSignature":"YQ=="}"#) else { panic!() };
        assert_eq!((text.as_ref(), of), ("", signature.clone()));
        let Part::Reasoning(reasoning) = read(r#"{"text":"x","thought":true,"thought_signature":"YQ=="}"#) else { panic!() };
        assert_eq!(reasoning.signature, signature);
        let Part::ToolCall(call) = read(r#"{"functionCall":{"name":"f"},"thoughtSignature":"YQ=="}"#) else { panic!() };
        assert_eq!((call.arguments.as_ref(), call.signature), ("", signature));
    }
}
