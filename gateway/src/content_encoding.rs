//! Content codings: gzip, deflate, br and zstd, decoded piece by piece within a size limit.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};

/// The buffer size of a `br` decoder, in bytes.
const BROTLI_BUFFER: usize = 16 * 1024;

/// A streaming decoder of a body.
pub struct Decoder(Coding);

enum Coding {
    Identity,
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded>>),
    Deflate(Box<flate2::write::ZlibDecoder<Bounded>>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Bounded>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

/// Decoded bytes that were not taken yet, and the number of bytes that may still come.
struct Bounded {
    bytes: BytesMut,
    left: usize,
}

/// The reason a body cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodingError {
    #[error("the content coding {0:?} is not supported; use gzip, deflate, br, zstd or none")]
    Unknown(String),
    /// The decoded body exceeds the allowed bytes.
    #[error("more than {0} bytes when decoded")]
    TooLarge(usize),
    /// The bytes are not valid in their coding.
    #[error("not of its content coding: {0}")]
    Malformed(io::Error),
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// Creates the decoder for a body with these headers, limited to `bytes_max` decoded bytes.
    ///
    /// # Errors
    /// Fails if the coding is unknown, or if there are several.
    pub fn new(headers: &HeaderMap, bytes_max: usize) -> Result<Self, CodingError> {
        let unknown = |name: &str| CodingError::Unknown(name.chars().take(64).collect());
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = named.next() else { return Ok(Self(Coding::Identity)) };
        let name = value.to_str().map_err(|_| unknown("?"))?.trim().to_ascii_lowercase();
        if named.next().is_some() {
            return Err(unknown("several"));
        }
        let to = Bounded { bytes: BytesMut::new(), left: bytes_max };
        Ok(Self(match name.as_str() {
            "" | "identity" => Coding::Identity,
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(flate2::write::MultiGzDecoder::new(to))),
            "deflate" => Coding::Deflate(Box::new(flate2::write::ZlibDecoder::new(to))),
            "br" => Coding::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(to, BROTLI_BUFFER))),
            "zstd" => Coding::Zstd(Box::new(zstd::stream::write::Decoder::new(to).map_err(CodingError::Malformed)?)),
            other => return Err(unknown(other)),
        }))
    }

    /// Returns a decoder that passes bodies unchanged.
    #[must_use]
    pub const fn identity() -> Self {
        Self(Coding::Identity)
    }

    /// Returns whether bodies pass unchanged.
    #[must_use]
    pub const fn is_identity(&self) -> bool {
        matches!(self.0, Coding::Identity)
    }

    /// Decodes the next piece; returns the bytes that it completes.
    ///
    /// # Errors
    /// Fails if the piece is invalid in its coding, or if the body becomes too large.
    pub fn push(&mut self, piece: Bytes, bytes_max: usize) -> Result<Bytes, CodingError> {
        let decoded = match &mut self.0 {
            Coding::Identity => return Ok(piece),
            Coding::Gzip(to) => to.write_all(&piece).and_then(|()| to.flush()).map(|()| to.get_mut().bytes.split()),
            Coding::Deflate(to) => to.write_all(&piece).and_then(|()| to.flush()).map(|()| to.get_mut().bytes.split()),
            Coding::Brotli(to) => to.write_all(&piece).and_then(|()| to.flush()).map(|()| to.get_mut().bytes.split()),
            Coding::Zstd(to) => to.write_all(&piece).and_then(|()| to.flush()).map(|()| to.get_mut().bytes.split()),
        };
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::FileTooLarge { CodingError::TooLarge(bytes_max) } else { CodingError::Malformed(error) }
        };
        decoded.map(BytesMut::freeze).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn decoder(name: &'static str, most: usize) -> Result<Decoder, CodingError> {
        let headers = [(header::CONTENT_ENCODING, HeaderValue::from_static(name))].into_iter().collect();
        Decoder::new(&headers, most)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    /// The output of `brotli -c` for "hello hello hello".
    const BROTLI: &[u8] =
        &[0x0b, 0x08, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03];

    #[test]
    fn every_coding_is_decoded_however_it_is_cut() {
        let text = b"hello hello hello".as_slice();
        for (name, coded) in [("gzip", gzip(text)), ("zstd", zstd_of(text)), ("br", BROTLI.to_vec()), ("identity", text.to_vec())] {
            for cut in 0..=coded.len() {
                let mut decoder = decoder(name, 100).unwrap();
                let mut out = Vec::new();
                for piece in [&coded[..cut], &coded[cut..]] {
                    out.extend_from_slice(&decoder.push(Bytes::copy_from_slice(piece), 100).unwrap());
                }
                assert_eq!(out, text, "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_and_garbage_is_refused() {
        let bomb = gzip(&vec![0; 10_000_000]);
        let bombed = decoder("gzip", 1_000).unwrap().push(bomb.into(), 1_000);
        assert!(matches!(bombed, Err(CodingError::TooLarge(1_000))));
        assert!(matches!(decoder("gzip", 100).unwrap().push(Bytes::from_static(b"{}{}{}{}{}{}{}"), 100), Err(CodingError::Malformed(_))));
        assert!(matches!(decoder("rot13", 100), Err(CodingError::Unknown(name)) if name == "rot13"));
    }
}
