//! The coordinators that a client or worker may turn to: their addresses, and
//! HTTP calls to whichever of them answers.

use crate::api::error::Answer;
use crate::api::wire::Problem;
use crate::{clock, tls};
use reelmill_core::error::{Failure, FailureClass};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The port of a server that is given without one.
const USUAL_PORT: u16 = 7474;

/// Longest that connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Idle connections are dropped before the server does so.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Largest answer that is read into memory.
const MAX_ANSWER: usize = 64 << 20;

/// Pauses between tries grow from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// The base addresses in `servers`, each `http://host:port`, `host:port` or `host`.
///
/// # Errors
/// When there is none, or one is no such address.
pub(crate) fn addresses(servers: &[String]) -> Result<Vec<Url>, Failure> {
    let given = servers.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    let urls: Vec<Url> = given.map(address).collect::<Result<_, _>>()?;
    if urls.is_empty() {
        return Err(Failure::permanent("no server is given").advise("name one with --server"));
    }
    Ok(urls)
}

fn address(text: &str) -> Result<Url, Failure> {
    let bad = |why: &str| {
        Failure::permanent(format!("'{text}' is no server's address: {why}"))
            .advise("write it like http://192.168.1.20:7474")
    };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&full).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it must begin with http:// or https://"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it must end after the port"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("keys are given apart from it"));
    }
    let has_port = url.port().is_some() || text.ends_with(":80") || text.contains("://");
    if !has_port {
        url.set_port(Some(USUAL_PORT)).map_err(|()| bad("it takes no port"))?;
    }
    Ok(url)
}

/// `Bearer KEY` as a header's value.
///
/// # Errors
/// When `key` has characters that no key has.
pub(crate) fn bearer(key: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(&format!("Bearer {}", key.trim()));
    let mut value = value.map_err(|_| {
        Failure::permanent("the key has characters that no key has")
            .advise("copy it again; it looks like rmk_1a2b3c_4d5e6f…")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CallError {
    /// No server answered, or the connection was lost.
    Away(String),
    /// A server refused the key.
    Refused(Failure),
    /// A server answered that it will not or cannot.
    Problem {
        /// What kind of answer.
        answer: Answer,
        /// What it said.
        failure: Failure,
    },
}

impl CallError {
    /// Whether the same call may work later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(_) => false,
            Self::Problem { answer, failure, .. } => {
                *answer == Answer::Later || failure.class == FailureClass::Transient
            }
        }
    }

    /// What kind of answer it is, where there was one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        match self {
            Self::Away(_) => None,
            Self::Refused(_) => Some(Answer::Refused),
            Self::Problem { answer, .. } => Some(*answer),
        }
    }

    /// The same as a failure.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Away(why) => Failure::transient(format!("no server answers ({why})"))
                .advise("check its address (--server) and that 'reelmill serve' runs there"),
            Self::Refused(failure) | Self::Problem { failure, .. } => failure,
        }
    }
}

/// Makes HTTP calls to the first coordinator that answers.
pub(crate) struct Servers {
    http: reqwest::Client,
    urls: Vec<Url>,
    current: AtomicUsize,
    key: Option<HeaderValue>,
}

