//! Case-insensitive lookup of a hub's methods by name (docs/builders/signalr-protocol.md#4.1).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A hub's methods. Names are compared like .NET's `OrdinalIgnoreCase`: character by character, by their upper case,
/// independent of any language.
#[derive(Debug)]
pub(super) struct MethodTable<T> {
    methods: Vec<T>,
    /// Names as declared. Most clients use these, and looking one up needs no allocation.
    exact: HashMap<String, usize>,
    /// Names after [`fold_case`].
    folded: HashMap<String, usize>,
}

impl<T> Default for MethodTable<T> {
    fn default() -> Self {
        Self { methods: Vec::new(), exact: HashMap::new(), folded: HashMap::new() }
    }
}

impl<T> MethodTable<T> {
    /// Adds a method. Returns false and changes nothing if there is already a method of that name.
    pub(super) fn insert(&mut self, name: &str, method: T) -> bool {
        let Entry::Vacant(vacant) = self.folded.entry(fold_case(name)) else {
            return false;
        };
        vacant.insert(self.methods.len());
        self.exact.insert(name.to_owned(), self.methods.len());
        self.methods.push(method);
        true
    }

    /// The method that a client means by `target`.
    pub(super) fn get(&self, target: &str) -> Option<&T> {
        self.methods.get(self.index(target)?)
    }

    pub(super) fn get_mut(&mut self, target: &str) -> Option<&mut T> {
        let index = self.index(target)?;
        self.methods.get_mut(index)
    }

    fn index(&self, target: &str) -> Option<usize> {
        self.exact.get(target).or_else(|| self.folded.get(&fold_case(target))).copied()
    }

    /// The names as declared, in no particular order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str)
    }
}

/// Two names mean the same method when their folded forms are equal.
fn fold_case(name: &str) -> String {
    name.chars().map(upper).collect()
}

/// The upper case of a character, if it is a single one. A letter outside of ASCII never becomes an ASCII letter, so
/// `ı` does not match `I`.
fn upper(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_uppercase();
    }
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> MethodTable<String> {
        let mut table = MethodTable::default();
        for name in names {
            assert!(table.insert(name, (*name).to_owned()), "{name}");
        }
        table
    }

    #[test]
    fn names_are_case_insensitive() {
        let table = table(&["SendMessage", "Größe"]);
        for target in ["SendMessage", "sendmessage", "SENDMESSAGE", "sENDmESSAGE"] {
            assert_eq!(table.get(target).map(String::as_str), Some("SendMessage"), "{target}");
        }
        assert_eq!(table.get("GRÖßE").map(String::as_str), Some("Größe"));
    }

    #[test]
    fn names_that_differ_by_more_than_case_are_not_found() {
        let table = table(&["Echo", "I", "Ess", "ff"]);
        for target in [" Echo", "Echo ", "Ech", "ECHO\u{130}", "e\u{308}cho", "\u{131}", "E\u{df}", "\u{fb00}", ""] {
            assert_eq!(table.get(target), None, "{target:?}");
        }
    }

    #[test]
    fn a_second_method_of_the_same_name_is_not_added() {
        let mut table = table(&["Echo"]);
        assert!(!table.insert("ECHO", "another".to_owned()));
        assert_eq!(table.get("ECHO").map(String::as_str), Some("Echo"));
        assert_eq!(table.names().collect::<Vec<_>>(), ["Echo"]);
    }
}
