//! The first message each way, always JSON, one record (reference/signalr-protocol.md, section 2).
#![allow(missing_docs)]
use bytes::BytesMut;
#[derive(Debug)]
pub struct HandshakeRequest {
    pub protocol: String,
    pub version: i32,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    Canceled,
    UnsupportedProtocol { name: String },
    UnsupportedVersion { name: String, version: i32 },
    BinaryOnTextTransport { name: String },
}
pub fn read_request(_buffer: &mut BytesMut, _limit: Option<usize>) -> Result<Option<HandshakeRequest>, HandshakeError> {
    Ok(None)
}
impl HandshakeError {
    pub fn text(&self, _detailed: bool) -> String {
        String::new()
    }
}
pub fn success() -> &'static [u8] {
    b"{}\x1e"
}
pub fn failure(_text: &str) -> Vec<u8> {
    Vec::new()
}
