//! Conversions between Rust types and the values that clients send and receive: arguments and results of methods.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{RawValue, ValueError};

/// A type that can be read from a value that a client sent: an argument of a hub method, an item of an upload, or a
/// client result.
///
/// Implemented for every type that implements serde's `DeserializeOwned`, and for [`RawValue`], which accepts a value
/// of any type and keeps its bytes.
///
/// The rules of serde apply. Two of them differ from a .NET hub:
///
/// - A `String` does not accept null, which a .NET `string` does. Use `Option<String>` if clients may send null.
/// - Names of properties are case-sensitive. If clients write them in camelCase, put
///   `#[serde(rename_all = "camelCase")]` on the type, or take a [`CaseInsensitive`](super::CaseInsensitive), which
///   accepts them in any case as a .NET hub does.
pub trait Argument: Sized {
    /// Reads the value.
    ///
    /// # Errors
    ///
    /// An error if the value has another type.
    fn from_value(value: RawValue) -> Result<Self, ValueError>;
}

/// A type that can be sent to clients: a result of a hub method, or an argument of a client method.
///
/// Implemented for every type that implements serde's `Serialize`, and for [`RawValue`], which is sent with the bytes
/// that it has.
///
/// `()` and `None` are sent as null. A `Vec<u8>` is sent as a list of numbers; for binary data use a type that
/// serializes as bytes, such as `bytes::Bytes` or one of the crate `serde_bytes`.
pub trait IntoValue {
    /// Encodes the value.
    ///
    /// # Errors
    ///
    /// An error if the value cannot be encoded, such as a map whose keys are lists.
    fn into_value(self) -> Result<RawValue, ValueError>;
}

// `RawValue` implements neither of serde's traits. Therefore its implementations do not overlap with the blanket ones.

impl<T: DeserializeOwned> Argument for T {
    fn from_value(value: RawValue) -> Result<Self, ValueError> {
        value.to()
    }
}

impl Argument for RawValue {
    fn from_value(value: RawValue) -> Result<Self, ValueError> {
        Ok(value)
    }
}

impl<T: Serialize> IntoValue for T {
    fn into_value(self) -> Result<RawValue, ValueError> {
        RawValue::new(&self)
    }
}

impl IntoValue for RawValue {
    fn into_value(self) -> Result<RawValue, ValueError> {
        Ok(self)
    }
}

/// The arguments of a client method: a tuple of up to eight values, `()` for none, or a `Vec<RawValue>` of any length.
pub trait IntoArguments {
    /// Encodes the arguments, each as one raw value.
    ///
    /// # Errors
    ///
    /// The first error of [`IntoValue::into_value`].
    fn into_arguments(self) -> Result<Vec<RawValue>, ValueError>;
}

impl IntoArguments for Vec<RawValue> {
    fn into_arguments(self) -> Result<Vec<RawValue>, ValueError> {
        Ok(self)
    }
}

impl IntoArguments for () {
    fn into_arguments(self) -> Result<Vec<RawValue>, ValueError> {
        Ok(Vec::new())
    }
}

/// A value that can be passed for an argument that a [`super::ClientMethod`] declares as a `T`: a `T`, or a borrowed
/// form of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `{T}`, which the client method declares for this argument",
    label = "an argument of another type"
)]
pub trait ArgumentFor<T> {
    /// Encodes the value, like [`IntoValue::into_value`].
    ///
    /// # Errors
    ///
    /// An error if the value cannot be encoded.
    fn into_value_for(self) -> Result<RawValue, ValueError>;
}

impl<T: IntoValue> ArgumentFor<T> for T {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        self.into_value()
    }
}

impl<T: Serialize> ArgumentFor<T> for &T {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        RawValue::new(self)
    }
}

impl ArgumentFor<String> for &str {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        RawValue::new(self)
    }
}

impl ArgumentFor<Option<String>> for Option<&str> {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        RawValue::new(&self)
    }
}

impl<T: Serialize> ArgumentFor<Vec<T>> for &[T] {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        RawValue::new(self)
    }
}

impl<T: Serialize, const N: usize> ArgumentFor<Vec<T>> for [T; N] {
    fn into_value_for(self) -> Result<RawValue, ValueError> {
        RawValue::new(&self[..])
    }
}

