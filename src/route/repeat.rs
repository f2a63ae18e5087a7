//! Whether a text that was under way on a lost node may be run once more.
#![forbid(unsafe_code)]

use super::read::Scene;
use super::{Catalog, ClusterView, Question, RouteConfig, SessionView};
use crate::sql::{Facts, Kind, ParseOutcome, Statement};

/// Whether a second run does no harm, whatever became of the first: the statements read, and call nothing that writes,
/// as far as the catalog knows. The error is what it must be asked.
pub fn only_reads(
    facts: &Facts,
    text: &[u8],
    session: &SessionView<'_>,
    cluster: &ClusterView,
    config: &RouteConfig,
    catalog: &dyn Catalog,
) -> Result<bool, Vec<Question>> {
    if !matches!(facts.parse, ParseOutcome::Ok | ParseOutcome::Empty) {
        return Ok(false);
    }
    let scene = Scene { text, session, cluster, config, catalog };
    let mut questions = Vec::new();
    for statement in &facts.statements {
        match scene.repeats(statement) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(mut asked) => questions.append(&mut asked),
        }
    }
    if questions.is_empty() { Ok(true) } else { Err(questions) }
}

impl Scene<'_> {
    fn repeats(&self, statement: &Statement) -> Result<bool, Vec<Question>> {
        match &statement.kind {
            // They change the session alone, and are undone with the connection.
            Kind::Begin(_) | Kind::Set { .. } | Kind::Reset { .. } | Kind::ResetAll | Kind::Show(_) => {
                return Ok(true);
            }
            Kind::Select | Kind::CopyTo { to_client: true } => {}
            _ => return Ok(false),
        }
        if statement.modifies || statement.row_locks {
            return Ok(false);
        }
        let found = self.look_into(statement);
        if found.function.is_some() {
            return Ok(false);
        }
        let views = |name| self.catalog.relation(name).is_some_and(|relation| relation.views.is_some());
        if self.config.quirks && statement.relations.iter().any(views) {
            // What stands in them was not looked at.
            return Ok(false);
        }
        let mut questions = found.relations_to_ask;
        questions.extend(found.functions_to_ask);
        // Whatever temporary relations there were, they went with the node.
        questions.retain(|question| *question != Question::Temporary);
        if questions.is_empty() { Ok(true) } else { Err(questions) }
    }
}
