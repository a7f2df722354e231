//! The configuration of `reelmill serve`: what needs more words than a flag.

use crate::coordinator::Service;
use crate::tls::ServerFiles;
use reelmill_core::dispatch::ExternalEngines;
use reelmill_core::error::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest upload, unless configured: 4 TiB.
const MAX_UPLOAD: u64 = 1 << 42;

/// The file, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeConfig {
    dispatch: DispatchPart,
    fetch: FetchPart,
    libraries: BTreeMap<String, PathBuf>,
    uploads: UploadPart,
    tls: Option<TlsPart>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DispatchPart {
    external_engines: ExternalEngines,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FetchPart {
    enabled: bool,
    allow: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UploadPart {
    max_bytes: Option<u64>,
    quota_bytes: Option<u64>,
    accept: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsPart {
    certificate: PathBuf,
    key: PathBuf,
    worker_ca: Option<PathBuf>,
}

impl ServeConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense; says where.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(format!("read {}", path.display()), &error))?;
        Self::parse(&text).map_err(|why| {
            Failure::permanent(format!("{}: {why}", path.display()))
                .advise("'docs/operations.md' lists what may stand there")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// What users may make the server do.
    pub(crate) fn service(&self) -> Service {
        Service {
            fetch: self.fetch.enabled,
            allow: self.fetch.allow.clone(),
            libraries: self.libraries.clone(),
            external_engines: self.dispatch.external_engines,
            quota: self.uploads.quota_bytes,
            accept: self
                .uploads
                .accept
                .iter()
                .map(|e| e.trim_start_matches('.').to_lowercase())
                .collect(),
        }
    }

    /// Largest upload taken, bytes.
    pub(crate) fn max_upload(&self) -> u64 {
        self.uploads.max_bytes.unwrap_or(MAX_UPLOAD)
    }

    /// The files for TLS, if it is spoken.
    pub(crate) fn tls(&self) -> Option<ServerFiles> {
        let TlsPart { certificate, key, worker_ca } = self.tls.clone()?;
        Some(ServerFiles { certificate, key, worker_ca })
    }

    /// Sets the files for TLS in place of those of the file.
    ///
    /// # Errors
    /// When some, but not all that are needed, are there.
    pub(crate) fn set_tls(
        &mut self,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        worker_ca: Option<PathBuf>,
    ) -> Result<(), Failure> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                self.tls = Some(TlsPart { certificate, key, worker_ca: None });
            }
            (None, None) => {}
            _ => return Err(Failure::permanent("--tls-cert and --tls-key go together")),
        }
        match (&mut self.tls, worker_ca) {
            (Some(part), Some(ca)) => part.worker_ca = Some(ca),
            (None, Some(_)) => {
                return Err(Failure::permanent("--worker-ca needs --tls-cert and --tls-key"));
            }
            (_, None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let config = ServeConfig::parse(
            "[dispatch]\nexternal_engines = \"only\"\n[fetch]\nenabled = true\nallow = [\"nas\"]\n\
             [libraries]\nfilms = \"/srv/films\"\n[uploads]\nmax_bytes = 10\nquota_bytes = 20\n\
             accept = [\".MKV\", \"mp4\"]\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n\
             worker_ca = \"w.pem\"\n",
        )
        .unwrap();
        let service = config.service();
        assert_eq!(service.external_engines, ExternalEngines::Only);
        assert!(service.fetch && service.allow == ["nas"] && service.accept == ["mkv", "mp4"]);
        assert_eq!((config.max_upload(), service.quota), (10, Some(20)));
        assert_eq!(config.tls().unwrap().worker_ca, Some(PathBuf::from("w.pem")));
    }

    #[test]
    fn an_empty_file_is_the_usual_and_a_wrong_word_is_told() {
        let usual = ServeConfig::parse("").unwrap();
        assert_eq!(usual.max_upload(), MAX_UPLOAD);
        assert!(!usual.service().fetch && usual.tls().is_none());
        let wrong = ServeConfig::parse("[fetch]\nenable = true\n").unwrap_err();
        assert!(wrong.contains("enable") && wrong.contains("line 2"), "{wrong}");
        assert!(ServeConfig::parse("[dispatch]\nexternal_engines = \"maybe\"\n").is_err());
    }
}
