//! `PGPOOL SET`: parameters that this session has for itself. They outlive RESET ALL and DISCARD ALL, which are the
//! servers', and transactions.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{Ctx, Session, Shared};
use crate::config::{Config, NotSet, Own, log_levels};
use crate::log;
use crate::route::RouteConfig;

/// What a session has set, and the configuration that it makes. While a step of the session runs, that is in its
/// place in `Shared`, and the one of all sessions waits here.
pub(super) struct OwnConfig {
    own: Own,
    config: Rc<Config>,
    routes: Rc<RouteConfig>,
}

impl OwnConfig {
    fn over(own: Own, base: &Config) -> OwnConfig {
        let config = Rc::new(own.over(base));
        OwnConfig { own, routes: Rc::new(RouteConfig::from(&*config)), config }
    }
}

impl Session {
    /// Before and after each step of a session.
    #[inline]
    pub fn exchange_own(&mut self, shared: &mut Shared) {
        if let Some(own) = &mut self.own {
            std::mem::swap(&mut own.config, &mut shared.config);
            std::mem::swap(&mut own.routes, &mut shared.routes);
        }
    }

    /// The configuration of this session, between its steps.
    pub(super) fn config<'a>(&'a self, shared: &'a Shared) -> &'a Config {
        self.own.as_ref().map_or(&shared.config, |own| &own.config)
    }

    /// The configuration of all has changed, between two steps.
    pub fn on_reload(&mut self, shared: &Shared) {
        self.prefer(&shared.routes);
        if let Some(own) = self.own.take() {
            let own = OwnConfig::over(own.own, &shared.config);
            let config = Rc::clone(&own.config);
            self.own = Some(Box::new(own));
            self.take_levels(&config);
        }
    }

    /// Sets a parameter within a step, or without a value takes the one of all. The tag is the same for both.
    pub(super) fn set_own(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &str,
        value: Option<&str>,
    ) -> Result<&'static str, NotSet> {
        let mut own = self.own.as_ref().map(|own| own.own.clone()).unwrap_or_default();
        own.change(name, value)?;
        self.forget_own(ctx);
        if !own.is_empty() {
            self.own = Some(Box::new(OwnConfig::over(own, &ctx.shared.config)));
            self.exchange_own(ctx.shared);
        }
        self.know_levels(ctx);
        Ok("SET")
    }

    /// Within a step: what was set is set no more.
    pub(super) fn forget_own(&mut self, ctx: &mut Ctx<'_>) {
        self.exchange_own(ctx.shared);
        self.own = None;
        self.know_levels(ctx);
    }

    /// Within a step: what the log writes on behalf of this client from now on.
    pub(super) fn know_levels(&mut self, ctx: &Ctx<'_>) {
        self.take_levels(&ctx.shared.config);
        log::set_client(self.identity());
    }

    fn take_levels(&mut self, config: &Config) {
        let levels = self.own.is_some().then(|| log_levels(config));
        if let Some(identity) = self.identity.as_ref().filter(|identity| identity.levels != levels) {
            self.identity = Some(Rc::new(log::Client { levels, ..log::Client::clone(identity) }));
        }
    }
}
