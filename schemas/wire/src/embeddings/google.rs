//! Google's embeddings: `embedContent` for one text, `batchEmbedContents` for several. Source: Google's API reference.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Request, TEXT_TOKENS, Vector};
use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::{Addressed, Embeddings, Head, RequestError, Target};
use crate::chat::request::OWN_FIELDS;
use crate::fields::{Edit, Fields, quoted};
use crate::generate::answer::members;
use crate::generate::request::{models, unique, wrong};
use crate::generate::spelling::{count_of, each, length, list_of, member, object, spelled, text, text_of};
use crate::generate::usage::{self, ChargeBody};
use crate::neutral::{Json, Text, Untranslatable};
use crate::routing::Routing;

/// The list of requests in a batch.
const REQUESTS: &str = "requests";
/// The beginning of a model's name in a body.
const MODELS: &str = "models/";

/// The body of a request over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a> {
    own: Fields<'a>,
    pub format: Embeddings,
}

/// The size of the contents.
#[derive(Debug)]
struct Size {
    contents: u64,
    /// The bytes of the texts themselves.
    text_bytes: u64,
    /// An upper bound of the tokens; `None` if there is anything but text.
    tokens_max: Option<u64>,
}

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request for embeddings; the error names the field.
pub fn read<'a>(format: Embeddings, body: &'a [u8], address: &Addressed<'_>) -> Result<(Head, Body<'a>), RequestError> {
    let own = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    let fields = unique(&own)?;
    let models = models(&fields, address)?;
    let mut size = Size { contents: 0, text_bytes: 0, tokens_max: Some(0) };
    if format == Embeddings::BatchEmbedContents {
        let requests = fields.get(REQUESTS).ok_or_else(|| wrong(REQUESTS, "it is required"))?;
        let mut seen = Ok(());
        each(requests, |raw| {
            if seen.is_ok() {
                seen = object(raw).ok_or_else(|| wrong(REQUESTS, "each must be an object")).and_then(|item| size.add(&item, address));
            }
        })
        .map_err(|_| wrong(REQUESTS, "it must be an array of objects"))?;
        seen?;
        if size.contents == 0 {
            return Err(wrong(REQUESTS, "it must have at least one element"));
        }
    } else {
        size.add(&fields, address)?;
    }
    let head = Head {
        models,
        stream: false,
        output_tokens_max: Some(0),
        choices: 1,
        user: None,
        service_tier: None,
        prompt_tokens_max: size.tokens_max.map(|tokens| tokens.saturating_add(size.contents.saturating_mul(TEXT_TOKENS))),
        images: 0,
        has_reasoning_object: false,
        has_base64_vectors: false,
        has_tools: false,
        prompt_text_bytes: size.text_bytes,
        routing: Routing::read(&own)?,
    };
    Ok((head, Body { own, format }))
}

