//! Reads JSON field by field, so that all errors of a body are found at once, each with its JSON Pointer.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::{FieldError, Kind, Problem};

/// The most errors that one response lists.
const MOST_ERRORS: usize = 50;
/// The longest part of an unknown field's name that is repeated to the client.
const LONGEST_NAME: usize = 100;

/// The errors of one request.
#[derive(Default)]
pub struct Errors(Vec<FieldError>);

/// A JSON object that is being read. Every field that it has must be read, else it is unknown.
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    pointer: String,
    errors: &'a mut Errors,
    known: Vec<&'static str>,
}

/// A rule for text: its value, or the code and the sentence of the rule that it breaks.
pub type TextRule = fn(&str) -> Result<String, (&'static str, &'static str)>;

// === impl Errors ===

impl Errors {
    pub fn add(&mut self, error: FieldError) {
        if self.0.len() < MOST_ERRORS {
            self.0.push(error);
        }
    }

    /// Returns a 422 with all errors, if there are any.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.len() {
            0 => Ok(()),
            1 => {
                Err(Problem::new(Kind::INVALID, "a value of the request is invalid").errors(self.0))
            }
            count => {
                let detail = format!("{count} values of the request are invalid");
                Err(Problem::new(Kind::INVALID, detail).errors(self.0))
            }
        }
    }
}

// === impl Object ===

impl<'a> Object<'a> {
    /// Reads the object at `pointer`. `None` is an error that has been added.
    pub fn read<T>(
        value: &'a Value,
        pointer: String,
        errors: &'a mut Errors,
        read: impl FnOnce(&mut Object<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(fields) = value else {
            errors.add(wrong_type(pointer, "must be an object"));
            return None;
        };
        let mut object = Object {
            fields,
            pointer,
            errors,
            known: Vec::new(),
        };
        let read = read(&mut object);
        object.refuse_unknown();
        read
    }

    pub fn text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        let Value::String(text) = self.field(name)? else {
            return self.refuse_type(name, "must be a string");
        };
        rule(text)
            .map_err(|(code, detail)| self.refuse(name, code, detail.to_owned()))
            .ok()
    }

    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(number) = self.field(name)?.as_number() else {
            return self.refuse_type(name, "must be an integer");
        };
        // JSON has one type of numbers: 3.0 is the integer 3 (JSON Schema 2020-12, 4.2.3).
        let whole = number.as_f64().is_none_or(|number| number.fract() == 0.0);
        if !whole {
            return self.refuse_type(name, "must be an integer");
        }
        let in_doubles = || number.as_f64().map(|number| number as i64);
        let integer = number.as_i64().or_else(in_doubles);
        let fits = integer.filter(|integer| range.contains(integer));
        if fits.is_none() {
            let detail = format!("must be {} to {}", range.start(), range.end());
            self.refuse(name, "out-of-range", detail);
        }
        fits
    }

    pub fn id(&mut self, name: &'static str) -> Option<Uuid> {
        let Value::String(text) = self.field(name)? else {
            return self.refuse_type(name, "must be a string");
        };
        let id = parse_id(text);
        if id.is_none() {
            self.refuse(name, "not-a-uuid", "must be a UUID".to_owned());
        }
        id
    }

    /// Reads a list of objects.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        lengths: RangeInclusive<usize>,
        item: impl Fn(&mut Object<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(values) = self.field(name)? else {
            return self.refuse_type(name, "must be an array");
        };
        if !lengths.contains(&values.len()) {
            let detail = format!("must have {} to {} items", lengths.start(), lengths.end());
            self.refuse(name, "wrong-length", detail);
            return None;
        }
        // All are read before the first error counts.
        let pointer = self.pointer_to(name);
        let read = values
            .iter()
            .enumerate()
            .map(|(at, value)| Object::read(value, format!("{pointer}/{at}"), self.errors, &item));
        let read: Vec<Option<T>> = read.collect();
        read.into_iter().collect()
    }

    /// Reads a field that may be absent or null: `optional("phone", |user, name| user.text(name, phone))`. The outer
    /// `None` is an error that has been added.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for a new field, as in the README")
    )]
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => {
                self.known.push(name);
                Some(None)
            }
            Some(_) => read(self, name).map(Some),
        }
    }

    fn field(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        let value = self.fields.get(name);
        if value.is_none() {
            self.refuse(name, "missing", "must be given".to_owned());
        }
        value
    }

    fn refuse(&mut self, name: &str, code: &'static str, detail: String) {
        let pointer = self.pointer_to(name);
        self.errors.add(FieldError::in_body(pointer, code, detail));
    }

    fn refuse_type<T>(&mut self, name: &str, detail: &'static str) -> Option<T> {
        let pointer = self.pointer_to(name);
        self.errors.add(wrong_type(pointer, detail));
        None
    }

    fn refuse_unknown(&mut self) {
        for name in self.fields.keys() {
            if !self.known.contains(&name.as_str()) {
                let name: String = name.chars().take(LONGEST_NAME).collect();
                self.refuse(&name, "unknown-field", "is not a known field".to_owned());
            }
        }
    }

    fn pointer_to(&self, name: &str) -> String {
        let name = name.replace('~', "~0").replace('/', "~1");
        format!("{}/{name}", self.pointer)
    }
}

fn wrong_type(pointer: String, detail: &'static str) -> FieldError {
    FieldError::in_body(pointer, "wrong-type", detail)
}

/// Parses a UUID in its one canonical form: 36 characters with hyphens (RFC 9562, 4).
pub fn parse_id(text: &str) -> Option<Uuid> {
    match text.len() {
        36 => Uuid::try_parse(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn optional_field_is_absent_or_null_or_follows_its_rule() {
        let read = |json: &Value| {
            let mut errors = Errors::default();
            let read = Object::read(json, String::new(), &mut errors, |user| {
                user.optional("phone", |user, name| {
                    user.text(name, |text| match text.starts_with('+') {
                        true => Ok(text.to_owned()),
                        false => Err(("not-a-phone", "must begin with +")),
                    })
                })
            });
            errors.finish().map(|()| read)
        };
        for absent in [json!({}), json!({ "phone": null })] {
            assert_eq!(read(&absent).expect("no error"), Some(None));
        }
        let phone = read(&json!({ "phone": "+49" })).expect("no error");
        assert_eq!(phone, Some(Some("+49".to_owned())));
        for wrong in [json!({ "phone": "49" }), json!({ "phone": 49 })] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
