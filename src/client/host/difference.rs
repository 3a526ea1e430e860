//! What differs between two environments, field by field, whatever the fields are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fact that two environments tell differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The fact's place in the JSON, such as `kernel.release`.
    pub key: String,
    /// Its value before; `None` if it was not told.
    pub from: Option<String>,
    /// Its value after; `None` if it is not told.
    pub to: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| {
            value.as_ref().map_or("not told".to_owned(), |value| format!("`{value}`"))
        };
        write!(f, "{}: {} → {}", self.key, text(&self.from), text(&self.to))
    }
}

/// The differences between two values, by key.
pub(super) fn differences(from: &impl Serialize, to: &impl Serialize) -> Vec<Difference> {
    let (mut from, mut to) = (facts(from), facts(to));
    let keys: BTreeSet<String> = from.keys().chain(to.keys()).cloned().collect();
    keys.into_iter()
        .map(|key| Difference { from: from.remove(&key), to: to.remove(&key), key })
        .filter(|difference| difference.from != difference.to)
        .collect()
}

/// Every fact of a value, by its key.
pub(super) fn facts(of: &impl Serialize) -> BTreeMap<String, String> {
    let value = serde_json::to_value(of).expect("maps with text keys always convert");
    let mut facts = BTreeMap::new();
    flatten("", value, &mut facts);
    facts
}

fn flatten(key: &str, value: Value, facts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(&key, value, facts);
            }
        }
        value => {
            facts.insert(key.to_owned(), text(&value));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
