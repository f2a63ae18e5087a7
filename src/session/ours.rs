//! What is asked of us and not of PostgreSQL (`SHOW POOL_…`, `PGPOOL …`), over both protocols.
//!
//! In the extended one a statement and a portal of ours live beside the servers', under the same names. What was sent
//! to a node before is ended there first, so that answers keep their order.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;

use super::finish::Refusal;
use super::{Ctx, Session, Step};
use crate::admin::{self, NodeScore};
use crate::error::NodeId;
use crate::face::sql::{self, Answer, Asked};
use crate::pool::Names;
use crate::route::learn::Class;
use crate::route::{self, NodeView, Target};
use crate::wire::backend;
use crate::wire::frontend::{self, Bind, Parse};

/// The statements and portals of ours.
#[derive(Default)]
pub(super) struct Ours {
    statements: Names<Rc<OwnStatement>>,
    portals: Names<OwnPortal>,
}

struct OwnStatement {
    asked: Asked,
    text: Vec<u8>,
}

struct OwnPortal {
    statement: Rc<OwnStatement>,
    /// Formats of the columns, as Bind gives them.
    formats: Vec<i16>,
    /// Rows that wait for the next Execute; `None` before the first.
    rest: Option<VecDeque<Vec<String>>>,
}

impl Session {
    /// A simple query that is for us; `None` when no node can answer what must be asked for it.
    pub(super) fn answer_simple(&mut self, ctx: &mut Ctx<'_>, asked: &Asked, text: &[u8]) -> Option<Step> {
        let answer = match self.own_answer(ctx, asked) {
            Ok(answer) => answer,
            Err(step) => return step,
        };
        self.log_statement(ctx, text);
        let mut out = Vec::new();
        sql::encode(&answer, &mut out);
        // pgpool-II always says idle here; inside a transaction the client must not be told so.
        backend::put_ready(&mut out, self.status());
        ctx.wire.send(self.client, &out);
        Some(Step::Done(0))
    }

    /// The answer, or what must be waited for.
    fn own_answer(&mut self, ctx: &mut Ctx<'_>, asked: &Asked) -> Result<Answer, Option<Step>> {
        Ok(match asked {
            Asked::Report(request) => self.report(ctx, request.clone()).into(),
            Asked::Command(command) => self.command(ctx, command)?.into(),
            Asked::Wrong(message) => Answer::Failed { message: message.clone(), detail: None },
            Asked::Help => sql::help(),
            Asked::Set(name, value) => self.set_own(ctx, name, value.as_deref()).into(),
            Asked::ResetAll => {
                self.forget_own(ctx);
                Answer::Done("RESET")
            }
            Asked::ExplainRoute(text) => self.explain_route(ctx, text.as_bytes())?,
        })
    }

    /// What was learnt of nodes for such statements; empty where nothing is learnt.
    fn scores_text(&self, ctx: &Ctx<'_>, nodes: &[NodeId], class: Class) -> String {
        let shared = &*ctx.shared;
        let Some(model) = route::model(&shared.segment).filter(|_| shared.routes.learns()) else {
            return String::new();
        };
        let may = |node: &NodeView| nodes.contains(&node.id);
        let candidates: Vec<_> = route::candidates(&shared.view, &shared.routes, &may).collect();
        let scores = model.scores(&shared.routes.learning, &candidates, class, shared.micros());
        admin::scores_text(&scores.into_iter().map(NodeScore::from).collect::<Vec<_>>())
    }

    /// Where a statement would go if the client sent it now.
    fn explain_route(&mut self, ctx: &mut Ctx<'_>, text: &[u8]) -> Result<Answer, Option<Step>> {
        let facts = ctx.shared.facts.get(text);
        let explained = self.with_view(ctx, |view, cluster, routes, catalog| {
            route::explain(&facts, text, view, cluster, routes, catalog)
        });
        let explanation = match explained {
            Ok(explanation) => explanation,
            Err(questions) => {
                let question = questions.into_iter().next().ok_or(None)?;
                return Err(self.ask(ctx, question));
            }
        };
        let (lead, class) = (self.lead(ctx), ctx.shared.class(&facts, text));
        let node = match &explanation.route.target {
            Target::Balance => match self.fresh_node(ctx, lead, explanation.route.after, class) {
                Ok(node) => node,
                Err(question) => return Err(self.ask(ctx, question)),
            },
            Target::Prepared(name) => self.holder(ctx, name.as_bytes()).or(lead),
            Target::Node(node) => Some(*node),
            Target::Primary | Target::Everywhere => lead,
        };
        self.drawn = None;
        self.asked_enough = false;
        let number = |node: NodeId| node.to_string();
        let candidates = explanation.candidates.iter().copied().map(number).collect::<Vec<_>>().join(", ");
        let row = vec![
            node.map_or_else(String::new, number),
            explanation.target(),
            explanation.route.reason.to_string(),
            explanation.route.reason.rule(),
            candidates,
            explanation.relations_text(),
            explanation.functions_text(),
            explanation.write().to_owned(),
            self.scores_text(ctx, &explanation.candidates, class),
        ];
        Ok(Answer::Table { columns: sql::explain_columns(), rows: vec![row] })
    }

