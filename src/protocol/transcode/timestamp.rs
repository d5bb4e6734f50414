//! Decodes MessagePack timestamps, and formats them like a .NET `DateTime` in UTC.

use std::fmt;

use crate::calendar::civil_date;
use crate::protocol::ValueError;

/// The range of a .NET `DateTime`, in seconds since 1970: from 0001-01-01 to the end of 9999.
const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_800;

/// A point in time within the range of a .NET `DateTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// Decodes the content of an extension of type -1, in any of its three forms (MessagePack specification).
    /// Nanoseconds that exceed a second are carried, as in ASP.NET Core.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ValueError> {
        let (seconds, nanoseconds) = if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
            (i64::from(u32::from_be_bytes(bytes)), 0)
        } else if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
            let both = u64::from_be_bytes(bytes);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        } else if let Some((nanoseconds, seconds)) = bytes.split_first_chunk::<4>()
            && let Ok(seconds) = <[u8; 8]>::try_from(seconds)
        {
            (i64::from_be_bytes(seconds), u32::from_be_bytes(*nanoseconds))
        } else {
            return Err(ValueError(format!(
                "a timestamp in the value has {} bytes instead of 4, 8 or 12",
                bytes.len()
            )));
        };
        let seconds = seconds.saturating_add(i64::from(nanoseconds / 1_000_000_000));
        if !(MIN_SECONDS..MAX_SECONDS).contains(&seconds) {
            return Err(ValueError("a timestamp in the value is outside the years 1 to 9999".to_owned()));
        }
        Ok(Self { seconds, nanoseconds: nanoseconds % 1_000_000_000 })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let ticks = self.nanoseconds / 100;
        if ticks != 0 {
            write!(f, ".{}", format!("{ticks:07}").trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}
