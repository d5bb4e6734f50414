//! Tests of framing: splits, size limits and length prefixes.

#![allow(clippy::unwrap_used)]

use super::*;

fn record(bytes: &[u8], limit: Option<usize>) -> Result<Option<Bytes>, ProtocolError> {
    take_record(&mut BytesMut::from(bytes), limit, &mut 0)
}

#[test]
fn a_record_ends_at_its_separator_and_leaves_the_rest() {
    let mut buffer = BytesMut::from(&b"ab\x1ecd"[..]);
    assert_eq!(take_record(&mut buffer, None, &mut 0).unwrap().unwrap(), "ab");
    assert_eq!(take_record(&mut buffer, None, &mut 0).unwrap(), None);
    assert_eq!(buffer, "cd");
}

#[test]
fn the_limit_counts_the_separator() {
    assert_eq!(record(b"abc\x1e", Some(4)).unwrap().unwrap(), "abc");
    let error = record(b"abcd\x1e", Some(4)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "InvalidDataException: The maximum message size of 4B was exceeded. \
         The message size can be configured in AddHubOptions."
    );
}

#[test]
fn an_unterminated_record_is_refused_one_byte_over_the_limit() {
    assert_eq!(record(b"abcd", Some(4)).unwrap(), None);
    assert!(record(b"abcde", Some(4)).is_err());
    assert_eq!(record(&[b'a'; 100_000], None).unwrap(), None);
}

#[test]
fn whole_messages_before_one_that_is_too_long_are_returned_first() {
    let mut buffer = BytesMut::from(&b"a\x1eb\x1eccccccccc\x1e"[..]);
    assert_eq!(take_record(&mut buffer, Some(4), &mut 0).unwrap().unwrap(), "a");
    assert_eq!(take_record(&mut buffer, Some(4), &mut 0).unwrap().unwrap(), "b");
    assert!(take_record(&mut buffer, Some(4), &mut 0).is_err());
}

#[test]
fn searched_bytes_are_not_searched_again() {
    let mut buffer = BytesMut::from(&b"abc"[..]);
    let mut scanned = 0;
    assert_eq!(take_record(&mut buffer, None, &mut scanned).unwrap(), None);
    assert_eq!(scanned, 3);
    buffer.extend_from_slice(b"\x1ed\x1e");
    assert_eq!(take_record(&mut buffer, None, &mut scanned).unwrap().unwrap(), "abc");
    assert_eq!(scanned, 0);
    assert_eq!(take_record(&mut buffer, None, &mut scanned).unwrap().unwrap(), "d");
}

#[test]
fn a_slice_shares_the_buffers_memory() {
    let mut buffer = BytesMut::from(&b"abcdef\x1e"[..]);
    let before = buffer.as_ptr();
    let record = take_record(&mut buffer, None, &mut 0).unwrap().unwrap();
    assert_eq!(record.as_ptr(), before);
}

#[test]
fn prefixes_are_written_and_read() {
    for length in [0, 1, 127, 128, 255, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_456, 0x7fff_ffff] {
        let (prefix, used) = write_prefix(length);
        assert_eq!(read_prefix(&prefix[..used]).unwrap(), Some((used, length)));
        for short in 0..used {
            assert_eq!(read_prefix(&prefix[..short]).unwrap(), None);
        }
    }
}

#[test]
fn lengths_over_31_bits_are_refused() {
    for bad in [&b"\xff\xff\xff\xff\x0f"[..], b"\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x80\x00"] {
        let error = take_prefixed(&mut BytesMut::from(bad), None).unwrap_err();
        assert_eq!(error.to_string(), "FormatException: Messages over 2GB in size are not supported.");
    }
}

#[test]
fn the_limit_counts_the_prefix() {
    let take = |limit| take_prefixed(&mut BytesMut::from(&b"\x03abc"[..]), limit);
    assert_eq!(take(Some(4)).unwrap().unwrap(), "abc");
    assert!(take(Some(3)).is_err());
}

#[test]
fn a_body_announced_as_too_long_is_refused_at_once() {
    assert!(take_prefixed(&mut BytesMut::from(&b"\x80\x80\x04"[..]), Some(32_768)).is_err());
    assert_eq!(take_prefixed(&mut BytesMut::from(&b"\x80\x80\x04"[..]), None).unwrap(), None);
}

#[test]
fn an_overlong_prefix_is_accepted() {
    assert_eq!(take_prefixed(&mut BytesMut::from(&b"\x83\x00abc"[..]), None).unwrap().unwrap(), "abc");
}

#[test]
fn only_whole_messages_of_valid_unicode_pass_the_check() {
    use BadMessages::{Framing, Text};
    use Protocol::{Json, MessagePack};
    for (protocol, bytes, verdict) in [
        (Json, &b"{\"type\":6}\x1e"[..], Ok(())),
        (Json, b"{\"type\":6}\x1e{\"type\":6}\x1e", Ok(())),
        (Json, b"{\"type\":6}", Err(Framing)),
        (Json, b"x\x1e", Err(Framing)),
        (Json, b"\x1e", Err(Framing)),
        (Json, b"", Err(Framing)),
        (MessagePack, b"\x02\x91\x06", Ok(())),
        (MessagePack, b"\x02\x91\x06\x82\x00\x91\x06", Ok(())),
        (MessagePack, b"\x03\x91\x06", Err(Framing)),
        (MessagePack, b"\x02\x91\x06\x02", Err(Framing)),
        (MessagePack, b"\x02\xc0\x06", Err(Framing)),
        (MessagePack, b"\x00", Err(Framing)),
        (MessagePack, b"\xff\xff\xff\xff\x07\x91", Err(Framing)),
        (MessagePack, b"\xff\xff\xff\xff\x0f\x91", Err(Framing)),
        (MessagePack, b"", Err(Framing)),
        (Json, b"{\"\xff\":1}\x1e", Err(Text)),
        (Json, b"{}\x1e{\"a\":\"\xed\xa0\x80\"}\x1e", Err(Text)),
        (Json, b"{\"a\":\"\\ud83d\"}\x1e", Err(Text)),
        (Json, b"{\"a\":\"\\ud83d\\ude00 \xc3\xa9\"}\x1e", Ok(())),
        // An invalid escape must not hide invalid text.
        (Json, b"{\"a\":\"\\\xe7\"}\x1e", Err(Text)),
        (Json, b"{\"a\":\"\\u\xff\xff\xff\xff\"}\x1e", Err(Text)),
        (Json, b"{\\\x1e", Err(Text)),
        (MessagePack, b"\x02\x91\x06\x03\x91\xa1\xff", Err(Text)),
        (MessagePack, b"\x04\x91\x81\xa1\xff", Err(Framing)),
        (MessagePack, b"\x05\x91\x81\xa1\xff\x01", Err(Text)),
        (MessagePack, b"\x04\x91\xc4\x01\xff", Ok(())),
        (MessagePack, b"\x04\x91\xa2\xc3\xa9", Ok(())),
    ] {
        assert_eq!(check_messages(protocol, bytes), verdict, "{bytes:x?}");
    }
}
