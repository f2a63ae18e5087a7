//! Asks the catalog what a name is, on the session's own connection to the primary. Only this session waits.
#![forbid(unsafe_code)]

use super::reach::Reach;
use super::{Ctx, Session, Step};
use crate::cluster::relcache;
use crate::config::RelcacheQueryTarget;
use crate::error::NodeId;
use crate::log;
use crate::pool::Purpose;
use crate::route::Question;

impl Session {
    /// Sends the question; `None` when no node can be asked.
    pub(super) fn ask(&mut self, ctx: &mut Ctx<'_>, question: Question) -> Option<Step> {
        if self.asking.is_some() || self.in_flight > 0 {
            return Some(Step::Stall);
        }
        let Some(node) = self.node_to_ask(ctx, &question) else { return self.nowhere(ctx) };
        if let Some(batch) = self.batch {
            // A query cannot stand among the messages of a batch.
            self.end_batch(ctx, batch);
            return Some(Step::Stall);
        }
        let slot = match self.reach(ctx, node) {
            Reach::Ready(slot) => slot,
            Reach::Wait => return Some(Step::Stall),
            Reach::Failed if Some(node) == ctx.shared.view.writer() => return self.without(ctx, node),
            Reach::Failed => {
                self.avoid(ctx, node);
                return self.ask(ctx, question);
            }
        };
        let backend = ctx.pool.get(slot)?;
        let sql = relcache::question_sql(&question);
        // Read before the question is put: what changes behind it, the answer need not have.
        let state = match question {
            Question::Written => ctx.shared.segment.commits(),
            _ => ctx.shared.relations.epoch(&self.key.database),
        };
        super::report::log_internal(&ctx.shared.config, node, backend.pid, &sql);
        let mut out = Vec::new();
        backend.put_query(&mut out, sql.as_bytes(), Purpose::LookUp);
        let conn = backend.conn;
        ctx.wire.send(conn, &out);
        self.asking = Some((question, state));
        Some(Step::Stall)
    }

    /// The node that has the catalog to ask. What the session has created itself stands on the lead alone.
    fn node_to_ask(&self, ctx: &Ctx<'_>, question: &Question) -> Option<NodeId> {
        if let Question::Replayed(node) | Question::InRecovery(node) = question {
            return Some(*node);
        }
        let away = self
            .balance
            .filter(|_| ctx.shared.config.relcache_query_target == RelcacheQueryTarget::LoadBalanceNode)
            .filter(|_| {
                !matches!(question, Question::Temporary | Question::Written) && self.own_relations.is_none()
            })
            .filter(|node| self.may_use(ctx.shared, *node));
        let lead = away.or(self.transaction.as_ref().map(|tx| tx.lead)).or(ctx.shared.view.writer());
        // While there is no primary, any other knows the catalog as well.
        lead.or_else(|| {
            let mut nodes = ctx.shared.view.nodes.iter().map(|node| node.id);
            nodes.find(|node| self.may_use(ctx.shared, *node))
        })
    }

    /// The answer has come. Where the catalog cannot be read, the cautious answer is kept.
    pub(super) fn on_answer(&mut self, ctx: &mut Ctx<'_>, answer: Option<Vec<u8>>, error: Option<String>) {
        let Some((question, state)) = self.asking.take() else { return };
        if let Some(error) = error {
            let text = format!("the catalog did not answer, the statement goes to the primary: {error}");
            let during = "while searching system catalog, When relcache is missed";
            log::Line::new(log::Level::Log, text).context(during).emit();
        }
        let value = answer.as_deref().unwrap_or_default();
        match &question {
            // In doubt for ever it would be asked for ever.
            Question::Temporary => self.temporary.set(relcache::temporary(value).unwrap_or_default()),
            Question::InRecovery(_) => self.on_recovery_known(value == b"t"),
            Question::Written | Question::Replayed(_) => self.on_position(ctx, &question, value, state),
            Question::Function(_) | Question::Relation(_) => {
                let shared = &mut *ctx.shared;
                let relations = self.own_relations.as_deref_mut().unwrap_or(&mut shared.relations);
                relations.put(&self.key.database, &question, value, state, shared.now);
            }
        }
    }
}
