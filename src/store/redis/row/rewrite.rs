//! Rewriting a JSON object without touching unknown fields. Each keeps its bytes and its position.

use serde::{
    Deserialize, Deserializer, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// The fields of an object in their order. Each value keeps its bytes.
pub struct Fields<'a>(Vec<(String, &'a RawValue)>);

/// Why a value can't be rewritten. The message never quotes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// The value is not JSON, or is JSON but not an object.
    #[error("is not a JSON object")]
    Syntax,
    /// The object has a field twice. Readers differ in which of the two they take.
    #[error("is a JSON object that has a field twice")]
    Twice,
    /// `provider_id` is not a string.
    #[error("is a JSON object whose provider_id is not a string")]
    ProviderId,
}

impl<'a> Fields<'a> {
    /// Parses `json`.
    ///
    /// # Errors
    /// Returns [`NotAnObject::Syntax`] or [`NotAnObject::Twice`].
    pub fn parse(json: &'a [u8]) -> Result<Self, NotAnObject> {
        let fields: Self = serde_json::from_slice(json).map_err(|_| NotAnObject::Syntax)?;
        let mut names: Vec<_> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(NotAnObject::Twice);
        }
        Ok(fields)
    }

    /// Returns the value of `provider_id`. A missing one and `null` count as empty, as in toolhive.
    ///
    /// # Errors
    /// Returns [`NotAnObject::ProviderId`] if the value is neither a string nor `null`.
    pub fn provider_id(&self) -> Result<String, NotAnObject> {
        let Some((_, value)) = self.0.iter().find(|(name, _)| name == "provider_id") else {
            return Ok(String::new());
        };
        serde_json::from_str::<Option<String>>(value.get())
            .map(Option::unwrap_or_default)
            .map_err(|_| NotAnObject::ProviderId)
    }

    /// Returns the object with another `provider_id`, and with the fields in `last`. `provider_id` keeps its
    /// position, or comes first if the object had none. The fields in `last` come last. With a `version` the
    /// object becomes a row of the broker's: `version` and `user_id` come before everything else.
    ///
    /// # Errors
    /// No object causes one.
    pub fn rewrite(
        &self,
        provider_id: &str,
        version: Option<u64>,
        last: &[(&str, u64)],
    ) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let size: usize = self
            .0
            .iter()
            .map(|(name, value)| name.len() + value.get().len() + 4)
            .sum();
        // The buffer is large enough: one that grows would leave its old memory unwiped.
        let room = size + 6 * provider_id.len() + 40 * last.len() + 128;
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        let mut serializer = serde_json::Serializer::new(&mut *json);
        let mut object = serializer.serialize_map(None)?;
        if let Some(version) = version {
            object.serialize_entry("version", &version)?;
            match self.0.iter().find(|(name, _)| name == "user_id") {
                Some((name, user)) => object.serialize_entry(name, user)?,
                None => object.serialize_entry("user_id", "")?,
            }
        }
        let in_head = |name: &str| version.is_some() && matches!(name, "version" | "user_id");
        if !self.0.iter().any(|(name, _)| name == "provider_id") {
            object.serialize_entry("provider_id", provider_id)?;
        }
        for (name, value) in &self.0 {
            if name == "provider_id" {
                object.serialize_entry(name, provider_id)?;
            } else if !in_head(name) && !last.iter().any(|(set, _)| set == name) {
                object.serialize_entry(name, value)?;
            }
        }
        for (name, value) in last {
            object.serialize_entry(name, value)?;
        }
        object.end()?;
        Ok(json)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(json: &str) -> String {
        let fields = Fields::parse(json.as_bytes()).unwrap();
        let bytes = fields.rewrite("okta", Some(7), &[("mark", 8)]).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_known_keeps_its_bytes_and_its_place() {
        assert_eq!(
            rewritten(
                r#"{"a":1.0,"provider_id":"oidc","n":12345678901234567890123,"e":[],"o":{"x": "\u00fc"}}"#
            ),
            r#"{"version":7,"user_id":"","a":1.0,"provider_id":"okta","n":12345678901234567890123,"e":[],"o":{"x": "\u00fc"},"mark":8}"#
        );
    }

    #[test]
    fn without_a_version_nothing_else_moves() {
        let fields = Fields::parse(br#"{"provider_id":"oidc","user_id":"u","version":1}"#).unwrap();
        let bytes = fields.rewrite("okta", None, &[]).unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            r#"{"provider_id":"okta","user_id":"u","version":1}"#
        );
    }

    #[test]
    fn a_field_that_is_set_is_there_once() {
        assert_eq!(
            rewritten(r#"{"version":"x","a":null,"user_id":"\u0075","mark":1}"#),
            r#"{"version":7,"user_id":"\u0075","provider_id":"okta","a":null,"mark":8}"#
        );
        assert_eq!(
            rewritten("{}"),
            r#"{"version":7,"user_id":"","provider_id":"okta","mark":8}"#
        );
    }

    #[test]
    fn what_cannot_be_rewritten() {
        for bad in ["", "null", "[1]", "7", "{", "{}x", "{\"a\":\"\u{1}\"}"] {
            let error = Fields::parse(bad.as_bytes()).err();
            assert_eq!(error, Some(NotAnObject::Syntax), "{bad}");
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err());
        // The second name is the first one in another spelling.
        let twice = Fields::parse(br#"{"ab":1,"\u0061b":1}"#).err();
        assert_eq!(twice, Some(NotAnObject::Twice));
    }

    #[test]
    fn a_provider_id_is_text_or_none() {
        let of = |json: &str| Fields::parse(json.as_bytes()).unwrap().provider_id();
        assert_eq!(of(r#"{"provider_id":"oi\u0064c"}"#).as_deref(), Ok("oidc"));
        assert_eq!(of(r#"{"provider_id":null}"#).as_deref(), Ok(""));
        assert_eq!(of("{}").as_deref(), Ok(""));
        for bad in ["7", "true", "[\"oidc\"]", "{}"] {
            let json = format!(r#"{{"provider_id":{bad}}}"#);
            assert_eq!(of(&json), Err(NotAnObject::ProviderId));
        }
    }
}
