//! Values as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A value as it is written. A file may write numbers and booleans as such.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Scalar")]
pub struct Text(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl From<Scalar> for Text {
    fn from(scalar: Scalar) -> Self {
        Self(match scalar {
            Scalar::Text(text) => text,
            Scalar::Integer(number) => number.to_string(),
            Scalar::Boolean(truth) => truth.to_string(),
        })
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Pairs of names: a list of `a=b`, or a table.
pub(super) fn pairs<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Text>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Pairs {
        List(Vec<String>),
        Table(BTreeMap<String, String>),
    }
    let pairs = match Pairs::deserialize(deserializer)? {
        Pairs::List(list) => list,
        Pairs::Table(table) => table
            .into_iter()
            .map(|(from, to)| format!("{from}={to}"))
            .collect(),
    };
    Ok(Some(pairs.into_iter().map(Text).collect()))
}