/// The arguments that can be passed to a [`super::ClientMethod`] that declares the types `Args`: a tuple with an
/// [`ArgumentFor`] for each of them.
#[diagnostic::on_unimplemented(
    message = "the arguments `{Self}` are not those that the client method declares: `{Args}`",
    label = "arguments of other types, or another number of them"
)]
pub trait ArgumentsFor<Args> {
    /// Encodes the arguments, each as one raw value.
    ///
    /// # Errors
    ///
    /// The first error of [`ArgumentFor::into_value_for`].
    fn into_values(self) -> Result<Vec<RawValue>, ValueError>;
}

impl ArgumentsFor<()> for () {
    fn into_values(self) -> Result<Vec<RawValue>, ValueError> {
        Ok(Vec::new())
    }
}

macro_rules! tuples {
    ($($($name:ident $declared:ident)+;)*) => {$(
        impl<$($name: IntoValue),+> IntoArguments for ($($name,)+) {
            fn into_arguments(self) -> Result<Vec<RawValue>, ValueError> {
                #[allow(non_snake_case, reason = "type names serve as variable names")]
                let ($($name,)+) = self;
                Ok(vec![$($name.into_value()?),+])
            }
        }

        impl<$($declared, $name: ArgumentFor<$declared>),+> ArgumentsFor<($($declared,)+)> for ($($name,)+) {
            fn into_values(self) -> Result<Vec<RawValue>, ValueError> {
                #[allow(non_snake_case, reason = "type names serve as variable names")]
                let ($($name,)+) = self;
                Ok(vec![$($name.into_value_for()?),+])
            }
        }
    )*};
}
tuples! {
    A TA;
    A TA B TB;
    A TA B TB C TC;
    A TA B TB C TC D TD;
    A TA B TB C TC D TD E TE;
    A TA B TB C TC D TD E TE F TF;
    A TA B TB C TC D TD E TE F TF G TG;
    A TA B TB C TC D TD E TE F TF G TG H TH;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use super::*;
    use crate::hub::test_kit::json;

    #[test]
    fn a_raw_value_passes_through_untouched() {
        // Numbers that no Rust type keeps as they were written.
        let value = json(r#"{"b":1.0,"a":1E+2,"a":-0}"#);
        assert_eq!(RawValue::from_value(value.clone()).unwrap(), value);
        assert_eq!(value.clone().into_value().unwrap(), value);
        assert_eq!(("x", value.clone()).into_arguments().unwrap()[1], value);
        assert_eq!(vec![value.clone()].into_arguments().unwrap(), [value]);
    }

    #[test]
    fn null_is_accepted_by_an_option_and_not_by_a_string() {
        assert_eq!(Option::<String>::from_value(json("null")).unwrap(), None);
        assert!(String::from_value(json("null")).is_err());
    }

    #[test]
    fn a_unit_is_sent_as_null() {
        assert_eq!(().into_value().unwrap().to::<Option<i32>>().unwrap(), None);
    }

    #[test]
    fn arguments_keep_their_order() {
        let arguments = ("a", 2, [true], None::<u8>).into_arguments().unwrap();
        assert_eq!(arguments.len(), 4);
        assert_eq!(arguments[0].to::<String>().unwrap(), "a");
        assert_eq!(arguments[1].to::<i32>().unwrap(), 2);
        assert_eq!(arguments[2].to::<Vec<bool>>().unwrap(), [true]);
        assert_eq!(arguments[3].to::<Option<u8>>().unwrap(), None);
        assert!(().into_arguments().unwrap().is_empty());
    }

    #[test]
    fn declared_arguments_may_be_borrowed() {
        type Declared = (String, Option<String>, Vec<u8>, Vec<u8>, i64, bool, RawValue, Vec<String>);
        let (raw, list) = (json("1E+2"), vec!["x".to_owned()]);
        let borrowed = ("a", Some("b"), &[1, 2][..], [3], 4, &true, raw.clone(), &list);
        let owned: Declared =
            ("a".to_owned(), Some("b".to_owned()), vec![1, 2], vec![3], 4, true, raw.clone(), list.clone());
        let values = ArgumentsFor::<Declared>::into_values(borrowed).unwrap();
        assert_eq!(values, ArgumentsFor::<Declared>::into_values(owned.clone()).unwrap());
        assert_eq!(values, owned.into_arguments().unwrap());
        assert_eq!(values[6], raw);
    }
}