    fn report(&self, ctx: &Ctx<'_>, request: admin::Request) -> Result<admin::Reply, admin::AdminError> {
        admin::handle(request, &self.admin_context(ctx))
    }

    pub(super) fn admin_context<'a>(&self, ctx: &'a Ctx<'_>) -> admin::Context<'a> {
        let shared = &*ctx.shared;
        admin::Context {
            segment: &shared.segment,
            config: &shared.config,
            session: Some(admin::SessionFacts { balance_node: self.balance }),
            now: shared.unix_now,
        }
    }

    /// A Parse message that is for us, or takes a name that is ours.
    pub(super) fn own_parse(&mut self, ctx: &mut Ctx<'_>, parse: &Parse<'_>, length: usize) -> Option<Step> {
        let asked = sql::recognise(parse.text);
        let ours = self.ours.as_ref().is_some_and(|ours| ours.statements.contains(parse.name));
        if asked.is_none() && !ours {
            return None;
        }
        if asked.is_none() && parse.name.is_empty() {
            // The unnamed statement is replaced by one of the servers'.
            self.ours.get_or_insert_default().statements.remove(parse.name);
            return None;
        }
        if self.must_wait(ctx, None) {
            return Some(Step::Stall);
        }
        let taken = !parse.name.is_empty() && (ours || self.statements.contains(parse.name));
        let Some(asked) = asked.filter(|_| !taken) else {
            let name = String::from_utf8_lossy(parse.name);
            return Some(self.refuse_own(
                ctx,
                Refusal::Own("42P05", format!("prepared statement \"{name}\" already exists")),
                length,
            ));
        };
        self.statements.remove(parse.name);
        let statement = OwnStatement { asked, text: parse.text.to_vec() };
        self.ours.get_or_insert_default().statements.insert(parse.name, Rc::new(statement));
        Some(self.tell(ctx, length, backend::put_parse_complete))
    }

    /// A Bind message to a statement of ours.
    pub(super) fn own_bind(
        &mut self,
        ctx: &mut Ctx<'_>,
        portal: &[u8],
        statement: &[u8],
        whole: Option<&[u8]>,
    ) -> Option<Step> {
        let ours = self.ours.as_mut()?;
        let Some(statement) = ours.statements.get(statement).cloned() else {
            // The portal becomes one of the servers'.
            ours.portals.remove(portal);
            return None;
        };
        let Some(whole) = whole else { return Some(Step::More) };
        if self.must_wait(ctx, None) {
            return Some(Step::Stall);
        }
        let refusal = match frontend::bind(whole.get(5..).unwrap_or_default()) {
            Err(error) => Refusal::Own("08P01", error.to_string()),
            Ok(Bind { values: 1.., .. }) => Refusal::Own(
                "08P01",
                "bind message supplies parameters, but the prepared statement requires none".to_owned(),
            ),
            Ok(Bind { formats, .. }) => {
                let portals = &mut self.ours.get_or_insert_default().portals;
                if !portal.is_empty() && (portals.contains(portal) || self.portals.contains(portal)) {
                    let name = String::from_utf8_lossy(portal);
                    Refusal::Own("42P03", format!("cursor \"{name}\" already exists"))
                } else {
                    self.portals.remove(portal);
                    portals.insert(portal, OwnPortal { statement, formats, rest: None });
                    return Some(self.tell(ctx, whole.len(), backend::put_bind_complete));
                }
            }
        };
        Some(self.refuse_own(ctx, refusal, whole.len()))
    }

