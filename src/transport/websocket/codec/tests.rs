//! Tests of the frame decoder: valid and invalid frames, in pieces of all sizes.
#![allow(clippy::unwrap_used)]

use super::*;

/// A masked frame with the given first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        size @ 0..126 => out.push(0x80 | size as u8),
        size @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    out
}

/// The payload, the pongs and the final progress when `bytes` are fed in pieces of these sizes (the last one repeats).
fn fed(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<u8>, Progress) {
    let (mut decoder, mut payload, mut pongs) = (FrameDecoder::default(), BytesMut::new(), BytesMut::new());
    let (mut at, mut turn, mut progress) = (0, 0, Progress::Open);
    while at < bytes.len() && progress == Progress::Open {
        let size = sizes[turn.min(sizes.len() - 1)].min(bytes.len() - at);
        progress = decoder.feed(&mut bytes[at..at + size].to_vec(), &mut payload, &mut pongs);
        at += size;
        turn += 1;
    }
    (payload.to_vec(), pongs.to_vec(), progress)
}

fn ends(bytes: &[u8]) -> Progress {
    let whole = fed(bytes, &[usize::MAX]);
    assert_eq!(fed(bytes, &[1]).2, whole.2, "byte by byte");
    whole.2
}

#[test]
fn messages_and_fragments_form_one_byte_stream() {
    let mut bytes = frame(0x81, b"one");
    bytes.extend(frame(0x01, "tw\u{f6}".as_bytes()));
    bytes.extend(frame(0x89, b"?"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, b"three"));
    bytes.extend(frame(0x8a, b"unasked"));
    bytes.extend(frame(0x82, &[0xff; 300]));
    bytes.extend(frame(0x82, &[0xfe; 70_000]));
    let mut expected = "onetw\u{f6}three".as_bytes().to_vec();
    expected.extend([0xff; 300]);
    expected.extend([0xfe; 70_000]);
    for size in [1, 2, 3, 7, 13, 1000, usize::MAX] {
        let (payload, pongs, progress) = fed(&bytes, &[size]);
        assert!(payload == expected, "in pieces of {size}");
        assert_eq!(pongs, [0x8a, 1, b'?']);
        assert_eq!(progress, Progress::Open);
    }
}

#[test]
fn every_ping_is_answered_with_its_payload() {
    let mut bytes = frame(0x89, b"");
    bytes.extend(frame(0x89, b"hello"));
    bytes.extend(frame(0x89, &[0xab; 125]));
    let (_, pongs, _) = fed(&bytes, &[usize::MAX]);
    let mut expected = vec![0x8a, 0, 0x8a, 5];
    expected.extend_from_slice(b"hello");
    expected.extend([0x8a, 125]);
    expected.extend([0xab; 125]);
    assert_eq!(pongs, expected);
}

#[test]
fn payload_is_returned_before_its_frame_is_complete() {
    let mut header = vec![0x82, 0xff];
    header.extend_from_slice(&(i64::MAX as u64).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(b"some");
    let (payload, _, progress) = fed(&header, &[usize::MAX]);
    assert_eq!((&payload[..], progress), (&b"some"[..], Progress::Open));
}

#[test]
fn valid_close_frames_are_accepted() {
    assert_eq!(ends(&frame(0x88, b"")), Progress::Closed);
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1011, 3000, 4000, 4999] {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice("tsch\u{fc}ss".as_bytes());
        assert_eq!(ends(&frame(0x88, &payload)), Progress::Closed, "{code}");
    }
    let mut bytes = frame(0x88, b"");
    bytes.extend(frame(0x81, b"late"));
    assert_eq!(fed(&bytes, &[usize::MAX]), (vec![], vec![], Progress::Closed));
}

#[test]
fn violations_close_with_1002() {
    let broken = Progress::Violation(CLOSE_PROTOCOL_ERROR);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2000, 2999, 5000, 65535] {
        assert_eq!(ends(&frame(0x88, &code.to_be_bytes())), broken, "close {code}");
    }
    assert_eq!(ends(&frame(0x88, &[3])), broken, "a close payload of one byte");
    assert_eq!(ends(&frame(0x88, &[3, 0xe8, 0xff])), broken, "a close reason that is not UTF-8");
    assert_eq!(ends(b"\x81\x20"), broken, "unmasked");
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
        assert_eq!(ends(&frame(first, b"")), broken, "reserved {first:x}");
    }
    assert_eq!(ends(&frame(0x09, b"")), broken, "a fragmented ping");
    assert_eq!(ends(&frame(0x89, &[0; 126])), broken, "a long ping");
    assert_eq!(ends(&frame(0x80, b"x")), broken, "a continuation of nothing");
    let mut twice = frame(0x01, b"a");
    twice.extend(frame(0x81, b"b"));
    assert_eq!(ends(&twice), broken, "a message within a message");
    let mut after = frame(0x81, b"a");
    after.extend(frame(0x80, b"b"));
    assert_eq!(ends(&after), broken, "a continuation of a whole message");
    assert_eq!(ends(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), broken, "a length with its top bit set");
}

#[test]
fn text_must_be_utf8_and_binary_need_not() {
    let bad = Progress::Violation(CLOSE_INVALID_PAYLOAD);
    assert_eq!(ends(&frame(0x81, b"a\xc3(")), bad);
    assert_eq!(ends(&frame(0x81, b"torn \xc3")), bad);
    assert_eq!(ends(&frame(0x82, b"a\xc3(")), Progress::Open);
    let mut torn = frame(0x01, b"\xc3");
    torn.extend(frame(0x80, b"\xa9"));
    assert_eq!(ends(&torn), Progress::Open);
    let mut good = frame(0x81, b"good");
    good.extend(frame(0x81, b"\xff"));
    assert_eq!(fed(&good, &[usize::MAX]), (b"good".to_vec(), vec![], bad));
}

#[test]
fn an_overlong_length_is_accepted() {
    let bytes = [0x81, 0xfe, 0, 3, 0, 0, 0, 0, b'a', b'b', b'c'];
    assert_eq!(fed(&bytes, &[usize::MAX]).0, b"abc");
}

/// A small deterministic generator, so that failures can be reproduced.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn decoding_does_not_depend_on_the_split() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(8) {
            let first = [0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a, 0x02][random.below(8)];
            let size = if first & 8 == 0 { random.below(300) } else { random.below(126) };
            let payload: Vec<u8> = (0..size).map(|_| b'a' + random.below(26) as u8).collect();
            bytes.extend(frame(first, &payload));
        }
        // Sometimes a bit is flipped.
        if !bytes.is_empty() && random.below(3) == 0 {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        let whole = fed(&bytes, &[usize::MAX]);
        let sizes: Vec<usize> = (0..20).map(|_| 1 + random.below(40)).collect();
        let split = fed(&bytes, &sizes);
        assert_eq!(split.2, whole.2, "round {round}");
        // An invalid piece of text is dropped with everything else in the same piece, so how much is delivered before
        // it depends on the split.
        if whole.2 == Progress::Open {
            assert_eq!((split.0, split.1), (whole.0, whole.1), "round {round}");
        } else {
            assert!(split.0.starts_with(&whole.0), "round {round}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(42);
    for _ in 0..2000 {
        let size = random.below(200);
        let noise: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
        let sizes = [1 + random.below(20), 1 + random.below(200)];
        fed(&noise, &sizes);
    }
}
