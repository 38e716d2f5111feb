//! Google's stream without `alt=sse`: one JSON array, written element by element.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header};
use wire::sse::Parser;

/// The frames of a response that become the elements of an array.
struct Elements {
    body: BodyDataStream,
    parser: Parser,
    /// Whether an element has been written.
    begun: bool,
    ended: bool,
}

/// Returns a response of frames as one JSON array. A whole body, such as an error, becomes the only element.
#[must_use]
pub fn of_frames(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let is_stream = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = if is_stream {
        let elements = Elements { body: body.into_data_stream(), parser: Parser::default(), begun: false, ended: false };
        Body::from_stream(stream::unfold(elements, async |mut elements| {
            elements.next().await.map(|piece| (Ok::<_, Infallible>(piece), elements))
        }))
    } else {
        let bracket = |text: &'static str| stream::iter([Ok::<_, axum::Error>(Bytes::from_static(text.as_bytes()))]);
        Body::from_stream(bracket("[").chain(body.into_data_stream()).chain(bracket("]")))
    };
    Response::from_parts(parts, body)
}

impl Elements {
    /// Returns the next bytes of the array; `None` after its closing bracket.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut piece = Vec::new();
            while let Ok(Some(frame)) = self.parser.next_frame() {
                self.element(&frame, &mut piece);
            }
            if !piece.is_empty() {
                return Some(piece.into());
            }
            if self.ended {
                return None;
            }
            if let Some(Ok(bytes)) = self.body.next().await {
                if bytes.iter().all(u8::is_ascii_whitespace) {
                    // A heartbeat: blanks may stand between elements.
                    return Some(bytes);
                }
                self.parser.push(&bytes);
            } else {
                self.ended = true;
                piece.extend_from_slice(if self.begun { b"]" } else { b"[]" });
                return Some(piece.into());
            }
        }
    }

    fn element(&mut self, frame: &[u8], piece: &mut Vec<u8>) {
        piece.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
        piece.extend_from_slice(frame);
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(kind: &'static str, pieces: Vec<&'static str>) -> String {
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
        let response = of_frames(Response::builder().header(header::CONTENT_TYPE, kind).body(body).unwrap());
        String::from_utf8(axum::body::to_bytes(response.into_body(), 1_000).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn frames_become_elements_and_a_whole_body_the_only_one() {
        assert_eq!(text("text/event-stream", vec!["data: {\"a\":1}\n", "\ndata: {\"b\":2}\n\n"]).await, "[{\"a\":1},\r\n{\"b\":2}]");
        assert_eq!(text("text/event-stream", vec![]).await, "[]");
        assert_eq!(text("application/json", vec!["{\"error\":{}}"]).await, "[{\"error\":{}}]");
    }
}
