//! A request as the database returns it, and the texts in which it returns many at once.

use std::borrow::Cow;

use serde::Deserialize;

/// The columns of a [`Request`], in its order.
pub(super) const READ: &str =
    "request, admitted_at_us, cost_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, model, provider,
    key_hash, end_user, app, status, finish_reason";

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub request: Cow<'a, str>,
    pub admitted_at_us: i64,
    pub cost_nanos: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub reasoning_tokens: i64,
    pub cached_tokens: i64,
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    #[serde(borrow)]
    pub provider: Cow<'a, str>,
    #[serde(borrow)]
    pub key_hash: Cow<'a, str>,
    #[serde(borrow)]
    pub end_user: Cow<'a, str>,
    #[serde(borrow)]
    pub app: Cow<'a, str>,
    pub status: Option<i64>,
    #[serde(borrow)]
    pub finish_reason: Option<Cow<'a, str>>,
}

/// A text with many requests, of which each database has one that it makes fast.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    /// SQLite's: an array with an array for each request.
    Json,
    /// PostgreSQL's, which takes half as long as JSON there. For each request: numbers, then the lengths of texts in bytes, each with a
    /// bar behind it, then the texts. So no text needs an escape, whatever it contains.
    Lengths,
}

impl Text {
    /// Returns the aggregate of the columns [`READ`].
    pub(super) fn aggregate(self) -> String {
        match self {
            Self::Json => format!("CAST(COALESCE(json_group_array(json_array({READ})), '[]') AS TEXT)"),
            Self::Lengths => "COALESCE(string_agg(concat_ws('|', admitted_at_us, cost_nanos, prompt_tokens, completion_tokens,
                reasoning_tokens, cached_tokens, COALESCE(CAST(status AS TEXT), ''), octet_length(request), octet_length(model),
                octet_length(provider), octet_length(key_hash), octet_length(end_user), octet_length(app),
                octet_length(COALESCE(finish_reason, '')),
                concat(request, model, provider, key_hash, end_user, app, finish_reason)), ''), '')"
                .to_owned(),
        }
    }

    /// Returns the requests of a text; `None` if it is malformed.
    pub(super) fn parse(self, text: &str) -> Option<Vec<Request<'_>>> {
        match self {
            Self::Json => serde_json::from_str(text).ok(),
            Self::Lengths => {
                let (mut requests, mut rest) = (Vec::new(), Rest(text));
                while !rest.0.is_empty() {
                    requests.push(rest.request()?);
                }
                Some(requests)
            }
        }
    }
}

/// The part of a [`Text::Lengths`] that is left to parse.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn request(&mut self) -> Option<Request<'a>> {
        let [admitted_at_us, cost_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens] = self.numbers()?;
        let status = match self.cell()? {
            "" => None,
            status => Some(status.parse().ok()?),
        };
        let [request, model, provider, key_hash, end_user, app, finish_reason] = self.numbers()?;
        Some(Request {
            request: self.text(request)?,
            admitted_at_us,
            cost_nanos,
            prompt_tokens,
            completion_tokens,
            reasoning_tokens,
            cached_tokens,
            model: self.text(model)?,
            provider: self.text(provider)?,
            key_hash: self.text(key_hash)?,
            end_user: self.text(end_user)?,
            app: self.text(app)?,
            status,
            finish_reason: Some(self.text(finish_reason)?),
        })
    }

    fn numbers<const N: usize>(&mut self) -> Option<[i64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.cell()?.parse().ok()?;
        }
        Some(numbers)
    }

    fn cell(&mut self) -> Option<&'a str> {
        let (cell, rest) = self.0.split_once('|')?;
        self.0 = rest;
        Some(cell)
    }

    fn text(&mut self, bytes: i64) -> Option<Cow<'a, str>> {
        let (text, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_have_the_same_requests() {
        let json =
            r#"[["gen-1",5,-7,1,2,3,4,"a/b|c","p","k","Zoë \\\"|9|","",200,"stop"],["gen-2",6,0,0,0,0,0,"m","p","k","","app",null,""]]"#;
        let lengths = r#"5|-7|1|2|3|4|200|5|5|1|1|10|0|4|gen-1a/b|cpkZoë \"|9|stop6|0|0|0|0|0||5|1|1|1|0|3|0|gen-2mpkapp"#;
        let requests = Text::Json.parse(json).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(Text::Lengths.parse(lengths).unwrap(), requests);
        assert!(Text::Json.parse("[]").unwrap().is_empty() && Text::Lengths.parse("").unwrap().is_empty());
    }

    #[test]
    fn a_text_that_is_cut_is_malformed() {
        let whole = "5|-7|1|2|3|4|200|5|5|1|1|4|0|4|gen-1a/b|cpkZoëstop";
        assert!(Text::Lengths.parse(whole).is_some());
        for end in 1..whole.len() {
            assert!(whole.get(..end).is_none_or(|cut| Text::Lengths.parse(cut).is_none()), "{end}");
        }
    }
}