impl Size {
    /// Adds a request of one content. Every token stands for at least one byte.
    fn add(&mut self, item: &Fields<'_>, address: &Addressed<'_>) -> Result<(), RequestError> {
        let named = text_of(item, "model");
        if named.is_some_and(|named| Some(named.strip_prefix(MODELS).unwrap_or(&named)) != address.model) {
            return Err(wrong("model", "it must be the model of the address, after 'models/'"));
        }
        let content = member(item, "content").ok_or_else(|| wrong("content", "it must be an object with 'parts'"))?;
        let parts = content.get("parts").ok_or_else(|| wrong("content", "its 'parts' are required"))?;
        let mut text_bytes = item.get("title").map_or(0, length);
        let mut is_text = true;
        let add = |raw| match object(raw).as_ref().and_then(|part| text_of(part, "text")) {
            Some(text) => text_bytes = text_bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            None => is_text = false,
        };
        each(parts, add).map_err(|_| wrong("content", "its 'parts' must be an array of objects"))?;
        self.contents = self.contents.saturating_add(1);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        self.tokens_max = self.tokens_max.filter(|_| is_text).map(|tokens| tokens.saturating_add(text_bytes));
        Ok(())
    }
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    pub const fn fields(&self) -> &Fields<'a> {
        &self.own
    }

    /// Returns the request as other formats can say it.
    ///
    /// # Errors
    /// Fails if they cannot; the error names the field.
    pub fn request(&self) -> Result<Request<'a>, RequestError> {
        let fields = unique(&self.own)?;
        let items = if self.format == Embeddings::BatchEmbedContents {
            let unknown = fields.0.iter().find(|(name, _)| name != REQUESTS && !is_own(name));
            unknown.map_or(Ok(()), |(name, _)| Err(cannot(name, "leave it out")))?;
            list_of(&fields, REQUESTS).into_iter().filter_map(object).collect()
        } else {
            vec![fields]
        };
        let texts = items.iter().map(one_text).collect::<Result<_, _>>()?;
        let dimensions: Vec<Option<u64>> = items.iter().map(dimensions).collect::<Result<_, _>>()?;
        if dimensions.windows(2).any(|pair| pair.first() != pair.last()) {
            let reason = "its API has one length for all vectors of a batch; give every request the same one";
            return Err(Untranslatable::new("requests.outputDimensionality", reason).into());
        }
        Ok(Request { texts, dimensions: dimensions.into_iter().next().flatten() })
    }

    /// Returns the body for a provider of the same format: the caller's bytes with the target's model, without the gateway's own fields.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        let model = quoted(&format!("{MODELS}{}", target.model));
        let mut edits: Vec<(&str, Edit<'_>)> = OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)).collect();
        if self.own.get("model").is_some() {
            edits.push(("model", Edit::Put(&model)));
        }
        let name = spelled(&self.own, REQUESTS);
        let requests = (self.format == Embeddings::BatchEmbedContents).then(|| with_model(&list_of(&self.own, name), &model));
        if let Some(requests) = &requests {
            edits.push((name, Edit::Put(requests)));
        }
        let mut body = Vec::new();
        self.own.write(&edits, &mut body);
        body
    }
}

/// Returns the requests of a batch as they are, but for another model.
fn with_model(requests: &[&RawValue], model: &str) -> String {
    let mut all = vec![b'['];
    for fields in requests.iter().filter_map(|raw| serde_json::from_str::<Fields<'_>>(raw.get()).ok()) {
        if all.len() > 1 {
            all.push(b',');
        }
        fields.write(&[("model", Edit::Put(model))], &mut all);
    }
    all.push(b']');
    String::from_utf8(all).unwrap_or_default()
}

/// Returns whether a field is the gateway's own, or the model.
fn is_own(name: &str) -> bool {
    name == "model" || OWN_FIELDS.contains(&name)
}

fn cannot(field: &str, remedy: &'static str) -> RequestError {
    Untranslatable::new(field.to_owned(), format!("its API has no such field; {remedy}")).into()
}

/// Returns the text of a request. Its other settings must be such that they can be left out.
fn one_text<'a>(item: &Fields<'a>) -> Result<Text<'a>, RequestError> {
    let is_sayable = |name: &str, raw: &RawValue| match name {
        "content" | "outputDimensionality" => true,
        "taskType" => text(raw).is_some_and(|task| task == "TASK_TYPE_UNSPECIFIED"),
        name => is_own(name),
    };
    if let Some((name, _)) = item.0.iter().find(|(name, raw)| !is_sayable(name, raw)) {
        return Err(cannot(name, "leave it out"));
    }
    let content = member(item, "content").unwrap_or(Fields(Vec::new()));
    let parts = list_of(&content, "parts");
    let text = |raw| object(raw).filter(|part| part.0.len() == 1).and_then(|part| text_of(&part, "text"));
    match parts.as_slice() {
        [part] => text(part).ok_or_else(|| Untranslatable::new("content", "it embeds nothing but text").into()),
        _ => Err(Untranslatable::new("content", "it embeds contents of exactly one part").into()),
    }
}

fn dimensions(item: &Fields<'_>) -> Result<Option<u64>, RequestError> {
    const NAME: &str = "outputDimensionality";
    let read = item.get(NAME).map(|_| count_of(item, NAME).ok_or_else(|| wrong(NAME, "it must be a whole number")));
    read.transpose()
}

