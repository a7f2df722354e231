//! Routes with their descriptions: no endpoint can be added without saying who
//! may use it, what it takes and what it answers. The OpenAPI document, the
//! guards and the authorisation matrix are made from the same rows.

use super::auth::{Auth, Guard, Need, guard_rest};
use super::{ApiState, see_through};
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whom {
    /// Everybody, without a key.
    Everybody,
    /// Clients and admins.
    Clients,
    /// Workers and admins.
    Workers,
    /// Whoever has a key.
    AnyKey,
    /// Admins only.
    Admins,
}

impl Whom {
    fn need(self) -> Option<Need> {
        match self {
            Self::Everybody => None,
            Self::Clients => Some(Need::Client),
            Self::Workers => Some(Need::Worker),
            Self::AnyKey => Some(Need::Any),
            Self::Admins => Some(Need::Admin),
        }
    }
}

/// Makes the schema of a type.
pub(super) type Make = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`.
fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A header that an operation reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderParam {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) what: &'static str,
    pub(super) schema: Make,
}

/// A body that is taken or sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// JSON of a type.
    Json(Make),
    /// Plain text.
    Text,
    /// A web page, or what belongs to one.
    Page(&'static str),
    /// Bytes of the named type.
    Bytes(&'static str),
    /// Server-sent events.
    Events,
    /// None.
    Nothing,
}

/// An answer that an operation may give.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) what: &'static str,
    pub(super) contents: Vec<Content>,
}

/// One method of one path.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// The method.
    pub(crate) method: Method,
    /// The path, parameters in braces.
    pub(crate) path: &'static str,
    /// A name that no other operation has.
    pub(crate) id: &'static str,
    /// What it does, in a line.
    pub(crate) summary: &'static str,
    /// Who may use it.
    pub(crate) whom: Whom,
    pub(super) query: Option<Make>,
    pub(super) headers: Vec<HeaderParam>,
    pub(super) body: Option<(bool, Vec<Content>)>,
    pub(super) replies: Vec<Reply>,
    pub(super) failures: Vec<u16>,
    pub(super) documented: bool,
}

impl Operation {
    /// An operation.
    pub(crate) fn new(
        whom: Whom,
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            whom,
            query: None,
            headers: Vec::new(),
            body: None,
            replies: Vec::new(),
            failures: Vec::new(),
            documented: true,
        }
    }

    /// Parameters after the question mark: the fields of `T`.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema_of::<T>);
        self
    }

    /// A header that it reads.
    pub(crate) fn header<T: JsonSchema>(
        mut self,
        name: &'static str,
        required: bool,
        what: &'static str,
    ) -> Self {
        self.headers.push(HeaderParam { name, required, what, schema: schema_of::<T> });
        self
    }

    /// A JSON body that it needs.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some((true, vec![Content::Json(schema_of::<T>)]));
        self
    }

    /// A JSON body that it takes, but does not need.
    pub(crate) fn may_take<T: JsonSchema>(mut self) -> Self {
        self.body = Some((false, vec![Content::Json(schema_of::<T>)]));
        self
    }

    /// Bytes that it needs, of any type of `kinds`.
    pub(crate) fn takes_bytes(mut self, kinds: &[&'static str]) -> Self {
        self.body = Some((true, kinds.iter().copied().map(Content::Bytes).collect()));
        self
    }

    /// It answers with JSON.
    pub(crate) fn gives<T: JsonSchema>(self, status: u16, what: &'static str) -> Self {
        self.reply(status, what, vec![Content::Json(schema_of::<T>)])
    }

    /// It answers with JSON, or with a stream of events to who accepts one.
    pub(crate) fn gives_or_streams<T: JsonSchema>(self, status: u16, what: &'static str) -> Self {
        self.reply(status, what, vec![Content::Json(schema_of::<T>), Content::Events])
    }

    /// It answers with something else than JSON.
    pub(super) fn sends(self, status: u16, what: &'static str, content: Content) -> Self {
        self.reply(status, what, vec![content])
    }

    fn reply(mut self, status: u16, what: &'static str, contents: Vec<Content>) -> Self {
        self.replies.push(Reply { status, what, contents });
        self
    }

    /// Statuses with which it may refuse, beyond those that every operation has.
    pub(crate) fn fails(mut self, statuses: &[u16]) -> Self {
        self.failures.extend_from_slice(statuses);
        self
    }

    /// It is not part of the OpenAPI document (its own page describes it).
    pub(crate) fn undocumented(mut self) -> Self {
        self.documented = false;
        self
    }
}

/// Routes, each with its description and its guard.
pub(crate) struct Paths {
    router: Router<ApiState>,
    auth: Auth,
    operations: Vec<Operation>,
}

impl Paths {
    /// No routes yet; those to come are guarded by `auth`.
    pub(crate) fn new(auth: &Auth) -> Self {
        Self { router: Router::new(), auth: auth.clone(), operations: Vec::new() }
    }

    /// Adds a route.
    pub(crate) fn on<H, T>(self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        self.also(operation, &[], handler)
    }

    /// Adds a route that is reached under further paths too.
    pub(crate) fn also<H, T>(
        mut self,
        operation: Operation,
        aliases: &[&'static str],
        handler: H,
    ) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(operation.method.clone()).unwrap_or(MethodFilter::GET);
        let mut route = on(filter, handler).route_layer(middleware::from_fn(see_through));
        if let Some(need) = operation.whom.need() {
            let guard = Guard::new(&self.auth, need);
            route = route.route_layer(middleware::from_fn_with_state(guard, guard_rest));
        }
        self.router = self.router.route(operation.path, route.clone());
        for path in aliases {
            self.router = self.router.route(path, route.clone());
            self.operations.push(Operation { path, documented: false, ..operation.clone() });
        }
        self.operations.push(operation);
        self
    }

    /// Changes what is there of routes by `change`.
    pub(crate) fn layered(
        mut self,
        change: impl FnOnce(Router<ApiState>) -> Router<ApiState>,
    ) -> Self {
        self.router = change(self.router);
        self
    }

    /// Adds all routes of `other`.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self
    }

    /// The routes and their descriptions.
    pub(crate) fn into_parts(self) -> (Router<ApiState>, Vec<Operation>) {
        (self.router, self.operations)
    }
}
