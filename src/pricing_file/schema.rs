//! The JSON Schema of the price file, by which editors complete it and tell mistakes while it is written.

use serde_json::{Map, Value, json};

use super::format::FILE;
use super::shape::{Field, Number, Record, Shape};

/// Where the schema of this version is found.
const ID: &str = concat!(
    "https://raw.githubusercontent.com/gpu-cost-exporter/gpu-cost-exporter/v",
    env!("CARGO_PKG_VERSION"),
    "/pricing.schema.json"
);

/// The schema as text that ends with a line break.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = of_record(&FILE);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("$id".to_owned(), json!(ID));
    schema.insert("title".to_owned(), json!("Prices of gpu-cost-exporter"));
    // Maps of strings and numbers always have a text.
    let mut text = serde_json::to_string_pretty(&Value::Object(schema)).unwrap_or_default();
    text.push('\n');
    text
}

fn of_record(record: &Record) -> Map<String, Value> {
    let property = |field: &Field| {
        let mut schema = of(&field.shape);
        schema.insert("description".to_owned(), json!(field.says));
        (field.name.to_owned(), Value::Object(schema))
    };
    let properties: Map<String, Value> = record.fields.iter().map(property).collect();
    let mut schema = map(json!({ "type": "object", "additionalProperties": false, "minProperties": 1 }));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !record.required.is_empty() {
        schema.insert("required".to_owned(), json!(record.required));
    }
    if !record.any_of.is_empty() {
        let needs = |name: &&str| json!({ "required": [name] });
        schema.insert("anyOf".to_owned(), record.any_of.iter().map(needs).collect());
    }
    schema
}

fn of(shape: &Shape) -> Map<String, Value> {
    match shape {
        Shape::Number(number) => of_number(number),
        Shape::Day => {
            map(json!({ "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }))
        }
        Shape::Text(_) => map(json!({ "type": "string", "minLength": 1, "maxLength": 300 })),
        Shape::Version(versions) => map(json!({ "enum": versions })),
        Shape::Pattern(pattern) => map(json!({ "type": "string", "pattern": pattern.regex })),
        Shape::Word(words) => map(json!({ "enum": words })),
        Shape::Record(record) => of_record(record),
        Shape::Rows(_, row) => {
            map(json!({ "type": "object", "minProperties": 1, "additionalProperties": of(row) }))
        }
        Shape::List(_, item) => map(json!({ "type": "array", "minItems": 1, "items": of(item) })),
        Shape::Either(shapes) => map(json!({ "oneOf": shapes.each_ref().map(of) })),
    }
}

fn of_number(number: &Number) -> Map<String, Value> {
    let kind = if number.whole { "integer" } else { "number" };
    let lowest = if number.positive { "exclusiveMinimum" } else { "minimum" };
    map(json!({ "type": kind, lowest: number.smallest, "maximum": number.largest }))
}

fn map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
