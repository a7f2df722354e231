//! TLS between processes: a server's certificate, certificates of workers, and
//! a key from the variable that programs of the dispatch protocol read.

use super::farm::{Server, chunks};
use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, clip};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `name` and its key, as files in `place`.
    fn certify(&self, place: &Place, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (place.path(&format!("{file}.pem")), place.path(&format!("{file}.key")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn everything_is_spoken_over_tls_and_workers_show_certificates() {
    let mut place = Place::new();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert, key) = ours.certify(&place, "server", "127.0.0.1");
    let workers = Authority::new();
    let (worker_cert, worker_key) = workers.certify(&place, "worker", "anna");
    let (ca, worker_ca, other_ca) =
        (place.path("ca.pem"), place.path("workers.pem"), place.path("other.pem"));
    std::fs::write(&ca, &ours.pem).unwrap();
    std::fs::write(&worker_ca, &workers.pem).unwrap();
    std::fs::write(&other_ca, &theirs.pem).unwrap();
    place.set("DISTCONV_API_KEY", "a-fixed-key");
    place.set("REELMILL_CA", text(&ca));
    let tls = ["--tls-cert", text(&cert), "--tls-key", text(&key), "--worker-ca", text(&worker_ca)];
    let server = Server::start(&place, &[&["--workers", "0"], &tls[..]].concat());
    assert!(server.url.starts_with("https://"));

    // Who does not trust the authority, has no key or speaks no TLS gets nowhere.
    let list = |url: &str| {
        let mut command = place.reelmill();
        command.args(["list", "--server", url]);
        command
    };
    Ran::of(&mut list(&server.url)).ok();
    let strange = Ran::of(list(&server.url).env("REELMILL_CA", &other_ca));
    strange.refused(4, &["certificate"]);
    let keyless = Ran::of(list(&server.url).env_remove("DISTCONV_API_KEY"));
    keyless.refused(4, &["needs a key"]);
    let wrong = Ran::of(list(&server.url).env("DISTCONV_API_KEY", "another"));
    wrong.refused(4, &["not valid"]);
    let plain = Ran::of(&mut list(&server.url.replace("https", "http")));
    plain.refused(4, &["no server answers"]);

    // A worker without a certificate is refused, one with it works.
    let bare = ["work", "--server", &server.url, "--slots", "1"];
    let refused = place.run(bare);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("certificate"), "{}", refused.err);
    let shows = ["--client-cert", text(&worker_cert), "--client-key", text(&worker_key)];
    let mut anna = place.reelmill();
    anna.args(bare).args(shows).stdout(Stdio::null()).stderr(Stdio::null());
    let _anna = Running::start(&mut anna);
    server.workers(&place, 1);
    let (film, output) = (clip(6), place.path("out.mkv"));
    let settings = ["--chunk-seconds", "2", "--set", "speed=ultrafast"];
    let id = server.submit(&place, &film, &settings);
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    assert!(chunks(&job).len() > 1, "{job}");
    server.client(&place, &["fetch", &id, "-o", text(&output)]).ok();
    same_frames(&decode(&film, None), &decode(&output, None), 0.001, false).unwrap();
}
