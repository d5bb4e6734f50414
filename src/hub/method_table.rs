//! Methods by name, found without regard to letter case (docs/builders/signalr-protocol.md#4.1).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A hub's methods. Names are compared as .NET's `OrdinalIgnoreCase` does: character by character, by the upper case
/// of each, without any language's rules.
#[derive(Debug)]
pub(super) struct MethodTable<T> {
    methods: Vec<T>,
    /// Names as declared: what clients mostly write, found without building a key.
    exact: HashMap<String, usize>,
    folded: HashMap<String, usize>,
}

impl<T> Default for MethodTable<T> {
    fn default() -> Self {
        Self { methods: Vec::new(), exact: HashMap::new(), folded: HashMap::new() }
    }
}

impl<T> MethodTable<T> {
    /// Adds a method; false, and nothing is changed, where there is one of that name already.
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

    /// The method of that name, to change it.
    pub(super) fn get_mut(&mut self, target: &str) -> Option<&mut T> {
        let index = self.index(target)?;
        self.methods.get_mut(index)
    }

    fn index(&self, target: &str) -> Option<usize> {
        self.exact.get(target).or_else(|| self.folded.get(&fold_case(target))).copied()
    }

    /// The names as declared, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str)
    }
}

/// Two names are one method when their folds are equal.
fn fold_case(name: &str) -> String {
    name.chars().map(upper).collect()
}

/// One character for one character. No letter outside of ASCII folds into it: `ı` is no `I`.
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
    fn letter_case_does_not_count() {
        let table = table(&["SendMessage", "Größe"]);
        for target in ["SendMessage", "sendmessage", "SENDMESSAGE", "sENDmESSAGE"] {
            assert_eq!(table.get(target).map(String::as_str), Some("SendMessage"), "{target}");
        }
        assert_eq!(table.get("GRÖßE").map(String::as_str), Some("Größe"));
    }

    #[test]
    fn nothing_else_is_forgiven() {
        let table = table(&["Echo", "I", "Ess", "ff"]);
        for target in [" Echo", "Echo ", "Ech", "ECHO\u{130}", "e\u{308}cho", "\u{131}", "E\u{df}", "\u{fb00}", ""] {
            assert_eq!(table.get(target), None, "{target:?}");
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut table = table(&["Echo"]);
        assert!(!table.insert("ECHO", "another".to_owned()));
        assert_eq!(table.get("ECHO").map(String::as_str), Some("Echo"));
        assert_eq!(table.names().collect::<Vec<_>>(), ["Echo"]);
    }
}
