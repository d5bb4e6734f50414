//! Where one message ends: 0x1E records and varint lengths, with the size limit.
