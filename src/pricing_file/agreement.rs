//! Whether another YAML reader sees the same in a text as we do.
//!
//! A price file is read from the parser's events, which keep positions. A text that `serde_yaml` reads differently has
//! two meanings, and is refused.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::yaml::tree::{Node, Value};

/// Whether `serde_yaml` reads `root` from `text`; an error says where it does not.
pub(super) fn check(text: &str, root: &Node) -> Result<(), serde_yaml::Error> {
    Same(root).deserialize(serde_yaml::Deserializer::from_str(text))
}

/// A value that is to be the same.
struct Same<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &self.0.value {
            // Asked for a string, the reader gives the digits as they were written and makes no float of them.
            Value::Scalar { .. } | Value::Alias => deserializer.deserialize_str(self),
            Value::Map(_) => deserializer.deserialize_map(self),
            Value::List(_) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Same<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0.value {
            Value::Scalar { .. } | Value::Alias => "a scalar",
            Value::Map(_) => "a map",
            Value::List(_) => "a list",
        })
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<(), E> {
        match &self.0.value {
            Value::Scalar { text, .. } if text == found => Ok(()),
            _ => Err(E::custom(format_args!("it is also `{found}`"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Value::Map(entries) = &self.0.value else { return Err(A::Error::custom("it is also a map")) };
        for (key, value) in entries {
            if map.next_key_seed(Same(key))?.is_none() {
                return Err(A::Error::custom("the map is also shorter"));
            }
            map.next_value_seed(Same(value))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Value::List(items) = &self.0.value else { return Err(A::Error::custom("it is also a list")) };
        for item in items {
            if list.next_element_seed(Same(item))?.is_none() {
                return Err(A::Error::custom("the list is also shorter"));
            }
        }
        Ok(())
    }
}
