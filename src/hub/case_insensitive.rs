//! [`CaseInsensitive`]: reads JSON objects whose property names are case-insensitive, as ASP.NET Core does.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::Error;
use serde_json::value::RawValue as RawJson;

use super::values::Argument;
use crate::protocol::{Protocol, RawValue, ValueError};

/// A parameter whose property names are case-insensitive in JSON, as they are for a .NET hub: `firstName`, `FirstName`
/// and `FIRSTNAME` are the same. It can also be the type of an upload's items and of a client result.
///
/// ```
/// use hubplane::hub::{Caller, CaseInsensitive, Methods};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(rename_all = "camelCase")]
/// struct Person {
///     first_name: String,
///     age: Option<u8>,
/// }
///
/// let hub = Methods::new().method("Greet", |_: Caller, person: CaseInsensitive<Person>| async move {
///     let CaseInsensitive(Person { first_name, age }) = person;
///     Ok(format!("{first_name}, {age:?}"))
/// });
/// ```
///
/// - It applies to every struct within `T`, except for structs inside enums and structs with `#[serde(flatten)]`. Keys
///   of maps are not changed, and must be strings.
/// - The names are those that serde uses, that is after `rename` and similar attributes. Only ASCII letters are
///   compared without case.
/// - If a property occurs several times, its last value is used, as in .NET. If several fields match a name, a field
///   with exactly this name is preferred.
/// - An array is not accepted for a struct.
/// - In MessagePack, names are case-sensitive, as in .NET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaseInsensitive<T>(pub T);

// `CaseInsensitive` does not implement `Deserialize`. Therefore this does not overlap with the blanket implementation.
impl<T: DeserializeOwned> Argument for CaseInsensitive<T> {
    fn from_value(value: RawValue) -> Result<Self, ValueError> {
        if value.protocol() == Protocol::MessagePack {
            return value.to().map(Self);
        }
        let text = std::str::from_utf8(value.bytes()).map_err(|error| ValueError(error.to_string()))?;
        T::deserialize(InsensitiveJson(text)).map(Self).map_err(|error| ValueError(error.to_string()))
    }
}

/// The text of one JSON value, which is parsed when it is deserialized.
#[derive(Clone, Copy)]
struct InsensitiveJson<'de>(&'de str);

impl<'de> InsensitiveJson<'de> {
    fn begins_with(self, byte: u8) -> bool {
        self.0.trim_ascii_start().as_bytes().first() == Some(&byte)
    }

    /// serde_json's own deserializer for this value.
    fn parser(self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.0)
    }

    fn members(self) -> Result<Vec<(String, Self)>, Error> {
        self.parser().deserialize_map(MembersVisitor)
    }

    fn elements(self) -> Result<Vec<Self>, Error> {
        let elements: Vec<&RawJson> = serde_json::from_str(self.0)?;
        Ok(elements.into_iter().map(|element| Self(element.get())).collect())
    }
}

