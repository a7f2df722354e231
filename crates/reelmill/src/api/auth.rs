//! Who may do what: keys, roles, and the guard of a server that needs none.

use super::error::{ApiError, Kind};
use super::listen::Peer;
use crate::clock;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use reelmill_core::binding::{FIXED, Speaker};
use reelmill_core::error::Failure;
use reelmill_core::time::Timestamp;
use reelmill_store::{KeyRecord, KeyRole, Store};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// How a server tells who asks.
#[derive(Clone)]
pub(crate) enum Auth {
    /// It does not: everybody on this machine may do everything. Only for
    /// loopback addresses; requests made by web pages are refused.
    Open,
    /// By keys.
    Keys(Keys),
}

/// Keys begin with this; enrolment tokens with the other.
const KEY: &str = "rmk";
const TOKEN: &str = "rme";

impl Auth {
    /// By the keys in `store` and, where one is configured, a `fixed` one that
    /// may do everything.
    pub(crate) fn keys(store: Arc<dyn Store>, fixed: Option<&str>) -> Self {
        Self::Keys(Keys { store, fixed: fixed.map(digest), worker_certificates: false })
    }

    /// The same; workers must have shown a certificate of the right authority
    /// when they connected.
    pub(crate) fn with_worker_certificates(self) -> Self {
        match self {
            Self::Open => Self::Open,
            Self::Keys(keys) => Self::Keys(Keys { worker_certificates: true, ..keys }),
        }
    }

    /// Whether everybody on this machine may do everything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// The keys a server knows.
#[derive(Clone)]
pub(crate) struct Keys {
    store: Arc<dyn Store>,
    fixed: Option<[u8; 32]>,
    worker_certificates: bool,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// What the caller may do.
    pub(crate) role: KeyRole,
    /// The key's name; `None` for the fixed key and on an open server.
    pub(crate) name: Option<String>,
    /// The key's id; `None` on an open server.
    pub(crate) key: Option<String>,
}

impl Caller {
    /// Whether this caller may see what belongs to `owner`.
    pub(crate) fn sees(&self, owner: Option<&str>) -> bool {
        self.role == KeyRole::Admin || (owner.is_some() && self.name.as_deref() == owner)
    }

    /// This caller, as one who speaks for a worker.
    pub(crate) fn speaker(&self) -> Speaker {
        match (&self.key, self.role) {
            (None, _) => Speaker::Anybody,
            (Some(key), KeyRole::Admin) => Speaker::Admin(key.clone()),
            (Some(key), _) => Speaker::Worker(key.clone()),
        }
    }
}

impl Keys {
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let shown = shown(headers).ok_or_else(|| {
            let advice = "give one with --api-key or REELMILL_API_KEY (workers: --token)";
            refused("this server needs a key", advice)
        })?;
        let wrong = || {
            let advice = "check that it is whole and was not revoked; an admin can make a new one";
            refused("the key is not valid", advice)
        };
        if self.fixed.is_some_and(|fixed| bool::from(fixed.ct_eq(&digest(shown)))) {
            let key = Some(FIXED.to_owned());
            return Ok(Caller { role: KeyRole::Admin, name: None, key });
        }
        let record = known(self.store.as_ref(), KEY, shown).await?;
        let record = record.filter(|record| record.role != KeyRole::Enrol).ok_or_else(wrong)?;
        Ok(Caller { role: record.role, name: Some(record.name), key: Some(record.id) })
    }
}

fn refused(message: &str, advice: &str) -> ApiError {
    ApiError::new(Kind::Unauthenticated, Failure::permanent(message).advise(advice))
}

