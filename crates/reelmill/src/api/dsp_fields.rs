//! What the dispatch protocol's requests hold, and how it shows a job.

use super::body::whole;
use super::error::ApiError;
use axum::body::Body;
use reelmill_core::dispatch::{Dispatch, status};
use reelmill_core::job::{Job, JobState, Source};
use serde_json::{Map, Value, json};

/// Longest text that is taken, bytes.
const MAX_TEXT: usize = 4096;

/// Longest name of an engine, bytes.
const MAX_NAME: usize = 255;

/// Most codecs of an engine.
const MAX_CODECS: usize = 1000;

/// The fields of a request's JSON object.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    pub(super) async fn of(body: Body) -> Result<Self, ApiError> {
        let bytes = whole(body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::malformed("the body must be a JSON object")),
            Err(error) => Err(ApiError::malformed(format!("the body is not JSON: {error}"))),
        }
    }

    pub(super) fn wrong(name: &str, what: &str) -> ApiError {
        ApiError::malformed(format!("'{name}' must be {what}"))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(text.clone())),
            Some(_) => Err(Self::wrong(name, "a string of at most 4096 bytes")),
        }
    }

    pub(super) fn needed(&self, name: &str) -> Result<String, ApiError> {
        let text = self.text(name)?;
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::malformed(format!("'{name}' is missing: a string is needed")))
    }

    /// A name, which is kept as part of a key.
    pub(super) fn name(&self, name: &str) -> Result<String, ApiError> {
        let text = self.needed(name)?;
        if text.len() > MAX_NAME || text.chars().any(char::is_control) {
            return Err(Self::wrong(name, "1 to 255 bytes without control characters"));
        }
        Ok(text)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number >= 0.0 && number.is_finite() => Ok(Some(number)),
                _ => Err(Self::wrong(name, "a number of at least 0")),
            },
        }
    }

    pub(super) fn integer(&self, name: &str, most: u64) -> Result<Option<u64>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().filter(|number| *number <= most) {
                Some(number) => Ok(Some(number)),
                None => Err(Self::wrong(name, &format!("an integer from 0 to {most}"))),
            },
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Self::wrong(name, "true or false")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        let wrong = || Self::wrong(name, "an array of strings");
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) if items.len() <= MAX_CODECS => {
                let text = |item: &Value| {
                    item.as_str().filter(|text| text.len() <= MAX_NAME).map(str::to_owned)
                };
                items
                    .iter()
                    .map(|item| text(item).ok_or_else(wrong))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// A job that is asked for.
///
/// # Errors
/// Naming the field that is missing or of another type.
pub(super) fn request(body: &Value) -> Result<Dispatch, ApiError> {
    let fields = match body {
        Value::Object(fields) => Fields(fields.clone()),
        _ => return Err(ApiError::malformed("the body must be a JSON object")),
    };
    Ok(Dispatch {
        source_url: fields.needed("source_url")?,
        target_codec: fields.needed("target_codec")?,
        job_size: fields.number("job_size")?.unwrap_or(0.0),
        max_retries: fields.integer("max_retries", 1000)?.unwrap_or(3) as u32,
        retries: 0,
        priority: fields.integer("priority", 2)?.unwrap_or(0) as u8,
        engine: None,
        output_url: None,
        error_message: None,
        inside: false,
    })
}

/// What the dispatch protocol tells of a job, whichever way that came.
pub(super) fn fields(job: &Job) -> Value {
    let dispatch = job.dispatch.as_deref();
    let source = match &job.source {
        Source::Url { url } => url.clone(),
        Source::Upload { blob, .. } => format!("upload:{blob}"),
        Source::Library { root, path } => format!("library:{root}/{path}"),
        Source::Local { .. } => String::new(),
    };
    let bytes = match &job.source {
        Source::Upload { bytes, .. } => *bytes as f64 / 1e6,
        _ => 0.0,
    };
    let inside = job.state == JobState::Running && dispatch.is_none_or(|d| d.engine.is_none());
    let engine = dispatch.and_then(|d| d.engine.clone()).or(inside.then(|| "reelmill".to_owned()));
    let output = dispatch.and_then(|d| d.output_url.clone());
    let own = || job.output.as_ref().map(|_| format!("/api/v1/jobs/{}/output", job.id));
    let codec = || match job.request.encoder() {
        Some(encoder) => encoder.codec().to_owned(),
        None => job.request.preset.audio.codec.codec().to_owned(),
    };
    let failure = job.failure.as_ref().map(|failure| failure.message.clone());
    let mut all = json!({
        "job_id": job.id,
        "source_url": dispatch.map_or(source, |d| d.source_url.clone()),
        "target_codec": dispatch.map_or_else(codec, |d| d.target_codec.clone()),
        "job_size": dispatch.map_or(bytes, |d| d.job_size),
        "status": status(job.state, dispatch),
        "assigned_engine": engine,
        "output_url": output.or_else(own),
        "retries": dispatch.map_or(0, |d| d.retries),
        "max_retries": dispatch.map_or(job.request.retry.max_retries, |d| d.max_retries),
        "created_at": job.created.0 / 1000,
        "updated_at": job.updated.0 / 1000,
    });
    if let Some(message) = dispatch.and_then(|d| d.error_message.clone()).or(failure) {
        all["error_message"] = Value::String(message);
    }
    if let Some(dispatch) = dispatch {
        all["priority"] = json!(dispatch.priority);
    }
    all
}

/// A job as the dispatch protocol shows it.
pub(super) fn object(job: &Job) -> Value {
    let mut all = fields(job);
    if all.get("priority").is_none() {
        // reelmill's 0 to 100 in three steps.
        all["priority"] = json!(match job.priority {
            0..=62 => 0,
            63..=87 => 1,
            _ => 2,
        });
    }
    all
}
