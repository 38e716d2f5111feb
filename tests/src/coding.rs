//! Content codings of HTTP bodies, without a compression library.

use std::process::{Command, Stdio};

/// Compresses with the system's `gzip`.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new("gzip").arg("-c").stdin(std::fs::File::open(file).unwrap()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "gzip ended with {}", output.status);
    output.stdout
}

/// Encodes a Zstandard frame with one raw block (RFC 8878, sections 3.1.1.1 and 3.1.1.2); at most 255 bytes.
#[must_use]
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("at most 255 bytes");
    // A single-segment frame whose content size takes one byte; then the last block, raw.
    let block = (u32::from(length) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, length][..], &block[..3], bytes].concat()
}

/// Encodes a Brotli stream with one uncompressed meta-block (RFC 7932, sections 9.1 and 9.2); at most 65,536 bytes.
#[must_use]
pub fn brotli(bytes: &[u8]) -> Vec<u8> {
    let length = u32::from(u16::try_from(bytes.len() - 1).expect("at most 65,536 bytes"));
    // A window of 16 bits, not the last block, four nibbles of length, uncompressed; then an empty last block.
    let header = (length << 4 | 1 << 20).to_le_bytes();
    [&header[..3], bytes, &[3]].concat()
}
