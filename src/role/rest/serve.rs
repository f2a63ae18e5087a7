//! One request: from its head to the answer.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, IF_NONE_MATCH, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Request, Response, Version};
use tokio::time::timeout;

use super::Server;
use super::connection::Origin;
use super::reply::{self, JSON, Reply};
use crate::admin::{Actor, Command, Context};
use crate::face::rest::{Act, Content, Feed, Found, Head, Need, Refusal, View, Wrong, accepted, done};
use crate::supervisor::ChildContext;
use crate::sys::{clock, random};

/// Longest body of a request.
const LONGEST_BODY: usize = 1024 * 1024;

/// A body that is read at once.
const SHORT_BODY: u64 = 64 * 1024;

/// How long a body may take.
const BODY_LIMIT: Duration = Duration::from_secs(15);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What the core may look at.
pub(super) fn core(context: &ChildContext) -> Context<'_> {
    Context { segment: &context.segment, config: &context.config, session: None, now: clock::unix_seconds() }
}

impl Server {
    /// The answer to a request.
    pub(super) async fn answer(
        self: &Rc<Self>,
        request: Request<Incoming>,
        origin: &Origin,
    ) -> Result<Response<Reply>, Refusal> {
        let (parts, body) = request.into_parts();
        let head = head(&parts)?;
        let (policy, tokens) = (Rc::clone(&self.policy.borrow()), Rc::clone(&self.tokens.borrow()));
        policy.check_host(&head, origin.peer)?;
        let admit = |need| policy.admit(need, &head, origin.peer, &tokens, clock::unix_seconds());
        let found = match Found::of(&head) {
            Ok(found) => found,
            // What there is not is told to those who may look.
            Err(Wrong(refusal)) => return Err(admit(Need::Viewer).err().unwrap_or(refusal)),
        };
        let identity = admit(found.endpoint.need)?;
        let actor = Actor { face: "REST", user: identity.user, from: origin.text.clone() };
        match found.endpoint.act {
            Act::Report(report) => self.report(report, &found),
            Act::Ask(answer) => {
                let body = self.read(body).await?;
                let bytes = answer(&self.view(&self.context.borrow()), &body, draw())?;
                Ok(reply::live(found.endpoint.status, JSON, bytes))
            }
            Act::Document => Ok(reply::tagged(&self.document.0, &self.document.1, head.if_none_match)),
            Act::Events => self.events(Feed::of(&found, &head)?, found.is_head),
            Act::Login => self.login(origin, &self.read(body).await?).await,
            Act::Command(command) => {
                let body = self.read(body).await?;
                let command = command(&self.view(&self.context.borrow()), &found, &body)?;
                self.command(command, actor, found.endpoint.status).await
            }
        }
    }

    fn report(
        &self,
        report: fn(&View<'_>, &Found) -> Result<Vec<u8>, Refusal>,
        found: &Found,
    ) -> Result<Response<Reply>, Refusal> {
        let kind = match found.endpoint.content {
            Content::Text(kind) => kind,
            Content::Json(_) | Content::Events => JSON,
        };
        let bytes = report(&self.view(&self.context.borrow()), found)?;
        Ok(reply::live(found.endpoint.status, kind, bytes))
    }

    async fn command(&self, command: Command, actor: Actor, status: u16) -> Result<Response<Reply>, Refusal> {
        let has_ended = self.perform(command.clone(), actor).await?;
        let body = if has_ended { done(&command) } else { accepted(&command) };
        Ok(reply::live(status, JSON, serde_json::to_vec(&body).unwrap_or_default()))
    }

    fn view<'a>(&self, context: &'a ChildContext) -> View<'a> {
        View { admin: core(context), queries_per_second: self.meter.borrow().rate(), host: self.host.get() }
    }
}

/// Any number in 0..1.
fn draw() -> f64 {
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// The head, as far as it counts.
fn head(parts: &Parts) -> Result<Head<'_>, Refusal> {
    if parts.headers.get_all(HOST).iter().count() > 1 {
        return Err(Refusal::unreadable("there is more than one Host header"));
    }
    let field = |name: HeaderName| match parts.headers.get(&name) {
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Refusal::unreadable(format!("the header {name} is not plain text"))),
        },
        None => Ok(None),
    };
    Ok(Head {
        method: parts.method.as_str(),
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()),
        // The host of an absolute target counts before the header.
        host: parts.uri.authority().map(|authority| authority.as_str()).or(field(HOST)?),
        is_old: parts.version < Version::HTTP_11,
        origin: field(ORIGIN)?,
        fetch_site: field(SEC_FETCH_SITE)?,
        authorization: field(AUTHORIZATION)?,
        last_event: field(LAST_EVENT_ID)?,
        if_none_match: field(IF_NONE_MATCH)?,
    })
}

impl Server {
    /// The body, if it is not too long and comes in time. Few long ones are read at the same time, so that many clients
    /// cannot make the process hold much; short ones, which are all that real clients send, wait for nobody.
    async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let too_long = || Refusal::new(413, format!("the body is longer than {LONGEST_BODY} bytes"));
        if body.size_hint().lower() > LONGEST_BODY as u64 {
            return Err(too_long());
        }
        let is_short = body.size_hint().upper().is_some_and(|length| length <= SHORT_BODY);
        let whole = async {
            let _turn = if is_short { None } else { self.long_bodies.acquire().await.ok() };
            Limited::new(body, LONGEST_BODY).collect().await
        };
        match timeout(BODY_LIMIT, whole).await {
            Err(_) => {
                Err(Refusal::new(408, format!("the body took longer than {} seconds", BODY_LIMIT.as_secs())))
            }
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
            Ok(Err(error)) => Err(Refusal::unreadable(format!("the body cannot be read: {error}"))),
        }
    }
}
