//! The fence around `pg_raw_parse` (PostgreSQL's own grammar, libpg_query). No other file names that crate.
//!
//! It keeps two traps out of sight: the library's tree walker recurses without a limit (an expression of
//! 50,000 terms would end the process), so only one level at a time is handed out; and a panic in an
//! accessor or in the walker becomes an answer instead of the end of a session. Called by `sql` only.

pub use pg_raw_parse::list::NodeList;
use pg_raw_parse::walk::{Recurse, walk_manual};
pub use pg_raw_parse::{ConstValue, Node, nodes};

/// Numbers that PostgreSQL's headers give to kinds of statements.
pub mod kinds {
    pub use pg_raw_parse::raw::{DiscardMode, TransactionStmtKind, VariableSetKind};
    use pg_raw_parse::raw::{ObjectType, OnCommitAction};

    /// Whether what a DROP names are relations.
    pub fn is_relation(kind: ObjectType::Type) -> bool {
        matches!(
            kind,
            ObjectType::OBJECT_TABLE
                | ObjectType::OBJECT_VIEW
                | ObjectType::OBJECT_MATVIEW
                | ObjectType::OBJECT_SEQUENCE
                | ObjectType::OBJECT_FOREIGN_TABLE
        )
    }

    /// Whether a temporary relation ends with the transaction that creates it.
    pub fn is_dropped_at_commit(action: OnCommitAction::Type) -> bool {
        action == OnCommitAction::ONCOMMIT_DROP
    }

    /// `DECLARE … WITH HOLD`.
    pub const CURSOR_OPT_HOLD: i32 = pg_raw_parse::raw::CURSOR_OPT_HOLD as i32;
    /// The weakest mode of `LOCK TABLE` that conflicts with what a standby allows.
    pub const ROW_EXCLUSIVE_LOCK: i32 = 3;
    /// `relpersistence` of a temporary relation.
    pub const PERSISTENCE_TEMP: u8 = b't';
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The grammar does not accept the text, or the text holds a NUL.
    Syntax,
    /// The library failed on a text that its grammar accepted.
    Broken,
}

/// Parses `text` and hands the statements to `read`; the tree is freed afterwards.
pub fn with_statements<T>(text: &str, read: impl FnOnce(&[Node<'_>]) -> T) -> Result<T, Refusal> {
    // Unwind safety: everything that the closure touches is dropped when it panics, except what `read`
    // borrowed, which the only caller owns and throws away together with the result.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let tree = pg_raw_parse::parse(text).map_err(|_| Refusal::Syntax)?;
        let statements: Vec<Node<'_>> = tree.stmts().collect();
        Ok(read(&statements))
    }))
    .unwrap_or(Err(Refusal::Broken))
}

/// Calls `each` for every direct child of `node` in the order of the text, lists opened up to their members.
///
/// `node` must be an expression, a list or one of SELECT, INSERT, UPDATE, DELETE, MERGE: the library's
/// walker knows no others.
pub fn children<'a>(node: Node<'a>, mut each: impl FnMut(Node<'a>)) {
    let _: Option<()> = walk_manual(node, |child| match child {
        // Lists of lists (VALUES) are never deeper than the grammar makes them, so opening them is safe.
        Node::NodeList(_) => Recurse::yes(),
        child => {
            each(child);
            Recurse::no()
        }
    });
}