/// Returns the body of a batch for a provider.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct BatchBody<'r> {
        requests: Vec<RequestBody<'r>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RequestBody<'r> {
        model: &'r str,
        content: ContentBody<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_dimensionality: Option<u64>,
    }
    #[derive(Serialize)]
    struct ContentBody<'r> {
        parts: [PartBody<'r>; 1],
    }
    #[derive(Serialize)]
    struct PartBody<'r> {
        text: &'r str,
    }
    let model = format!("{MODELS}{}", target.model);
    let one = |text| RequestBody {
        model: &model,
        content: ContentBody { parts: [PartBody { text }] },
        output_dimensionality: request.dimensions,
    };
    let body = BatchBody { requests: request.texts.iter().map(|text| one(text.as_ref())).collect() };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Reads an answer. Older models report no usage.
///
/// # Errors
/// Fails if the body reports an error, or has no embeddings.
pub fn read_answer(body: &[u8]) -> Result<Answer, AnswerError> {
    let fields = members(body)?;
    let has = |name: &str, begin: char| fields.get(name).is_some_and(|raw| raw.get().starts_with(begin));
    if !has("embedding", '{') && !has("embeddings", '[') {
        return Err(AnswerError::Malformed);
    }
    let usage = fields.get("usageMetadata").and_then(usage::read);
    Ok(Answer { usage, service_tier: None, delta: Delta { text_bytes: 1, finish_reason: Some("stop".to_owned()) } })
}

/// Returns the vectors of an answer.
///
/// # Errors
/// Fails if the body is not an answer.
pub fn vectors(answer: &[u8]) -> Result<Vec<Vector<'_>>, AnswerError> {
    let fields = members(answer)?;
    let all = fields.get("embedding").map_or_else(|| list_of(&fields, "embeddings"), |one| vec![one]);
    all.into_iter().map(|raw| Ok(object(raw).ok_or(AnswerError::Malformed)?.get("values").ok_or(AnswerError::Malformed)?.into())).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageBody {
    prompt_token_count: u64,
    total_token_count: u64,
}

impl UsageBody {
    fn new(billed: &Billed) -> Self {
        Self { prompt_token_count: billed.tokens.prompt(), total_token_count: billed.tokens.total() }
    }
}

/// Returns the answer for the client with the charge; everything else is unchanged. A usage is added if there is none.
///
/// # Errors
/// Fails if the answer is not a JSON object.
pub fn client_body(answer: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(answer).map_err(|_| AnswerError::Malformed)?;
    let (charge, usage) = (Json::of(&ChargeBody::new(billed, names)), Json::of(&UsageBody::new(billed)));
    let mut edits = vec![("arouter", Edit::Put(charge.get()))];
    if fields.get("usageMetadata").is_none() {
        edits.push(("usageMetadata", Edit::Put(usage.get())));
    }
    let mut body = Vec::with_capacity(answer.len() + 256);
    fields.write(&edits, &mut body);
    Ok(body)
}