impl Servers {
    /// The coordinators at `servers`, who are shown `key`.
    ///
    /// # Errors
    /// When an address or the key is malformed.
    pub(crate) fn new(servers: &[String], key: Option<&str>) -> Result<Self, Failure> {
        let urls = addresses(servers)?;
        let http = tls::http(reqwest::Client::builder())?
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME)
            .pool_idle_timeout(IDLE_TIME)
            .tcp_nodelay(true)
            .user_agent(concat!("reelmill/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Failure::environment(format!("cannot set up HTTP: {e}")))?;
        let key = key.map(bearer).transpose()?;
        Ok(Self { http, urls, current: AtomicUsize::new(0), key })
    }

    /// The base address of the server that answered last.
    pub(crate) fn current(&self) -> String {
        let at = self.current.load(Ordering::Relaxed);
        self.urls.get(at).map(Url::to_string).unwrap_or_default()
    }

    /// Sends what `make` makes of an address to the server that answered last;
    /// to the next one when that one cannot be connected to or asks to come
    /// later. `path` begins with a slash.
    ///
    /// # Errors
    /// When none answers, or the answer is no success.
    pub(crate) async fn send(
        &self,
        path: &str,
        make: impl Fn(&reqwest::Client, Url) -> RequestBuilder,
    ) -> Result<Response, CallError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = CallError::Away("no server is known".to_owned());
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            let Some(url) = self.urls.get(at).and_then(|base| base.join(path).ok()) else {
                return Err(CallError::Away(format!("'{path}' cannot be asked for")));
            };
            let mut request = make(&self.http, url);
            if let Some(key) = &self.key {
                request = request.header(AUTHORIZATION, key.clone());
            }
            match request.send().await {
                Ok(response) => {
                    self.current.store(at, Ordering::Relaxed);
                    match read(response).await {
                        Err(error) if error.answer() == Some(Answer::Later) => last = error,
                        other => return other,
                    }
                }
                Err(error) => {
                    let connected = !error.is_connect();
                    let place = self.urls.get(at).map(Url::as_str).unwrap_or_default();
                    last = CallError::Away(format!("{place}: {}", tell(&error)));
                    if connected {
                        return Err(last);
                    }
                }
            }
        }
        Err(last)
    }

    /// Like [`Servers::send`], for an answer in JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        make: impl Fn(&reqwest::Client, Url) -> RequestBuilder,
    ) -> Result<T, CallError> {
        let response = self.send(path, make).await?;
        let body = whole(response, MAX_ANSWER).await?;
        serde_json::from_slice(&body).map_err(|error| CallError::Problem {
            answer: Answer::Wrong,
            failure: Failure::permanent(format!("the server's answer makes no sense: {error}"))
                .advise("is it a reelmill server of about the same version?"),
        })
    }
}

/// Passes a success on; reads anything else.
async fn read(response: Response) -> Result<Response, CallError> {
    let status = response.status().as_u16();
    let answer = Answer::of(status);
    if answer == Answer::Fine {
        return Ok(response);
    }
    let body = whole(response, 1 << 16).await.unwrap_or_default();
    let failure = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => {
            let class = problem.class.unwrap_or(FailureClass::Permanent);
            Failure { advice: problem.advice, ..Failure::new(class, problem.detail) }
        }
        Err(_) => Failure::permanent(format!("the server answered with status {status}"))
            .advise("is it a reelmill server?"),
    };
    Err(match answer {
        Answer::Refused => CallError::Refused(failure),
        answer => CallError::Problem { answer, failure },
    })
}

async fn whole(mut response: Response, most: usize) -> Result<Vec<u8>, CallError> {
    let mut all = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| CallError::Away(tell(&e)))? {
        all.extend_from_slice(&piece);
        if all.len() > most {
            return Err(CallError::Away(format!("the answer has more than {most} bytes")));
        }
    }
    Ok(all)
}

/// What is at the bottom of an error: the layers above only say that something
/// below them failed.
pub(crate) fn tell(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// How long to keep trying: up to a limit since the last success, with growing,
/// jittered pauses.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Instant,
    pause: Duration,
}

impl Patience {
    /// Patience of `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Something worked: the patience is whole again.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Waits before the next try; `false` when the patience is at its end.
    pub(crate) async fn wait(&mut self) -> bool {
        let left = self.limit.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return false;
        }
        let pause = self.pause.mul_f64(0.5 + 0.5 * clock::chance()).min(left);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let read = |text: &str| address(text).map(|url| url.to_string());
        assert_eq!(read("http://10.0.0.1:81").unwrap(), "http://10.0.0.1:81/");
        assert_eq!(read("http://10.0.0.1:81/").unwrap(), "http://10.0.0.1:81/");
        assert_eq!(read("barn:9000").unwrap(), "http://barn:9000/");
        assert_eq!(read("barn").unwrap(), "http://barn:7474/");
        assert_eq!(read("[::1]:9000").unwrap(), "http://[::1]:9000/");
        assert_eq!(read("http://barn").unwrap(), "http://barn/");
        for bad in ["http://barn/x", "http://u:p@barn", "ftp://barn", "http://", "a b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(addresses(&[]).is_err());
        assert!(addresses(&[" ".to_owned()]).is_err());
    }

    #[test]
    fn a_key_is_never_shown_in_debug_output() {
        assert!(!format!("{:?}", bearer("rmk_1_2").unwrap()).contains("rmk"));
        assert!(bearer("a\nb").is_err());
    }

    #[tokio::test]
    async fn patience_ends_at_its_limit() {
        let mut patience = Patience::new(Duration::ZERO);
        assert!(!patience.wait().await);
    }
}
