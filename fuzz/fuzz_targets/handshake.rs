//! Fuzz target: the handshake, in both directions.
#![no_main]

use bytes::BytesMut;
use hubplane::fuzzing::{HandshakeError, failure, read_request, read_response, request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let whole = read_request(&mut BytesMut::from(data), Some(256), &mut 0);
    let (mut buffer, mut scanned) = (BytesMut::new(), 0);
    let mut pieces = Ok(None);
    for piece in data.chunks(3) {
        buffer.extend_from_slice(piece);
        pieces = read_request(&mut buffer, Some(256), &mut scanned);
        if pieces != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, pieces);
    match whole {
        Ok(Some(got)) => {
            let mut again = BytesMut::from(&request(&got.protocol, got.version)[..]);
            assert_eq!(read_request(&mut again, None, &mut 0), Ok(Some(got)));
        }
        Ok(None) => {}
        Err(error) => {
            assert_eq!(error == HandshakeError::TooLarge, error.text(true) == error.text(false));
            let text = error.text(true);
            let response = read_response(&mut BytesMut::from(&failure(&text)[..]), None);
            assert_eq!(response.map(|response| response.and_then(|response| response.error)), Ok(Some(text)));
        }
    }
    let _ = read_response(&mut BytesMut::from(data), None);
});