impl<'de> Deserializer<'de> for InsensitiveJson<'de> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.begins_with(b'[') {
            return Err(Error::invalid_type(Unexpected::Seq, &visitor));
        }
        if !self.begins_with(b'{') {
            return self.deserialize_any(visitor);
        }
        let (mut known, mut others) = (vec![None; fields.len()], Vec::new());
        for (name, value) in self.members()? {
            let exact = fields.iter().position(|field| *field == name);
            match exact.or_else(|| fields.iter().position(|field| field.eq_ignore_ascii_case(&name))) {
                Some(field) => known[field] = Some(value),
                None => others.push((Cow::Owned(name), value)),
            }
        }
        let known = fields.iter().zip(known).filter_map(|(field, value)| Some((Cow::Borrowed(*field), value?)));
        visitor.visit_map(MapDeserializer::new(known.chain(others)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.begins_with(b'{') {
            return self.deserialize_any(visitor);
        }
        visitor.visit_map(MapDeserializer::new(self.members()?.into_iter()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.begins_with(b'[') {
            return self.deserialize_any(visitor);
        }
        let mut elements = SeqDeserializer::new(self.elements()?.into_iter());
        let value = visitor.visit_seq(&mut elements)?;
        elements.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.begins_with(b'n') { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name.starts_with('$') {
            // serde_json reads its own `RawValue` under a private name that begins with `$`.
            return self.parser().deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.parser().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parser().deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parser().deserialize_byte_buf(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parser().deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for InsensitiveJson<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Collects the members of an object in order.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, InsensitiveJson<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawJson>()? {
            members.push((name, InsensitiveJson(value.get())));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::hub::test_kit;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", default)]
    struct Person {
        first_name: String,
        age: Option<u8>,
        home: Option<Address>,
        others: Vec<Address>,
        by_name: BTreeMap<String, Address>,
        pair: Option<(u64, Address)>,
        wrapped: Option<Wrapped>,
        kind: Kind,
        exact: f64,
        big: i128,
        letter: char,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Address {
        street_name: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wrapped(Address);

    #[derive(Debug, Default, Deserialize, PartialEq)]
    enum Kind {
        #[default]
        None,
        Some {
            x: i32,
        },
    }

    fn read<T: DeserializeOwned>(json: &str) -> Result<T, ValueError> {
        CaseInsensitive::from_value(test_kit::json(json)).map(|CaseInsensitive(value)| value)
    }

    fn street(name: &str) -> Address {
        Address { street_name: name.to_owned() }
    }

    #[test]
    fn names_are_case_insensitive_at_every_depth() {
        let json = r#"{
            "FIRSTNAME": "a\u00e9\n", "Age": 7, "unknown": {"Age": "x"}, "home": {"streetname": "1"},
            "Others": [ {"STREETNAME": "2"}, {"\u0053treetName": "3"} ], "byname": {"Key": {"streetName": "4"}},
            "PAIR": [18446744073709551615, {"streetName": "5"}], "Wrapped": {"streetName": "6"}, "Kind": {"Some": {"x": -1}},
            "EXACT": 1e3, "Big": -9, "Letter": "ü"
        }"#;
        let person = Person {
            first_name: "aé\n".to_owned(),
            age: Some(7),
            home: Some(street("1")),
            others: vec![street("2"), street("3")],
            by_name: BTreeMap::from([("Key".to_owned(), street("4"))]),
            pair: Some((u64::MAX, street("5"))),
            wrapped: Some(Wrapped(street("6"))),
            kind: Kind::Some { x: -1 },
            exact: 1000.0,
            big: -9,
            letter: 'ü',
        };
        assert_eq!(read::<Person>(json).unwrap(), person);
        assert_eq!(read::<Option<Vec<Person>>>(&format!(" [{json}]")).unwrap(), Some(vec![person]));
        assert_eq!(read::<Option<Person>>("null").unwrap(), None);
    }

    #[test]
    fn the_last_of_duplicate_names_wins() {
        for (json, name) in [
            (r#"{"streetName": "a", "StreetName": "b"}"#, "b"),
            (r#"{"StreetName": "a", "streetName": "b"}"#, "b"),
            (r#"{"StreetName": "a", "StreetName": "b"}"#, "b"),
        ] {
            assert_eq!(read::<Address>(json).unwrap(), street(name), "{json}");
        }
    }

    #[test]
    fn a_field_of_exactly_the_same_name_is_preferred() {
        #[derive(Debug, Deserialize, PartialEq)]
        #[allow(non_snake_case, reason = "the test needs two names that differ by case")]
        struct Both {
            a: i32,
            A: i32,
        }
        assert_eq!(read::<Both>(r#"{"A": 1, "a": 2}"#).unwrap(), Both { a: 2, A: 1 });
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for json in ["[]", r#"["x"]"#, "1", "null", "{}", r#"{"streetName": 1}"#, r#"{"ſtreetName": "x"}"#] {
            assert!(read::<Address>(json).is_err(), "{json}");
        }
        assert!(read::<(u8, u8)>("[1, 2, 3]").is_err());
        assert!(read::<Person>(r#"{"others": {}}"#).is_err());
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {}
        assert!(read::<Strict>(r#"{"a": 1}"#).is_err());
    }

    #[test]
    fn raw_json_can_be_a_field() {
        #[derive(Deserialize)]
        struct Part {
            part: Box<RawJson>,
        }
        assert_eq!(read::<Part>(r#"{"PART": {"b": 1.0, "B": 1E+2}}"#).unwrap().part.get(), r#"{"b": 1.0, "B": 1E+2}"#);
    }

    #[test]
    fn in_messagepack_names_are_case_sensitive() {
        let pack = |name: &str| RawValue::new(&BTreeMap::from([(name, "x")])).unwrap();
        assert_eq!(CaseInsensitive::from_value(pack("StreetName")), Ok(CaseInsensitive(street("x"))));
        assert!(CaseInsensitive::<Address>::from_value(pack("streetName")).is_err());
    }
}