/// The key that a request shows: `Authorization: Bearer KEY` or `X-API-Key: KEY`.
fn shown(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some(key.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

/// The live record that `text`, which must begin with `kind`, is the secret of.
async fn known(store: &dyn Store, kind: &str, text: &str) -> Result<Option<KeyRecord>, Failure> {
    let parts = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('_'));
    let Some((id, secret)) = parts.and_then(|rest| rest.split_once('_')) else {
        return Ok(None);
    };
    let record = store.key_by_id(id).await?;
    Ok(record.filter(|record| {
        let expected = hex::decode(&record.hash).unwrap_or_default();
        record.is_live(clock::now()) && bool::from(expected.as_slice().ct_eq(&digest(secret)[..]))
    }))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Makes a key and stores its record. The key itself, `rmk_<id>_<secret>`, is
/// kept nowhere: show it now or never.
///
/// # Errors
/// When the store fails, or the system has no randomness to give.
pub(crate) async fn create_key(
    store: &dyn Store,
    role: KeyRole,
    name: &str,
) -> Result<String, Failure> {
    Ok(create_key_until(store, role, name, None).await?.1)
}

/// The same for a key that ends by itself; yields its record too. One of role
/// `Enrol` is a token, `rme_<id>_<secret>`.
///
/// # Errors
/// When the store fails, or the system has no randomness to give.
pub(crate) async fn create_key_until(
    store: &dyn Store,
    role: KeyRole,
    name: &str,
    expires: Option<Timestamp>,
) -> Result<(KeyRecord, String), Failure> {
    let (record, text) = new_key(role, name, expires)?;
    store.key_put(&record).await?;
    Ok((record, text))
}

/// A worker's own key for an enrolment token, which opens nothing afterwards; and
/// neither does the worker's `former` key, so that what belonged to it does not
/// stay out of reach.
///
/// # Errors
/// `Permanent` when the token is not valid (any more).
pub(crate) async fn enrol(
    store: &dyn Store,
    token: &str,
    name: &str,
    former: Option<&str>,
) -> Result<(KeyRecord, String), Failure> {
    let record = known(store, TOKEN, token.trim()).await?;
    let record = record.filter(|record| record.role == KeyRole::Enrol);
    let used = match &record {
        // Of two that come at once, one revokes it.
        Some(record) => store.key_revoke(&record.id, clock::now()).await?,
        None => false,
    };
    if !used {
        return Err(Failure::permanent("the enrolment token is not valid")
            .advise("it works once, and for 15 minutes; ask an admin for a new one"));
    }
    let made = create_key_until(store, KeyRole::Worker, name, None).await?;
    if let Some(former) = former
        && let Some(record) = known(store, KEY, former.trim()).await?
        && record.role == KeyRole::Worker
    {
        store.key_revoke(&record.id, clock::now()).await?;
    }
    Ok(made)
}

fn new_key(
    role: KeyRole,
    name: &str,
    expires: Option<Timestamp>,
) -> Result<(KeyRecord, String), Failure> {
    let kind = if role == KeyRole::Enrol { TOKEN } else { KEY };
    let id = hex::encode(clock::secret::<6>()?);
    let secret = hex::encode(clock::secret::<32>()?);
    let text = format!("{kind}_{id}_{secret}");
    let record = KeyRecord {
        id,
        name: name.to_owned(),
        role,
        hash: hex::encode(digest(&secret)),
        created: clock::now(),
        revoked: None,
        expires,
    };
    Ok((record, text))
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A client's key, or an admin's.
    Client,
    /// A worker's key, or an admin's.
    Worker,
    /// Any key.
    Any,
    /// An admin's key.
    Admin,
}

impl Need {
    fn allows(self, role: KeyRole) -> bool {
        match role {
            KeyRole::Admin => true,
            KeyRole::Client => matches!(self, Self::Client | Self::Any),
            KeyRole::Worker => matches!(self, Self::Worker | Self::Any),
            KeyRole::Enrol => false,
        }
    }
}

/// A guard of routes: lets those in who fulfil its need.
#[derive(Clone)]
pub(crate) struct Guard {
    auth: Auth,
    need: Need,
}

impl Guard {
    /// A guard that asks for `need`.
    pub(crate) fn new(auth: &Auth, need: Need) -> Self {
        Self { auth: auth.clone(), need }
    }

    async fn admit(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Caller, ApiError> {
        let caller = match &self.auth {
            Auth::Open => Caller { role: KeyRole::Admin, name: None, key: None },
            Auth::Keys(keys) => keys.caller(headers).await?,
        };
        if !self.need.allows(caller.role) {
            let advice = match self.need {
                Need::Worker => "use a worker's key, or an admin's",
                Need::Client => "use a client's key, or an admin's",
                Need::Any | Need::Admin => "use an admin's key",
            };
            return Err(forbidden("the key is of another role", advice));
        }
        let certified = peer.is_some_and(|peer| peer.certified);
        if let Auth::Keys(keys) = &self.auth
            && keys.worker_certificates
            && !certified
            && (self.need == Need::Worker || caller.role == KeyRole::Worker)
        {
            let advice = "give the worker --client-cert and --client-key";
            return Err(forbidden("workers must show a certificate here", advice));
        }
        Ok(caller)
    }
}

/// Guards REST routes; leaves the [`Caller`] in the request.
pub(crate) async fn guard_rest(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    match guard.admit(request.headers(), peer.as_ref()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(caller);
            response
        }
        Err(error) => error.into_response(),
    }
}

/// Guards gRPC routes, whose refusals have a form of their own.
pub(crate) async fn guard_grpc(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    match guard.admit(request.headers(), peer.as_ref()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(caller);
            response
        }
        Err(error) => error.into_grpc(),
    }
}

/// Refuses what a web page could have sent to an open server: requests under
/// another name than this machine's own (DNS rebinding), and requests that
/// other sites made.
pub(crate) async fn guard_open(request: Request, next: Next) -> Response {
    match local_only(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn local_only(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let named = uri.authority().map(|authority| authority.as_str());
    let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let hosts: Vec<&str> = named.into_iter().chain(hosts.by_ref()).collect();
    if hosts.is_empty() || !hosts.iter().all(|host| is_loopback(host)) {
        let message = "this server runs without keys and answers only as localhost";
        return Err(forbidden(message, "use http://localhost or http://127.0.0.1, or set a key"));
    }
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    let strange_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let strange_origin = origin.is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none_or(|authority| !hosts.contains(&authority))
    });
    if strange_site || strange_origin {
        let message = "this server runs without keys and takes nothing from other web sites";
        return Err(forbidden(message, "open the server's own pages, or set a key"));
    }
    Ok(())
}

fn forbidden(message: &str, advice: &str) -> ApiError {
    ApiError::new(Kind::Forbidden, Failure::permanent(message).advise(advice))
}

/// Whether `host`, with or without a port, names this machine by a loopback
/// name or address.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) => {
                (address, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    let port_fits = port.is_some_and(|port| port.chars().all(|c| c.is_ascii_digit()));
    port_fits && (name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "::1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_loopback_names_are_local() {
        for good in ["localhost", "LOCALHOST:7474", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7474",
            "",
            "[::1",
            "[::1]x",
            "localhost:7474@evil",
            "10.0.0.1",
            "0.0.0.0:7474",
            "::1",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn every_name_of_the_request_must_be_local() {
        let check = |uri: &str, pairs| local_only(&uri.parse().unwrap(), &headers(pairs)).is_ok();
        assert!(check("/", &[("host", "localhost:1")]));
        assert!(check("http://127.0.0.1:1/x", &[]));
        assert!(!check("/", &[]));
        assert!(!check("/", &[("host", "evil.example")]));
        assert!(!check("http://localhost/", &[("host", "evil.example")]));
        assert!(!check("http://evil.example/", &[("host", "localhost")]));
        assert!(!check("/", &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn other_sites_are_refused_and_our_own_pages_are_not() {
        let check = |pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "localhost:1")];
            all.extend_from_slice(pairs);
            local_only(&"/".parse().unwrap(), &headers(&all)).is_ok()
        };
        assert!(check(&[("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(check(&[("sec-fetch-site", "none")]));
        assert!(!check(&[("sec-fetch-site", "cross-site")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[("origin", "https://evil.example")]));
        assert!(!check(&[("origin", "http://localhost:2")]));
        assert!(!check(&[("origin", "null")]));
    }

    #[test]
    fn keys_differ_and_their_secret_is_not_in_the_record() {
        let (record, text) = new_key(KeyRole::Client, "anna", None).unwrap();
        let (id, secret) = text.strip_prefix("rmk_").unwrap().split_once('_').unwrap();
        assert_eq!(id, record.id);
        assert_eq!(secret.len(), 64);
        assert_eq!(record.hash, hex::encode(digest(secret)));
        assert!(!format!("{record:?}").contains(secret));
        assert_ne!(new_key(KeyRole::Client, "anna", None).unwrap().1, text);
    }

    #[test]
    fn a_key_is_taken_from_either_header() {
        assert_eq!(shown(&headers(&[("authorization", "Bearer k")])), Some("k"));
        assert_eq!(shown(&headers(&[("authorization", "bearer  k ")])), Some("k"));
        assert_eq!(shown(&headers(&[("x-api-key", "k")])), Some("k"));
        assert_eq!(shown(&headers(&[("authorization", "Basic k")])), None);
        assert_eq!(shown(&headers(&[])), None);
    }
}
