//! The OpenAPI 3.1 document, made from the operations and the wire types, and
//! the interactive page that shows it.

use super::operation::{Content, Make, Operation, Paths, Whom};
use super::paths;
use super::wire::Problem;
use crate::api::Auth;
use axum::http::Method;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What the page and the document may load: nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'";

/// Refusals that every operation may give, whatever it does.
const ALWAYS: &[u16] = &[400, 500, 503];

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let get = |path, id, summary| Operation::new(Whom::Everybody, Method::GET, path, id, summary);
    let document = get("/api/v1/openapi.json", "openapi", "This document")
        .gives::<BTreeMap<String, Value>>(200, "The document");
    let page = get("/api/docs", "docs", "The API, to read and to try out").sends(
        200,
        "The page",
        Content::Page("text/html"),
    );
    let script = get("/api/docs/docs.js", "docsScript", "The page's script").sends(
        200,
        "The script",
        Content::Page("text/javascript"),
    );
    let style = get("/api/docs/docs.css", "docsStyle", "The page's style").sends(
        200,
        "The style",
        Content::Page("text/css"),
    );
    let file = |kind: &'static str, text: &'static str| {
        let headers =
            [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)];
        (headers, text).into_response()
    };
    Paths::new(auth)
        .on(document, shown)
        .on(page, async move || file("text/html; charset=utf-8", include_str!("docs/docs.html")))
        .on(script, async move || {
            file("text/javascript; charset=utf-8", include_str!("docs/docs.js"))
        })
        .on(style, async move || file("text/css; charset=utf-8", include_str!("docs/docs.css")))
}

async fn shown() -> Response {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    let make = || {
        let (_, operations) = paths(&Auth::Open).into_parts();
        document(&operations)
    };
    axum::Json(DOCUMENT.get_or_init(make)).into_response()
}

/// The document of `operations`.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut places: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.documented) {
        let place = places.entry(operation.path).or_default();
        place.insert(operation.method.as_str().to_lowercase(), schemas.operation(operation));
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "reelmill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Converts media over many machines. Times are microseconds since 1970 (UTC).",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": places,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    });
    let (schemas, names) = schemas.finish();
    document["components"]["schemas"] = schemas;
    rename(&mut document, &names);
    document
}

