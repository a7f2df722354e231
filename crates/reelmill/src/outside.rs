//! Requests that users make us send: sources by URL, webhooks. They reach
//! public addresses only, whatever a URL, a name server or a redirect says.

use reelmill_core::error::Failure;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Redirects followed, each checked like the first address.
const MAX_REDIRECTS: usize = 3;

/// Longest that connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Longest pause in an answer.
const PAUSE: Duration = Duration::from_secs(60);

/// Longest URL that is taken, bytes.
const MAX_URL: usize = 2048;

/// Looks names up; a test brings its own.
pub(crate) trait Lookup: Send + Sync {
    /// The addresses of `host`.
    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> futures::future::BoxFuture<'a, std::io::Result<Vec<IpAddr>>>;
}

/// As the system does.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> futures::future::BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The way outside.
#[derive(Clone)]
pub(crate) struct Outside {
    client: Client,
    allowed: Arc<[String]>,
}

/// Hands only addresses on that may be reached, so that what was checked is
/// what is connected to.
struct Checked {
    lookup: Arc<dyn Lookup>,
    allowed: Arc<[String]>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allowed) = (self.lookup.clone(), self.allowed.clone());
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = lookup.addresses(&host).await?;
            let exempt = is_allowed(&allowed, &host);
            let fine: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| exempt || is_public(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if fine.is_empty() {
                return Err(format!("{host} has no address that may be reached").into());
            }
            Ok(Box::new(fine.into_iter()) as Addrs)
        })
    }
}

fn is_allowed(allowed: &[String], host: &str) -> bool {
    allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
}

impl Outside {
    /// A way outside; hosts in `allowed` (names or addresses, exactly as they
    /// stand in URLs) may be reached though they are not public.
    ///
    /// # Errors
    /// When HTTP cannot be set up.
    pub(crate) fn new(allowed: &[String]) -> Result<Self, Failure> {
        Self::with(allowed, Arc::new(SystemLookup))
    }

    fn with(allowed: &[String], lookup: Arc<dyn Lookup>) -> Result<Self, Failure> {
        crate::tls::provide();
        let allowed: Arc<[String]> = allowed.into();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Checked { lookup, allowed: allowed.clone() }))
            .connect_timeout(CONNECT_TIME)
            .read_timeout(PAUSE)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("reelmill/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Failure::environment(format!("cannot set up HTTP: {e}")))?;
        Ok(Self { client, allowed })
    }

    /// `text` as a URL that may be asked for.
    ///
    /// # Errors
    /// When it is none, has another scheme than http and https, names a user,
    /// or an address that is not public.
    pub(crate) fn check(&self, text: &str) -> Result<Url, Failure> {
        let refused = |why: &str| {
            let shown: String = text.chars().take(100).collect();
            Failure::permanent(format!("'{shown}' cannot be asked for: {why}"))
                .advise("give an http or https address that is reachable by everybody")
        };
        if text.len() > MAX_URL {
            return Err(refused("it is too long"));
        }
        let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("only http and https are spoken"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it must not hold a user or password"));
        }
        let host = url.host_str().ok_or_else(|| refused("it names no host"))?;
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let exempt = is_allowed(&self.allowed, plain);
        // A resolver is never asked about an address that is written out.
        let address: Option<IpAddr> = plain.parse().ok();
        if !exempt && address.is_some_and(|address| !is_public(address)) {
            return Err(refused("that address is not a public one"));
        }
        Ok(url)
    }

    /// A request that follows no redirect.
    ///
    /// # Errors
    /// As [`Outside::check`].
    pub(crate) fn request(&self, method: Method, text: &str) -> Result<RequestBuilder, Failure> {
        Ok(self.client.request(method, self.check(text)?))
    }

    /// Fetches `text`, from byte `at` on where `tag` still names it; follows a
    /// few redirects, each checked.
    ///
    /// # Errors
    /// When it cannot be asked for, or does not answer.
    pub(crate) async fn get(&self, text: &str) -> Result<Response, Failure> {
        let mut at = text.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(Method::GET, &at)?.send().await.map_err(|error| {
                let why = crate::servers::tell(&error);
                Failure::transient(format!("{} does not answer: {why}", shown(&at)))
            })?;
            let status = response.status().as_u16();
            if !(300..400).contains(&status) {
                return Ok(response);
            }
            let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = next.and_then(|next| response.url().join(next).ok());
            let Some(next) = next else {
                let message = format!("{} redirects to nowhere", shown(&at));
                return Err(Failure::permanent(message));
            };
            at = next.to_string();
        }
        Err(Failure::permanent(format!(
            "{} redirects more than {MAX_REDIRECTS} times",
            shown(text)
        )))
    }
}

/// A URL for logs: without what comes after the question mark, which may be a
/// secret.
pub(crate) fn shown(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    plain.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Whether an address belongs to the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast();
    let reserved = a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special && !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        // ::, ::1, IPv4 written as IPv6 (mapped and compatible).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => {
            parts[5] == 0xffff && is_public_v4(inner(high, low))
        }
        // NAT64 and 6to4 carry an IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(inner(high, low)),
        [0x2002, high, low, ..] => is_public_v4(inner(high, low)),
        // Teredo, ORCHID, documentation, benchmarks; local NAT64.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x64, 0xff9b, 1, ..] => false,
        [0x3fff, 0..=0xfff, ..] | [0x5f00, ..] => false,
        // Only 2000::/3 is given out; it leaves out fc00::/7, fe80::/10, ff00::/8.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
pub(crate) mod tests;
