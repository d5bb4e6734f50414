//! Between Rust types and the values of the wire: what methods take and return, and what clients are called with.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{RawValue, ValueError};

/// A parameter of a method: any type that serde reads without borrowing, or [`RawValue`], which takes a value of any
/// type as it came.
///
/// The rules of serde apply. A `String` does not take null: write `Option<String>` where a client may send it (a
/// .NET hub's `string` takes null). Names of properties are case-sensitive: give a type that clients write in camelCase
/// `#[serde(rename_all = "camelCase")]`, or take [`CaseInsensitive`](super::CaseInsensitive), which reads them in any case
/// as a .NET hub does.
pub trait Argument: Sized {
    /// Reads the value; fails where it is of another type.
    fn from_value(value: RawValue) -> Result<Self, ValueError>;
}

/// What can be sent: any type that serde writes, or [`RawValue`], which goes out as it came.
///
/// Bytes are binary where their type says so to serde (`bytes::Bytes`, `serde_bytes`); a `Vec<u8>` is a list of
/// numbers. `()` and `None` are null.
pub trait IntoValue {
    /// Writes the value; fails where its type cannot be written, such as a map whose keys are lists.
    fn into_value(self) -> Result<RawValue, ValueError>;
}

// `RawValue` implements neither trait of serde, and only its own crate could: so it may stand beside the rest.

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

/// What a client's method can be called with: a tuple of up to eight values, `()` for none, or a `Vec<RawValue>` of
/// any length.
pub trait IntoArguments {
    /// One raw value for each argument.
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

/// One argument of a [`super::ClientMethod`] that declares the type `T` for it: a `T`, or a borrowed form of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `{T}`, which the client method declares for this argument",
    label = "an argument of another type"
)]
pub trait ArgumentFor<T> {
    /// Writes the value, as [`IntoValue::into_value`].
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

/// The arguments of a [`super::ClientMethod`] that declares the tuple `Args` of types for them: a tuple with an
/// [`ArgumentFor`] each.
#[diagnostic::on_unimplemented(
    message = "the arguments `{Self}` are not those that the client method declares: `{Args}`",
    label = "arguments of other types, or another number of them"
)]
pub trait ArgumentsFor<Args> {
    /// One raw value for each argument.
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
    fn null_fits_an_option_and_no_string() {
        assert_eq!(Option::<String>::from_value(json("null")).unwrap(), None);
        assert!(String::from_value(json("null")).is_err());
    }

    #[test]
    fn nothing_is_null() {
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