/// Writes an answer with vectors of another format.
///
/// # Errors
/// Fails if there is no vector, or not exactly one where one is expected.
pub fn write_answer(vectors: &[Vector<'_>], to: Embeddings, names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct AnswerBody<'v> {
        #[serde(flatten)]
        embedded: Embedded<'v>,
        usage_metadata: UsageBody,
        arouter: ChargeBody<'v>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    enum Embedded<'v> {
        Embedding(ValuesBody<'v>),
        Embeddings(Vec<ValuesBody<'v>>),
    }
    #[derive(Serialize)]
    struct ValuesBody<'v> {
        values: &'v Vector<'v>,
    }
    let embedded = match (vectors, to) {
        ([values], Embeddings::EmbedContent) => Embedded::Embedding(ValuesBody { values }),
        (_, Embeddings::EmbedContent) => return Err(AnswerError::Malformed),
        (_, Embeddings::BatchEmbedContents | Embeddings::OpenAi) => {
            Embedded::Embeddings(vectors.iter().map(|values| ValuesBody { values }).collect())
        }
    };
    let body = AnswerBody { embedded, usage_metadata: UsageBody::new(billed), arouter: ChargeBody::new(billed, names) };
    serde_json::to_vec(&body).map_err(|_| AnswerError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::embeddings::{self, openai};
    use crate::testing;

    const ADDRESS: Addressed<'_> = Addressed { model: Some("m"), stream: false, is_count: false };
    const BATCH: Embeddings = Embeddings::BatchEmbedContents;

    fn target(dialect: &Dialect) -> Target<'_> {
        Target { model: "up", cap: None, dialect }
    }

    /// Returns the body for a provider of another format.
    fn sent(from: Embeddings, to: Embeddings, body: &str) -> Result<String, RequestError> {
        let (_, read) = embeddings::read(from, body.as_bytes(), &ADDRESS)?;
        Ok(String::from_utf8(read.upstream_body(to, &target(&Dialect::default()))?).unwrap())
    }

    #[test]
    fn both_spellings_of_one_content_are_bounded_by_their_texts() {
        let head = |body: &str| read(Embeddings::EmbedContent, body.as_bytes(), &ADDRESS).map(|(head, _)| head);
        let text = head(r#"{"content":{"parts":[{"text":"four"},{"text":"\u00e9"}]},"task_type":"CLUSTERING"}"#).unwrap();
        assert_eq!((text.models, text.prompt_tokens_max, text.prompt_text_bytes), (vec!["m".to_owned()], Some(6 + 8), 6));
        let picture = head(r#"{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}}"#).unwrap();
        assert_eq!(picture.prompt_tokens_max, None, "nothing but text has a bound");
        for (body, field) in [
            ("{}", "content"),
            (r#"{"content":{}}"#, "content"),
            (r#"{"content":{"parts":7}}"#, "content"),
            (r#"{"model":"models/other","content":{"parts":[]}}"#, "model"),
        ] {
            assert_eq!(head(body).unwrap_err().param(), Some(field), "{body}");
        }
    }

    #[test]
    fn the_same_format_passes_but_for_the_model() {
        let batch =
            r#"{"requests":[{"model":"models/m","content":{"parts": [{"text":"a"}]},"task_type":"CLUSTERING","new":1}],"usage":{}}"#;
        assert_eq!(
            sent(BATCH, BATCH, batch).unwrap(),
            r#"{"requests":[{"model":"models/up","content":{"parts": [{"text":"a"}]},"task_type":"CLUSTERING","new":1}]}"#
        );
        let one = r#"{"content":{"parts":[{"text":"a"}]},"title":"t"}"#;
        assert_eq!(sent(Embeddings::EmbedContent, Embeddings::EmbedContent, one).unwrap(), one);
    }

    #[test]
    fn each_format_says_the_others_texts_and_dimensions() {
        let openai = r#"{"model":"up","input":["a","b"],"dimensions":8}"#;
        let google = r#"{"requests":[{"model":"models/up","content":{"parts":[{"text":"a"}]},"outputDimensionality":8},{"model":"models/up","content":{"parts":[{"text":"b"}]},"outputDimensionality":8}]}"#;
        assert_eq!(sent(Embeddings::OpenAi, BATCH, openai).unwrap(), google);
        assert_eq!(sent(BATCH, Embeddings::OpenAi, &google.replace("models/up", "models/m")).unwrap(), openai);
        let one = r#"{"content":{"parts":[{"text":"a"}],"role":"user"},"taskType":"TASK_TYPE_UNSPECIFIED","title":null}"#;
        assert_eq!(sent(Embeddings::EmbedContent, Embeddings::OpenAi, one).unwrap(), r#"{"model":"up","input":["a"]}"#);
        let text = r#"{"model":"m","input":"a","user":"u","encoding_format":"base64"}"#;
        let (head, _) = openai::read(text.as_bytes()).unwrap();
        assert!(head.has_base64_vectors && sent(Embeddings::OpenAi, BATCH, text).unwrap().contains(r#"[{"text":"a"}]"#));
    }

    #[test]
    fn a_field_that_the_other_format_lacks_is_refused_by_its_name() {
        let item = |more: &str| format!(r#"{{"requests":[{{"content":{{"parts":[{{"text":"a"}}]}}{more}}}]}}"#);
        let parts = |parts: &str| format!(r#"{{"requests":[{{"content":{{"parts":[{parts}]}}}}]}}"#);
        for (body, field) in [
            (item(r#","taskType":"RETRIEVAL_QUERY""#), "taskType"),
            (item(r#","title":"t""#), "title"),
            (item(r#","outputDimensionality":"x""#), "outputDimensionality"),
            (parts(r#"{"text":"a"},{"text":"b"}"#), "content"),
            (parts(r#"{"inlineData":{}}"#), "content"),
            (
                r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":8},{"content":{"parts":[{"text":"b"}]}}]}"#
                    .to_owned(),
                "requests.outputDimensionality",
            ),
            (r#"{"requests":[{"content":{"parts":[{"text":"a"}]}}],"autoTruncate":true}"#.to_owned(), "autoTruncate"),
            (r#"{"requests":[]}"#.to_owned(), "requests"),
        ] {
            assert_eq!(sent(BATCH, Embeddings::OpenAi, &body).unwrap_err().param(), Some(field), "{body}");
        }
        for (body, field) in [
            (r#"{"model":"m","input":[1,2]}"#, "input"),
            (r#"{"model":"m","input":[[1],[2]]}"#, "input"),
            (r#"{"model":"m","input":"a","input_type":"query"}"#, "input_type"),
            (r#"{"model":"m","input":"a","dimensions":"x"}"#, "dimensions"),
        ] {
            assert_eq!(sent(Embeddings::OpenAi, BATCH, body).unwrap_err().param(), Some(field), "{body}");
        }
    }

    #[test]
    fn answers_are_said_in_the_other_format_with_the_charge() {
        let said = |from, to, is_base64, body: &str| {
            let (names, billed) = (&testing::NAMES, &testing::billed());
            embeddings::client_body((from, to), is_base64, body.as_bytes(), names, billed).map(|body| String::from_utf8(body).unwrap())
        };
        let (openai, one) = (Embeddings::OpenAi, Embeddings::EmbedContent);
        let google = r#"{"embeddings":[{"values":[0.5,1e-3]},{"values":[2]}]}"#;
        let text = said(BATCH, openai, false, google).unwrap();
        assert!(text.starts_with(r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,1e-3]},{"object":"embedding","index":1,"embedding":[2]}],"model":"a/m","usage":{"prompt_tokens":5"#), "{text}");
        assert!(said(BATCH, openai, true, google).unwrap().contains(r#""index":1,"embedding":"AAAAQA==""#));
        let theirs = r#"{"data":[{"index":0,"embedding":[0.5,1e-3]}]}"#;
        let usage = r#""usageMetadata":{"promptTokenCount":5,"totalTokenCount":8},"arouter":{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}}"#;
        assert_eq!(said(openai, one, false, theirs).unwrap(), format!(r#"{{"embedding":{{"values":[0.5,1e-3]}},{usage}"#));
        assert_eq!(said(openai, BATCH, false, theirs).unwrap(), format!(r#"{{"embeddings":[{{"values":[0.5,1e-3]}}],{usage}"#));
        let kept = said(BATCH, BATCH, false, r#"{"embeddings": [{"values":[ 1.50 ]}],"usageMetadata":{"promptTokenCount":9}}"#).unwrap();
        assert!(kept.contains(r#"[{"values":[ 1.50 ]}],"usageMetadata":{"promptTokenCount":9},"arouter":"#), "{kept}");
    }

    #[test]
    fn older_models_report_no_usage() {
        assert_eq!(read_answer(br#"{"embedding":{"values":[1]}}"#).unwrap().usage, None);
        let newer = br#"{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
        assert_eq!(read_answer(newer).unwrap().usage.unwrap().tokens.total(), 9);
        assert_eq!(read_answer(b"{}").err(), Some(AnswerError::Malformed));
        assert!(matches!(read_answer(br#"{"error":{"code":400,"message":"x"}}"#), Err(AnswerError::Reported(_))));
    }
}
