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
