//! Lists whose items have parts: the redirect preference lists, and `dml_adaptive_object_relationship_list`.
#![forbid(unsafe_code)]

use super::pattern;
use crate::error::NodeId;

/// An item of a redirect preference list: `pattern:node(weight)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// Of the name of a user, database or application.
    pub pattern: String,
    /// Where its reads go.
    pub to: RedirectTo,
    /// Share of the reads that go there, 0 to 1.
    pub weight: f64,
}

/// Where a redirect preference list sends reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectTo {
    /// To this node.
    Node(NodeId),
    /// To the primary.
    Primary,
    /// To a standby, by weight.
    Standby,
}

/// An item of `dml_adaptive_object_relationship_list`: what is written along with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    /// The table that is written or the function that is called, as written, without the parentheses.
    pub object: String,
    /// It is a function.
    pub is_function: bool,
    /// The table that is then written, too.
    pub dependent: String,
}

/// Reads a redirect preference list.
pub fn redirects(text: &str) -> Result<Vec<Redirect>, String> {
    items(text).map(redirect).collect()
}

/// Reads `dml_adaptive_object_relationship_list`.
pub fn relationships(text: &str) -> Result<Vec<Relationship>, String> {
    items(text).map(relationship).collect()
}

/// For the table of parameters.
pub(super) fn check_redirects(text: &str) -> Result<String, String> {
    redirects(text).map(|_| text.to_owned())
}

/// For the table of parameters.
pub(super) fn check_relationships(text: &str) -> Result<String, String> {
    relationships(text).map(|_| text.to_owned())
}

/// The limit that a list of `name:limit` has for a name.
pub fn limit_in_list(text: &str, name: &str) -> Option<u64> {
    items(text).filter_map(|item| limit(item).ok()).find(|(known, _)| *known == name).map(|(_, most)| most)
}

/// For the table of parameters.
pub(super) fn check_limits(text: &str) -> Result<String, String> {
    items(text).try_for_each(|item| limit(item).map(drop)).map(|()| text.to_owned())
}

fn limit(item: &str) -> Result<(&str, u64), String> {
    // A name may hold a colon, a number does not.
    let parts = item.rsplit_once(':').map(|(name, most)| (name.trim(), most.trim().parse::<u64>()));
    match parts {
        Some((name, Ok(most))) if !name.is_empty() => Ok((name, most)),
        _ => Err(format!("\"{item}\" is not name:limit, with a whole number that is at least 0")),
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn redirect(item: &str) -> Result<Redirect, String> {
    let wrong = |why: &str| format!("\"{item}\" is not name:node(weight): {why}");
    // A pattern may hold [[:alpha:]], a node holds no colon.
    let (name, node) = item.rsplit_once(':').ok_or_else(|| wrong("there is no colon"))?;
    let (node, weight) = match node.split_once('(') {
        Some((node, weight)) => {
            let weight = weight.trim_end().strip_suffix(')').and_then(|weight| weight.trim().parse().ok());
            let weight = weight.filter(|weight| (0.0..=1.0).contains(weight));
            (node, weight.ok_or_else(|| wrong("the weight is a number from 0 to 1 in parentheses"))?)
        }
        None => (node, 1.0),
    };
    let to = match node.trim().to_ascii_lowercase().as_str() {
        "primary" => RedirectTo::Primary,
        "standby" => RedirectTo::Standby,
        number => {
            RedirectTo::Node(number.parse().map_err(|_| wrong("the node is a number, primary or standby"))?)
        }
    };
    pattern::check(name.trim())?;
    Ok(Redirect { pattern: name.trim().to_owned(), to, weight })
}

fn relationship(item: &str) -> Result<Relationship, String> {
    let parts = item.split_once(':').map(|(object, dependent)| (object.trim(), dependent.trim()));
    let Some((object, dependent)) =
        parts.filter(|(object, dependent)| !object.is_empty() && !dependent.is_empty())
    else {
        return Err(format!("\"{item}\" is not table:table or function():table"));
    };
    let function = object.strip_suffix("()").map(str::trim);
    Ok(Relationship {
        object: function.unwrap_or(object).to_owned(),
        is_function: function.is_some(),
        dependent: dependent.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_by_the_whole_name() {
        let list = "ann:5, odd:name:7 ,bob:0";
        assert_eq!(check_limits(list), Ok(list.to_owned()));
        for (name, most) in
            [("ann", Some(5)), ("an", None), ("odd:name", Some(7)), ("bob", Some(0)), ("", None)]
        {
            assert_eq!(limit_in_list(list, name), most, "{name}");
        }
        for wrong in ["ann", "ann:", ":5", "ann:-1", "ann:x", "ann:5,bob"] {
            assert!(check_limits(wrong).is_err(), "{wrong}");
        }
        assert_eq!(limit_in_list("", "ann"), None);
    }

    #[test]
    fn redirects_as_the_manual_writes_them() {
        let found =
            redirects("postgres:primary,mydb[01]:1(0.3), mydb2 : standby ( 0.5 ) ,[[:alpha:]]+:2,").unwrap();
        let read: Vec<_> = found.iter().map(|r| (r.pattern.as_str(), r.to, r.weight)).collect();
        let expected = [
            ("postgres", RedirectTo::Primary, 1.0),
            ("mydb[01]", RedirectTo::Node(1), 0.3),
            ("mydb2", RedirectTo::Standby, 0.5),
            ("[[:alpha:]]+", RedirectTo::Node(2), 1.0),
        ];
        assert_eq!(read, expected);
        assert_eq!(redirects(""), Ok(Vec::new()));
        for wrong in ["a", "a:b", "a:1(", "a:1(2)", "a:1(NaN)", "a:-1", "a(:1", "a:1(0.5", "a:(0.5)"] {
            assert!(redirects(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn relationships_of_tables_and_functions() {
        let found = relationships("table_1:table_2, put ():s.table_3").unwrap();
        assert_eq!((found[0].object.as_str(), found[0].is_function), ("table_1", false));
        assert_eq!((found[1].object.as_str(), found[1].is_function), ("put", true));
        assert_eq!(found[1].dependent, "s.table_3");
        for wrong in ["a", "a:", ":b"] {
            assert!(relationships(wrong).is_err(), "{wrong}");
        }
    }
}
