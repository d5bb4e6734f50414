//! Values that need more than serde's own types: .NET's `object`, `byte[]`, `DateTime` and `Guid`.
//!
//! JSON clients send base64 and ISO 8601, MessagePack clients send binary and timestamps. Results are kept as
//! MessagePack; Hubplane converts binary and timestamps to the same texts for JSON clients.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hubplane::hub::{Argument, CaseInsensitive};
use hubplane::{Protocol, RawValue, ValueError};
use serde::de::{Error, IgnoredAny, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `{ Name: string, Value: object }`, or null. Without other properties, it is passed on unchanged.
pub(crate) struct CustomObject(pub(crate) RawValue);

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Properties<V> {
    name: Option<String>,
    value: V,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExactProperties {
    #[serde(rename = "Name")]
    _name: Option<String>,
    #[serde(rename = "Value")]
    _value: IgnoredAny,
}

impl Argument for CustomObject {
    fn from_value(value: RawValue) -> Result<Self, ValueError> {
        if value.protocol() == Protocol::MessagePack {
            value.to::<Option<Properties<IgnoredAny>>>()?;
            return Ok(Self(value));
        }
        if value.to::<Option<ExactProperties>>().is_ok() {
            return Ok(Self(value));
        }
        let CaseInsensitive(properties) = CaseInsensitive::<Properties<serde_json::Value>>::from_value(value)?;
        Ok(Self(RawValue::new(&properties)?))
    }
}

/// .NET's `string`: a text or null. (serde's `String` also accepts binary.)
pub(crate) struct Text(pub(crate) Option<String>);

impl Argument for Text {
    fn from_value(value: RawValue) -> Result<Self, ValueError> {
        match value.as_text() {
            Some(text) => Ok(Self(Some(text.into_owned()))),
            None if value.is_null() => Ok(Self(None)),
            None => Err(ValueError::new("not a text")),
        }
    }
}

/// An object with a property of each type.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ComplexObject {
    byte_array: Option<Binary>,
    date_time: DateTime,
    guid: Guid,
    int_array: Option<Vec<i32>>,
    string: Option<String>,
}

impl Default for ComplexObject {
    fn default() -> Self {
        Self {
            byte_array: None,
            date_time: DateTime::Text("0001-01-01T00:00:00".to_owned()),
            guid: Guid("00000000-0000-0000-0000-000000000000".to_owned()),
            int_array: None,
            string: None,
        }
    }
}

impl ComplexObject {
    pub(crate) fn example() -> Self {
        Self {
            byte_array: Some(Binary(vec![1, 2, 3])),
            // 2000-01-01, in seconds since 1970.
            date_time: DateTime::Timestamp(946_684_800_u32.to_be_bytes().to_vec()),
            guid: Guid("00010203-0405-0607-0706-050403020100".to_owned()),
            int_array: Some(vec![1, 2, 3]),
            string: Some("hello world".to_owned()),
        }
    }
}

// === binary ===

struct Binary(Vec<u8>);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return STANDARD.decode(&text).map(Self).map_err(|_| D::Error::custom("not base64"));
        }
        deserializer.deserialize_byte_buf(BinaryVisitor)
    }
}

/// The bytes of an extension. A type of its own, because rmp-serde claims that the inside of an extension is human
/// readable.
struct Content(Vec<u8>);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BinaryVisitor).map(|Binary(bytes)| Self(bytes))
    }
}

struct BinaryVisitor;

impl Visitor<'_> for BinaryVisitor {
    type Value = Binary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("binary")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Binary, E> {
        Ok(Binary(bytes.to_vec()))
    }
}

// === date and time ===

/// The name by which rmp-serde recognises extensions, in both directions.
const EXTENSION: &str = "_ExtStruct";
/// The extension type of MessagePack's timestamps.
const TIMESTAMP: i8 = -1;

