//! Hub messages as a client sends them: a byte for the split, one for the limit, then the bytes.
#![no_main]

use hubplane::Protocol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hubplane_fuzz::messages(Protocol::MessagePack, data));