    /// A Describe message about what is ours.
    pub(super) fn own_describe(
        &mut self,
        ctx: &mut Ctx<'_>,
        target: frontend::Target<'_>,
        length: usize,
    ) -> Option<Step> {
        let ours = self.ours.as_ref()?;
        let (statement, formats) = match target.kind {
            b'S' => (Rc::clone(ours.statements.get(target.name)?), Vec::new()),
            _ => ours
                .portals
                .get(target.name)
                .map(|portal| (Rc::clone(&portal.statement), portal.formats.clone()))?,
        };
        if self.must_wait(ctx, None) {
            return Some(Step::Stall);
        }
        let columns = match &statement.asked {
            Asked::Report(request) => match self.report(ctx, request.clone()) {
                Ok(admin::Reply::Table { columns, .. }) => Some(columns),
                Err(error) => {
                    return Some(self.refuse_own(ctx, Refusal::Own("XX000", error.to_string()), length));
                }
            },
            Asked::ExplainRoute(_) => Some(sql::explain_columns()),
            Asked::Help => Some(sql::help_columns()),
            Asked::Wrong(_) | Asked::Set(..) | Asked::ResetAll | Asked::Command(_) => None,
        };
        Some(self.tell(ctx, length, |out| {
            if target.kind == b'S' {
                backend::put_parameter_description(out);
            }
            match columns {
                Some(columns) => sql::put_columns(&columns, &formats, out),
                None => backend::put_no_data(out),
            }
        }))
    }

    /// An Execute message for a portal of ours.
    pub(super) fn own_execute(
        &mut self,
        ctx: &mut Ctx<'_>,
        portal: &[u8],
        most: i32,
        length: usize,
    ) -> Option<Step> {
        let known = self.ours.as_ref()?.portals.get(portal)?;
        let (statement, has_run) = (Rc::clone(&known.statement), known.rest.is_some());
        if self.must_wait(ctx, None) {
            return Some(Step::Stall);
        }
        let mut out = Vec::new();
        if !has_run {
            let answer = match self.own_answer(ctx, &statement.asked) {
                Ok(answer) => answer,
                Err(Some(step)) => return Some(step),
                Err(None) => {
                    let refusal = self.why_not();
                    self.error_to_sync(ctx, refusal);
                    return Some(Step::Done(length));
                }
            };
            self.log_statement(ctx, &statement.text);
            match answer {
                Answer::Failed { message, .. } => {
                    return Some(self.refuse_own(ctx, Refusal::Own("XX000", message), length));
                }
                Answer::Done(tag) => backend::put_command_complete(&mut out, tag),
                Answer::Table { rows, .. } => self.keep_rows(portal, rows.into()),
            }
        }
        if let Some(mut rows) = self.ours.as_mut()?.portals.get_mut(portal)?.rest.take() {
            let now =
                usize::try_from(most).ok().filter(|most| *most > 0).unwrap_or(rows.len()).min(rows.len());
            rows.drain(..now).for_each(|row| sql::put_row(&row, &mut out));
            if rows.is_empty() {
                backend::put_command_complete(&mut out, &format!("SELECT {now}"));
            } else {
                backend::put_portal_suspended(&mut out);
            }
            self.keep_rows(portal, rows);
        }
        ctx.wire.send(self.client, &out);
        Some(Step::Done(length))
    }

    fn keep_rows(&mut self, portal: &[u8], rows: VecDeque<Vec<String>>) {
        if let Some(portal) = self.ours.as_mut().and_then(|ours| ours.portals.get_mut(portal)) {
            portal.rest = Some(rows);
        }
    }

    /// A Close message about what is ours.
    pub(super) fn own_close(
        &mut self,
        ctx: &mut Ctx<'_>,
        target: frontend::Target<'_>,
        length: usize,
    ) -> Option<Step> {
        let ours = self.ours.as_ref()?;
        let has = match target.kind {
            b'S' => ours.statements.contains(target.name),
            _ => ours.portals.contains(target.name),
        };
        if !has {
            return None;
        }
        if self.must_wait(ctx, None) {
            return Some(Step::Stall);
        }
        let ours = self.ours.as_mut()?;
        match target.kind {
            b'S' => drop(ours.statements.remove(target.name)),
            _ => drop(ours.portals.remove(target.name)),
        }
        Some(self.tell(ctx, length, backend::put_close_complete))
    }

    /// The answer to a message of this length.
    fn tell(&self, ctx: &mut Ctx<'_>, length: usize, put: impl FnOnce(&mut Vec<u8>)) -> Step {
        self.answer(ctx, put);
        Step::Done(length)
    }

    fn refuse_own(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal, length: usize) -> Step {
        self.error_to_sync(ctx, refusal);
        Step::Done(length)
    }

    /// Portals end with the transaction, ours too.
    pub(super) fn end_own_portals(&mut self) {
        if let Some(ours) = &mut self.ours {
            ours.portals.clear();
        }
    }
}
