//! Fuzz target: hub messages of a MessagePack client. The input is a byte for the split, one for the limit, then the
//! messages.
#![no_main]

use hubplane::Protocol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hubplane_fuzz::messages(Protocol::MessagePack, data));
