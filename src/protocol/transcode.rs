//! One value from one encoding to the other, and the check that it could be (design.md section 7, "Values").

use super::{Protocol, ValueError};

/// Converts one value that is encoded in `from` to the other protocol.
pub fn transcode(_value: &[u8], _from: Protocol) -> Result<Vec<u8>, ValueError> {
    Ok(Vec::new())
}

/// Whether [`transcode`] would succeed; allocates nothing.
pub fn check(_value: &[u8], _from: Protocol) -> Result<(), ValueError> {
    Ok(())
}
