//! TLS: the server's certificate, whom clients and workers trust, and what
//! they show of themselves.

use reelmill_core::error::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What this process, as a client or worker, trusts and shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// Certificates that servers may be signed by; the system's when there is
    /// none.
    pub(crate) authorities: Option<Vec<u8>>,
    /// Certificate and key to show (PEM, one after the other).
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

static TRUST: OnceLock<Trust> = OnceLock::new();

/// Makes ring the cryptography of the whole process.
pub(crate) fn provide() {
    // It fails when it was done before: that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Sets what this process trusts and shows; the first call counts.
///
/// # Errors
/// When a file cannot be read, or a certificate comes without its key.
pub(crate) fn trust(
    ca: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<(), Failure> {
    provide();
    let authorities = ca.map(read).transpose()?;
    if let (Some(pem), Some(path)) = (&authorities, ca) {
        certificates(pem, path)?;
    }
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => {
            return Err(Failure::permanent("--client-cert and --client-key go together"));
        }
    };
    let _ = TRUST.set(Trust { authorities, identity });
    Ok(())
}

/// What this process trusts and shows.
pub(crate) fn trusted() -> Trust {
    TRUST.get().cloned().unwrap_or_default()
}

/// An HTTP client's builder, told whom to trust.
///
/// # Errors
/// When a certificate cannot be used.
pub(crate) fn http(builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Failure> {
    provide();
    let unusable = |error: reqwest::Error| {
        Failure::permanent(format!(
            "a certificate cannot be used: {}",
            crate::servers::tell(&error)
        ))
    };
    let Trust { authorities, identity } = trusted();
    let mut builder = builder;
    if let Some(pem) = authorities {
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(unusable)?;
        builder = builder.tls_certs_only(roots);
    }
    if let Some((certificate, key)) = identity {
        let both = [certificate, b"\n".to_vec(), key].concat();
        builder = builder.identity(reqwest::Identity::from_pem(&both).map_err(unusable)?);
    }
    Ok(builder)
}

/// How gRPC is to be spoken over TLS.
pub(crate) fn grpc() -> tonic::transport::ClientTlsConfig {
    provide();
    let Trust { authorities, identity } = trusted();
    let mut config = tonic::transport::ClientTlsConfig::new();
    config = match authorities {
        Some(pem) => config.ca_certificate(tonic::transport::Certificate::from_pem(pem)),
        None => config.with_enabled_roots(),
    };
    match identity {
        Some((certificate, key)) => {
            config.identity(tonic::transport::Identity::from_pem(certificate, key))
        }
        None => config,
    }
}

/// The files of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServerFiles {
    /// Its certificate, with those that lead to its authority (PEM).
    pub(crate) certificate: PathBuf,
    /// Its key (PEM).
    pub(crate) key: PathBuf,
    /// Whose certificates workers must show.
    pub(crate) worker_ca: Option<PathBuf>,
}

/// A server's configuration.
///
/// # Errors
/// When a file cannot be read or makes no sense.
pub(crate) fn server(files: &ServerFiles) -> Result<Arc<ServerConfig>, Failure> {
    provide();
    let chain = certificates(&read(&files.certificate)?, &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| {
        Failure::permanent(format!("{} holds no key: {error}", files.key.display()))
            .advise("it must be a PEM file with an unencrypted private key")
    })?;
    let builder = ServerConfig::builder();
    let builder = match &files.worker_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&read(path)?, path)? {
                roots
                    .add(certificate)
                    .map_err(|error| Failure::permanent(format!("{}: {error}", path.display())))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .allow_unauthenticated()
                .build()
                .map_err(|error| Failure::permanent(format!("{}: {error}", path.display())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let certificate = files.certificate.display();
        Failure::permanent(format!("{certificate} and its key cannot be used: {error}"))
            .advise("the key must be that of the first certificate in the file")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(format!("read {}", path.display()), &error))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|e| Failure::permanent(format!("{}: {e}", path.display())))?;
    if found.is_empty() {
        return Err(Failure::permanent(format!("{} holds no certificate", path.display()))
            .advise("it must be a PEM file"));
    }
    Ok(found)
}
