//! Citations: `groundingMetadata` and `citationMetadata`. Google counts bytes, the neutral form counts characters.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::spelling::{count_of, list_of, member, object, text_of};
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Citation, Json, Text};

/// The characters before each byte of the texts that are cited.
struct Positions<F> {
    text: F,
    by_part: HashMap<u64, Vec<u64>>,
}

impl<'t, F: Fn(u64) -> Option<&'t str>> Positions<F> {
    /// Returns the number of characters before a byte of a part's text.
    fn characters(&mut self, part: u64, byte: Option<u64>) -> Option<u64> {
        let byte = usize::try_from(byte?).ok()?;
        let text = (self.text)(part)?;
        let positions = self.by_part.entry(part).or_insert_with(|| positions(text));
        positions.get(byte.min(text.len())).copied()
    }
}

fn positions(text: &str) -> Vec<u64> {
    let mut all = Vec::with_capacity(text.len() + 1);
    let mut characters = 0;
    for (_, letter) in text.char_indices() {
        all.extend(std::iter::repeat_n(characters, letter.len_utf8()));
        characters += 1;
    }
    all.push(characters);
    all
}

/// Returns the citations of a candidate, each with the number of the part that it belongs to. `text` returns the text of a part.
pub fn read<'a, 't>(candidate: &Fields<'a>, text: impl Fn(u64) -> Option<&'t str>) -> Vec<(u64, Citation<'a>)> {
    let mut positions = Positions { text, by_part: HashMap::new() };
    let mut all = Vec::new();
    if let Some(metadata) = member(candidate, "groundingMetadata") {
        grounding(&metadata, &mut positions, &mut all);
    }
    if let Some(metadata) = member(candidate, "citationMetadata") {
        let lists = ["citations", "citationSources"].into_iter().flat_map(|name| list_of(&metadata, name));
        for citation in lists.filter_map(object) {
            let Some(url) = text_of(&citation, "uri") else { continue };
            let start = positions.characters(0, count_of(&citation, "startIndex").or(Some(0)));
            let end = positions.characters(0, count_of(&citation, "endIndex"));
            all.push((0, Citation::Url { url, title: text_of(&citation, "title"), start, end }));
        }
    }
    all
}

fn grounding<'a, 't>(
    metadata: &Fields<'a>,
    positions: &mut Positions<impl Fn(u64) -> Option<&'t str>>,
    all: &mut Vec<(u64, Citation<'a>)>,
) {
    let chunks = list_of(metadata, "groundingChunks");
    let mut is_used = vec![false; chunks.len()];
    for support in list_of(metadata, "groundingSupports").into_iter().filter_map(object) {
        let segment = member(&support, "segment").unwrap_or(Fields(Vec::new()));
        let part = count_of(&segment, "partIndex").unwrap_or(0);
        let start = positions.characters(part, count_of(&segment, "startIndex").or(Some(0)));
        let end = positions.characters(part, count_of(&segment, "endIndex"));
        for index in list_of(&support, "groundingChunkIndices") {
            let Some(index) = index.get().parse::<usize>().ok() else { continue };
            let (Some(chunk), Some(used)) = (chunks.get(index), is_used.get_mut(index)) else { continue };
            *used = true;
            all.push((part, source(chunk, start, end)));
        }
    }
    let unused = chunks.iter().zip(is_used).filter(|(_, is_used)| !is_used);
    all.extend(unused.map(|(chunk, _)| (0, source(chunk, None, None))));
}

/// Returns the citation of a chunk; one that is no page of the web stays opaque.
fn source(chunk: &RawValue, start: Option<u64>, end: Option<u64>) -> Citation<'_> {
    let page = object(chunk).and_then(|chunk| {
        let web = member(&chunk, "web")?;
        Some((text_of(&web, "uri")?, text_of(&web, "title")))
    });
    match page {
        Some((url, title)) => Citation::Url { url, title, start, end },
        None => Citation::Opaque { format: Format::Generate, raw: Json::from(chunk) },
    }
}

/// `groundingMetadata` as it is written.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroundingBody {
    grounding_chunks: Vec<ChunkBody>,
    grounding_supports: Vec<SupportBody>,
}

#[derive(Debug, Serialize)]
struct ChunkBody {
    web: WebBody,
}

