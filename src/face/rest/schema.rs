//! Bodies of requests and answers, each declared once: what serde writes and reads, and the schema of the document.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

/// What a JSON value looks like.
pub(in crate::face) trait Schema {
    /// As a JSON schema.
    fn schema() -> Value;

    /// Whether an object may lack it.
    const OPTIONAL: bool = false;
}

macro_rules! plain {
    ($($type:ty => $schema:tt,)*) => {
        $(impl Schema for $type {
            fn schema() -> Value {
                json!($schema)
            }
        })*
    };
}

plain! {
    bool => {"type": "boolean"},
    u16 => {"type": "integer", "minimum": 0},
    u32 => {"type": "integer", "minimum": 0},
    u64 => {"type": "integer", "minimum": 0},
    usize => {"type": "integer", "minimum": 0},
    i32 => {"type": "integer"},
    i64 => {"type": "integer"},
    f64 => {"type": "number"},
    String => {"type": "string"},
    &'static str => {"type": "string"},
}

impl<T: Schema> Schema for Option<T> {
    fn schema() -> Value {
        let mut schema = T::schema();
        let kind = schema.get("type").cloned().unwrap_or(Value::Null);
        if let Some(object) = schema.as_object_mut() {
            object.insert("type".to_owned(), json!([kind, "null"]));
            if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
                words.push(Value::Null);
            }
        }
        schema
    }

    const OPTIONAL: bool = true;
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

/// An object with these properties; `required`: those that are always there.
pub(in crate::face) fn object(
    about: &str,
    properties: Vec<(&str, Value, String)>,
    required: &[&str],
) -> Value {
    let mut map = Map::new();
    for (name, mut schema, about) in properties {
        if let (Some(object), false) = (schema.as_object_mut(), about.is_empty()) {
            object.insert("description".to_owned(), Value::String(about));
        }
        map.insert(name.to_owned(), schema);
    }
    let mut object = json!({"type": "object", "description": about, "properties": map});
    if let (Some(object), false) = (object.as_object_mut(), required.is_empty()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

/// The lines of a doc comment as one text.
pub(in crate::face) fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Describes an answer that is declared elsewhere: its fields, each with the type that it is written as.
macro_rules! described {
    ($($(#[doc = $about:literal])* $answer:ty {
        $($(#[doc = $field_about:literal])* $field:ident: $type:ty,)*
    })*) => {$(
        impl $crate::face::rest::schema::Schema for $answer {
            fn schema() -> serde_json::Value {
                // What is described is there.
                let _ = |answer: &$answer| { $(let _ = &answer.$field;)* };
                let properties = vec![$((
                    stringify!($field),
                    <$type as $crate::face::rest::schema::Schema>::schema(),
                    $crate::face::rest::schema::text(&[$($field_about),*]),
                )),*];
                let about = $crate::face::rest::schema::text(&[$($about),*]);
                $crate::face::rest::schema::object(&about, properties, &[$(stringify!($field)),*])
            }
        }
    )*};
}

/// Declares the body of an answer: all fields are always there.
macro_rules! answer {
    ($($(#[doc = $about:literal])* $vis:vis struct $name:ident {
        $($(#[doc = $field_about:literal])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[doc = $about])*
        #[derive(serde::Serialize)]
        $vis struct $name { $($(#[doc = $field_about])* pub $field: $type,)* }

        $crate::face::rest::schema::described! {
            $(#[doc = $about])*
            $name { $($(#[doc = $field_about])* $field: $type,)* }
        }
    )*};
}

/// Declares the body of a request: optional fields may be left out, and no others are taken.
macro_rules! request {
    ($($(#[doc = $about:literal])* $vis:vis struct $name:ident {
        $($(#[doc = $field_about:literal])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[doc = $about])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $field_about])* pub $field: $type,)* }

        impl $crate::face::rest::schema::Schema for $name {
            fn schema() -> serde_json::Value {
                use $crate::face::rest::schema::Schema;
                let properties = vec![$((
                    stringify!($field),
                    <$type as Schema>::schema(),
                    $crate::face::rest::schema::text(&[$($field_about),*]),
                )),*];
                let about = $crate::face::rest::schema::text(&[$($about),*]);
                let mut required: Vec<&str> = Vec::new();
                $(if !<$type as Schema>::OPTIONAL { required.push(stringify!($field)); })*
                let mut schema = $crate::face::rest::schema::object(&about, properties, &required);
                schema["additionalProperties"] = serde_json::Value::Bool(false);
                schema
            }
        }
    )*};
}

pub(in crate::face) use {answer, described, request};

#[cfg(test)]
mod tests {
    use super::*;

    answer! {
        /// Something.
        struct Sample {
            /// A number,
            /// or none.
            pub number: Option<u64>,
            /// Texts.
            pub texts: Vec<String>,
        }
    }

    request! {
        /// Wanted.
        struct Wanted {
            /// Must be there.
            pub name: String,
            /// May be there.
            pub size: Option<u64>,
        }
    }

    #[test]
    fn schemas_follow_the_fields() {
        assert_eq!(
            Sample::schema(),
            json!({
                "type": "object",
                "description": "Something.",
                "properties": {
                    "number": {"type": ["integer", "null"], "minimum": 0, "description": "A number, or none."},
                    "texts": {"type": "array", "items": {"type": "string"}, "description": "Texts."},
                },
                "required": ["number", "texts"],
            })
        );
        let wanted = Wanted::schema();
        assert_eq!((&wanted["required"], &wanted["additionalProperties"]), (&json!(["name"]), &json!(false)));
        assert!(serde_json::from_str::<Wanted>("{\"name\":\"a\",\"more\":1}").is_err());
        let read: Wanted = serde_json::from_str("{\"name\":\"a\"}").unwrap();
        assert_eq!((read.name.as_str(), read.size), ("a", None));
        let some = Sample { number: None, texts: Vec::new() };
        assert_eq!(serde_json::to_string(&some).unwrap(), "{\"number\":null,\"texts\":[]}");
    }
}