enum DateTime {
    /// ISO 8601, without trailing zeros in the fraction of the second.
    Text(String),
    /// The content of a MessagePack timestamp.
    Timestamp(Vec<u8>),
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Timestamp(bytes) => {
                serializer.serialize_newtype_struct(EXTENSION, &(TIMESTAMP, Binary(bytes.clone())))
            }
        }
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return normal(&text).map(Self::Text).ok_or_else(|| D::Error::custom("not a date"));
        }
        deserializer.deserialize_newtype_struct(EXTENSION, TimestampVisitor)
    }
}

struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = DateTime;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<DateTime, D::Error> {
        let (kind, Content(bytes)) = <(i8, Content)>::deserialize(deserializer)?;
        if kind != TIMESTAMP {
            return Err(D::Error::invalid_value(Unexpected::Signed(kind.into()), &"the extension -1"));
        }
        Ok(DateTime::Timestamp(shortest(&bytes).unwrap_or(bytes)))
    }
}

/// The shortest form of a timestamp, which is what .NET always writes.
fn shortest(bytes: &[u8]) -> Option<Vec<u8>> {
    let (nanoseconds, seconds) = match bytes.len() {
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            ((both >> 34) as u32, i64::try_from(both & 0x3_ffff_ffff).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = bytes.split_at(4);
            (u32::from_be_bytes(nanoseconds.try_into().ok()?), i64::from_be_bytes(seconds.try_into().ok()?))
        }
        _ => return None,
    };
    // .NET counts in units of 100 nanoseconds, and carries an overflow into the seconds.
    let (seconds, nanoseconds) =
        (seconds.saturating_add(i64::from(nanoseconds / 1_000_000_000)), nanoseconds % 1_000_000_000);
    let nanoseconds = nanoseconds / 100 * 100;
    let (Ok(seconds), true) = (u64::try_from(seconds), seconds >> 34 == 0) else {
        return Some([&nanoseconds.to_be_bytes()[..], &seconds.to_be_bytes()].concat());
    };
    Some(match u32::try_from(seconds) {
        Ok(seconds) if nanoseconds == 0 => seconds.to_be_bytes().to_vec(),
        _ => ((u64::from(nanoseconds) << 34) | seconds).to_be_bytes().to_vec(),
    })
}

/// Normalises a date as .NET writes it: `2016-05-10` with a time, a fraction of up to seven digits, and `Z` or an
/// offset. Returns `None` if it is not a date.
fn normal(text: &str) -> Option<String> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let mut fields = date.split('-');
    let fits = |field: Option<&str>, digits: usize, range: std::ops::RangeInclusive<u32>| {
        let field = field.filter(|field| field.len() == digits && field.bytes().all(|byte| byte.is_ascii_digit()));
        field.and_then(|field| field.parse().ok()).is_some_and(|number| range.contains(&number))
    };
    let date_fits = fits(fields.next(), 4, 1..=9999)
        && fits(fields.next(), 2, 1..=12)
        && fits(fields.next(), 2, 1..=31)
        && fields.next().is_none();
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone_at);
    let zone_fits = match zone.strip_prefix(['+', '-']) {
        Some(offset) => {
            offset.split_once(':').is_some_and(|(h, m)| fits(Some(h), 2, 0..=14) && fits(Some(m), 2, 0..=59))
        }
        None => zone.is_empty() || zone == "Z",
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut fields = time.split(':');
    let time_fits = fits(fields.next(), 2, 0..=23) && fits(fields.next(), 2, 0..=59);
    let seconds = fields.next();
    let seconds_fit = seconds.is_none() || fits(seconds, 2, 0..=59) && fields.next().is_none();
    let fraction_fits = (1..=16).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !(date_fits && time_fits && seconds_fit && fraction_fits && zone_fits) {
        return None;
    }
    let seconds = if seconds.is_none() { ":00" } else { "" };
    let fraction = fraction[..fraction.len().min(7)].trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{date}T{time}{seconds}{point}{fraction}{zone}"))
}

// === guid ===

#[derive(Serialize)]
struct Guid(String);

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let groups = [8, 4, 4, 4, 12];
        let fits = text.split('-').count() == groups.len()
            && text
                .split('-')
                .zip(groups)
                .all(|(group, length)| group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err(D::Error::custom("not a Guid")) }
    }
}