#[derive(Debug, Serialize)]
struct WebBody {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SupportBody {
    segment: SegmentBody,
    grounding_chunk_indices: [usize; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SegmentBody {
    part_index: usize,
    start_index: usize,
    end_index: usize,
    text: String,
}

impl GroundingBody {
    /// Adds the citations of a part's text. References that are no pages of the web have no place here.
    pub fn add(&mut self, part: usize, text: &str, citations: &[Citation<'_>]) {
        let pages = citations.iter().filter_map(|citation| match citation {
            Citation::Url { url, title, start, end } => Some((url, title, start.zip(*end))),
            Citation::Opaque { .. } => None,
        });
        let mut bytes: Option<Vec<usize>> = None;
        for (url, title, range) in pages {
            let index = self.chunk(url, title.as_ref());
            let Some((start, end)) = range else { continue };
            let bytes = bytes.get_or_insert_with(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect());
            let byte = |character: u64| usize::try_from(character).ok().and_then(|at| bytes.get(at)).copied().unwrap_or(text.len());
            let (start_index, end_index) = (byte(start), byte(end));
            let text = text.get(start_index..end_index).unwrap_or_default().to_owned();
            let segment = SegmentBody { part_index: part, start_index, end_index, text };
            self.grounding_supports.push(SupportBody { segment, grounding_chunk_indices: [index] });
        }
    }

    /// Returns the number of a page; it is added if it is new.
    fn chunk(&mut self, url: &Text<'_>, title: Option<&Text<'_>>) -> usize {
        if let Some(at) = self.grounding_chunks.iter().rposition(|chunk| chunk.web.uri == *url) {
            return at;
        }
        let web = WebBody { uri: url.clone().into_owned(), title: title.map(|title| title.clone().into_owned()) };
        self.grounding_chunks.push(ChunkBody { web });
        self.grounding_chunks.len() - 1
    }

    /// Returns the citations; `None` if there are none.
    pub fn into_some(self) -> Option<Self> {
        (!self.grounding_chunks.is_empty()).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn citations(metadata: &str, text: &'static str) -> Vec<(u64, Citation<'static>)> {
        let raw: &'static RawValue = Box::leak(RawValue::from_string(metadata.to_owned()).unwrap());
        read(&object(raw).unwrap(), |part| (part == 0).then_some(text))
    }

    fn page(start: Option<u64>, end: Option<u64>) -> Citation<'static> {
        Citation::Url { url: "https://x".into(), title: Some("t".into()), start, end }
    }

    #[test]
    fn bytes_become_characters_and_back() {
        let metadata = r#"{"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://x","title":"t"}}],
            "groundingSupports":[{"segment":{"startIndex":3,"endIndex":6},"groundingChunkIndices":[0,7]}]}}"#;
        assert_eq!(citations(metadata, "é.äö"), [(0, page(Some(2), Some(3)))], "a byte in a letter counts the letters before it");
        let mut body = GroundingBody::default();
        body.add(0, "é.äö", &[page(Some(2), Some(4)), page(Some(0), Some(99)), page(None, None)]);
        assert_eq!(
            serde_json::to_string(&body.into_some()).unwrap(),
            r#"{"groundingChunks":[{"web":{"uri":"https://x","title":"t"}}],"groundingSupports":[{"segment":{"partIndex":0,"startIndex":3,"endIndex":7,"text":"äö"},"groundingChunkIndices":[0]},{"segment":{"partIndex":0,"startIndex":0,"endIndex":7,"text":"é.äö"},"groundingChunkIndices":[0]}]}"#
        );
    }

    #[test]
    fn other_sources_stay_opaque_and_unused_pages_have_no_range() {
        let metadata =
            r#"{"groundingMetadata":{"groundingChunks":[{"retrievedContext":{"uri":"gs://x"}},{"web":{"uri":"https://x","title":"t"}}]}}"#;
        let all = citations(metadata, "a");
        assert!(matches!(all[0].1, Citation::Opaque { format: Format::Generate, .. }));
        assert_eq!(all[1].1, page(None, None));
        let metadata = r#"{"citationMetadata":{"citationSources":[{"endIndex":1,"uri":"https://x","title":"t"},{"startIndex":1}]}}"#;
        assert_eq!(citations(metadata, "a"), [(0, page(Some(0), Some(1)))]);
        assert!(GroundingBody::default().into_some().is_none());
    }
}