/// Collects the schemas of what is sent and of what is taken. They differ where
/// a field may be left out on the way in but is always there on the way out.
struct Schemas {
    out: SchemaGenerator,
    into: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            out: settings().for_serialize().into_generator(),
            into: settings()
                .with(|settings| settings.definitions_path = "/components/schemas/Input".into())
                .for_deserialize()
                .into_generator(),
        }
    }

    fn operation(&mut self, operation: &Operation) -> Value {
        let mut parameters = path_parameters(operation.path);
        if let Some(query) = operation.query {
            parameters.extend(self.query_parameters(query));
        }
        for header in &operation.headers {
            let schema = (header.schema)(&mut self.into);
            parameters.push(json!({
                "name": header.name, "in": "header", "required": header.required,
                "description": header.what, "schema": schema,
            }));
        }
        let mut described = json!({
            "operationId": operation.id,
            "summary": operation.summary,
            "tags": [tag(operation.path)],
            "responses": self.responses(operation),
        });
        if !parameters.is_empty() {
            described["parameters"] = Value::Array(parameters);
        }
        if let Some((required, contents)) = &operation.body {
            let content = contents_of(contents, &mut self.into);
            described["requestBody"] = json!({"required": required, "content": content});
        }
        described["security"] = match operation.whom {
            Whom::Everybody => json!([]),
            _ => json!([{"bearer": []}, {"key": []}, {}]),
        };
        described["x-role"] = match operation.whom {
            Whom::Everybody => "everybody",
            Whom::Clients => "client",
            Whom::Workers => "worker",
            Whom::AnyKey => "any",
            Whom::Admins => "admin",
        }
        .into();
        described
    }

    fn responses(&mut self, operation: &Operation) -> Value {
        let mut responses = Map::new();
        for reply in &operation.replies {
            let mut described = json!({"description": reply.what});
            let content = contents_of(&reply.contents, &mut self.out);
            if !content.is_empty() {
                described["content"] = Value::Object(content);
            }
            responses.insert(reply.status.to_string(), described);
        }
        let mut failures: Vec<u16> = ALWAYS.to_vec();
        if operation.whom != Whom::Everybody {
            failures.extend([401, 403]);
        } else {
            failures.push(403);
        }
        if operation.path.contains('{') {
            failures.push(404);
        }
        if operation.body.is_some() {
            failures.extend([408, 413, 415, 422]);
        }
        failures.extend(&operation.failures);
        let problem = self.out.subschema_for::<Problem>();
        for status in failures {
            let described = if operation.method == Method::HEAD {
                json!({"description": "See the problem that GET would tell"})
            } else {
                json!({
                    "description": "A problem",
                    "content": {"application/problem+json": {"schema": problem}},
                })
            };
            responses.entry(status.to_string()).or_insert(described);
        }
        Value::Object(responses)
    }

    fn query_parameters(&mut self, make: Make) -> Vec<Value> {
        let schema = make(&mut self.into);
        let named = schema.get("$ref").and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
        let whole = match named.and_then(|name| self.into.definitions_mut().remove(name)) {
            Some(whole) => whole,
            None => schema.to_value(),
        };
        let required: Vec<&str> = whole["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let Some(fields) = whole["properties"].as_object() else { return Vec::new() };
        let parameter = |(name, schema): (&String, &Value)| {
            let schema = without_null(schema.clone());
            let what = schema.get("description").cloned().unwrap_or_else(|| json!(""));
            json!({
                "name": name, "in": "query", "required": required.contains(&name.as_str()),
                "description": what, "schema": schema,
            })
        };
        fields.iter().map(parameter).collect()
    }

    /// All schemas under their names. Those of what is taken get a name of
    /// their own only where they differ; yields what their references become.
    fn finish(mut self) -> (Value, BTreeMap<String, String>) {
        let mut all = self.out.take_definitions(true);
        let taken = self.into.take_definitions(true);
        let mut names: BTreeMap<String, String> = taken
            .keys()
            .map(|name| (reference(&format!("Input/{name}")), reference(name)))
            .collect();
        // Whatever refers to something that differs, differs too.
        loop {
            let before = names.clone();
            for (name, schema) in &taken {
                let mut schema = schema.clone();
                rename(&mut schema, &names);
                if all.get(name).is_some_and(|other| *other != schema) {
                    names.insert(
                        reference(&format!("Input/{name}")),
                        reference(&format!("{name}Input")),
                    );
                }
            }
            if names == before {
                break;
            }
        }
        for (name, mut schema) in taken {
            rename(&mut schema, &names);
            let own = names.get(&reference(&format!("Input/{name}")));
            let own = own.and_then(|at| at.rsplit('/').next()).unwrap_or(&name).to_owned();
            all.insert(own, schema);
        }
        (Value::Object(all), names)
    }
}

fn reference(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// Gives every reference in `value` the name that it has in `names`.
fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(at)) = fields.get_mut("$ref")
                && let Some(name) = names.get(at.as_str())
            {
                at.clone_from(name);
            }
            fields.values_mut().for_each(|field| rename(field, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

/// A parameter that is left out is not sent as null.
fn without_null(mut schema: Value) -> Value {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
    }
    schema
}

fn contents_of(contents: &[Content], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut all = Map::new();
    for content in contents {
        if let Value::Object(more) = content_of(*content, generator) {
            all.extend(more);
        }
    }
    all
}

fn content_of(content: Content, generator: &mut SchemaGenerator) -> Value {
    let text = json!({"schema": {"type": "string"}});
    match content {
        Content::Json(make) => {
            let schema: Schema = make(generator);
            json!({"application/json": {"schema": schema}})
        }
        Content::Text => json!({"text/plain": text}),
        Content::Page(kind) => json!({kind: text}),
        Content::Events => json!({"text/event-stream": text}),
        Content::Bytes(kind) => json!({kind: {}}),
        Content::Nothing => json!({}),
    }
}

/// The parameters within a path: ids of things, names of things.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names
        .map(|name| {
            let (what, schema) = match name {
                "job" => (
                    "The job's id, or the first characters of it (four or more)",
                    json!({"type": "string", "pattern": "^[0-9a-fA-F-]{4,36}$"}),
                ),
                "task" if path.contains("/jobs/") => {
                    ("The number of the task", json!({"type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32}))
                }
                "task" => ("The task's id", json!({"type": "string"})),
                "upload" | "worker" | "webhook" => {
                    ("Its id", json!({"type": "string", "format": "uuid"}))
                }
                _ => ("Its name", json!({"type": "string", "minLength": 1, "maxLength": 255})),
            };
            json!({"name": name, "in": "path", "required": true, "description": what, "schema": schema})
        })
        .collect()
}

fn tag(path: &str) -> &str {
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some("v1"), Some(part)) => part,
        _ => "server",
    }
}
