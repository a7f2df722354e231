//! Hooks: whom to tell that a file was converted, and in which words. Only
//! values: somebody else sends them.

use crate::error::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most hooks.
const MOST: usize = 50;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// It was converted: the output is at `path`.
    Converted,
    /// It could not be.
    Failed,
}

/// Something that hooks tell of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HookEvent {
    /// What happened.
    pub event: Happened,
    /// Where the file is now, on this machine.
    pub path: String,
    /// Where the source was, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// With which preset.
    pub preset: String,
    /// Bytes of the source.
    pub bytes_before: u64,
    /// Bytes of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The hooks of this machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// The hooks.
    #[serde(default, rename = "hook")]
    pub hooks: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// What it is called in messages.
    pub name: String,
    /// What it does.
    pub kind: HookKind,
    /// The service's address, up to and without the path of its API.
    #[serde(default)]
    pub url: Option<String>,
    /// Its key, token or secret.
    #[serde(default)]
    pub key: Option<String>,
    /// The program, and its arguments; see [`Hook::arguments`].
    #[serde(default)]
    pub command: Vec<String>,
    /// When to call it; after conversions when empty.
    #[serde(default)]
    pub on: Vec<Happened>,
    /// Folders of this machine, and what they are called there.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
}

/// What a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Posts the event as JSON, signed the Standard Webhooks way.
    Webhook,
    /// Runs a program.
    Command,
    /// Has Sonarr look at the series' folder.
    Sonarr,
    /// Has Radarr look at the film's folder.
    Radarr,
    /// Has Plex look at the file's folder.
    Plex,
    /// Tells Jellyfin of the file.
    Jellyfin,
}

impl HookKind {
    /// Its word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Command => "command",
            Self::Sonarr => "sonarr",
            Self::Radarr => "radarr",
            Self::Plex => "plex",
            Self::Jellyfin => "jellyfin",
        }
    }
}

/// A request to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Address with path and query.
    pub url: String,
    /// Headers beside the content type.
    pub headers: Vec<(&'static str, String)>,
    /// JSON to send.
    pub body: Option<Value>,
}

impl Hooks {
    /// Reads hooks from a TOML text that `origin` names in errors.
    ///
    /// # Errors
    /// When it is not TOML, or a hook lacks what its kind needs.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let fail = |why: String| {
            Failure::permanent(format!("{origin}: {why}"))
                .advise("'docs/hooks.md' has an example of each kind")
        };
        let hooks: Self = toml::from_str(text).map_err(|error| fail(error.to_string()))?;
        if hooks.hooks.len() > MOST {
            return Err(fail(format!("there are more than {MOST} hooks")));
        }
        for hook in &hooks.hooks {
            hook.check().map_err(|why| fail(format!("hook '{}': {why}", hook.name)))?;
        }
        Ok(hooks)
    }

    /// The hooks to call for what happened.
    pub fn of(&self, happened: Happened) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| match hook.on.as_slice() {
            [] => happened == Happened::Converted,
            on => on.contains(&happened),
        })
    }
}

impl Hook {
    fn check(&self) -> Result<(), &'static str> {
        let http = self
            .url
            .as_ref()
            .is_some_and(|url| url.starts_with("http://") || url.starts_with("https://"));
        match self.kind {
            HookKind::Command if self.command.is_empty() => {
                Err("it needs 'command': a program and its arguments")
            }
            HookKind::Command => Ok(()),
            _ if !http => Err("it needs 'url', which begins with http:// or https://"),
            HookKind::Webhook => Ok(()),
            _ if self.key.is_none() => Err("it needs 'key'"),
            _ => Ok(()),
        }
    }

    fn base(&self) -> &str {
        self.url.as_deref().unwrap_or_default().trim_end_matches('/')
    }

    fn key(&self) -> String {
        self.key.clone().unwrap_or_default()
    }

    /// What `path` of this machine is called at the service: the longest folder
    /// in the map that it lies in is replaced.
    #[must_use]
    pub fn theirs(&self, path: &str) -> String {
        let fits = self.map.iter().filter(|(ours, _)| below(path, ours));
        match fits.max_by_key(|(ours, _)| ours.trim_end_matches('/').len()) {
            None => path.to_owned(),
            Some((ours, theirs)) => {
                let rest = &path[ours.trim_end_matches('/').len()..];
                let theirs = theirs.trim_end_matches(['/', '\\']);
                // A Windows service writes its paths its own way.
                if theirs.contains('\\') || theirs.ends_with(':') {
                    return format!("{theirs}{}", rest.replace('/', "\\"));
                }
                format!("{theirs}{rest}")
            }
        }
    }

    /// The program's arguments: `{event}`, `{path}`, `{old_path}`, `{preset}`,
    /// `{reason}` and `{json}` within them are replaced. No shell looks at them.
    #[must_use]
    pub fn arguments(&self, event: &HookEvent) -> Vec<String> {
        let whole = serde_json::to_string(event).unwrap_or_default();
        let word = serde_json::to_value(event.event).ok();
        let word = word.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let replace = |text: &String| {
            let mut done = String::new();
            let mut rest = text.as_str();
            // One pass: what was put in is not looked at again.
            while let Some(at) = rest.find('{') {
                done.push_str(&rest[..at]);
                rest = &rest[at..];
                let values = [
                    ("{event}", word.as_str()),
                    ("{path}", event.path.as_str()),
                    ("{old_path}", event.old_path.as_deref().unwrap_or(&event.path)),
                    ("{preset}", event.preset.as_str()),
                    ("{reason}", event.reason.as_deref().unwrap_or_default()),
                    ("{json}", whole.as_str()),
                ];
                let found = values.into_iter().find(|(name, _)| rest.starts_with(name));
                let (name, value) = found.unwrap_or(("{", "{"));
                done.push_str(value);
                rest = &rest[name.len()..];
            }
            done.push_str(rest);
            done
        };
        self.command.iter().skip(1).map(replace).collect()
    }

    /// The first request; what it is answered goes to [`Hook::then`].
    #[must_use]
    pub fn first(&self, event: &HookEvent) -> Option<Ask> {
        let base = self.base();
        let get = |url: String, headers| Some(Ask { method: "GET", url, headers, body: None });
        match self.kind {
            HookKind::Command => None,
            HookKind::Webhook => {
                let body = serde_json::to_value(event).ok();
                Some(Ask { method: "POST", url: base.to_owned(), headers: Vec::new(), body })
            }
            HookKind::Sonarr => get(format!("{base}/api/v3/series"), self.arr_key()),
            HookKind::Radarr => get(format!("{base}/api/v3/movie"), self.arr_key()),
            HookKind::Plex => get(format!("{base}/library/sections"), self.plex_key()),
            HookKind::Jellyfin => {
                let mut updates =
                    vec![json!({"Path": self.theirs(&event.path), "UpdateType": "Modified"})];
                if let Some(old) = &event.old_path {
                    updates.insert(0, json!({"Path": self.theirs(old), "UpdateType": "Deleted"}));
                }
                let token = self.key().replace(['"', '\\'], "");
                Some(Ask {
                    method: "POST",
                    url: format!("{base}/Library/Media/Updated"),
                    headers: vec![("authorization", format!("MediaBrowser Token=\"{token}\""))],
                    body: Some(json!({ "Updates": updates })),
                })
            }
        }
    }

    /// The second request, after `answer` to the first; `None` when there is none.
    ///
    /// # Errors
    /// When the service does not know the file's folder.
    pub fn then(&self, event: &HookEvent, answer: &Value) -> Result<Option<Ask>, Failure> {
        let path = self.theirs(&event.path);
        let unknown = |what: &str| {
            let message = format!("{} knows no {what} that {path} lies in", self.name);
            Failure::permanent(message)
                .advise("if it sees the files under another path, say so in the hook's 'map'")
        };
        let command = |name: &str, key: &str, id: i64| Ask {
            method: "POST",
            url: format!("{}/api/v3/command", self.base()),
            headers: self.arr_key(),
            body: Some(json!({"name": name, key: id})),
        };
        match self.kind {
            HookKind::Sonarr => {
                let id = arr_item(answer, &path).ok_or_else(|| unknown("series"))?;
                Ok(Some(command("RescanSeries", "seriesId", id)))
            }
            HookKind::Radarr => {
                let id = arr_item(answer, &path).ok_or_else(|| unknown("film"))?;
                Ok(Some(command("RescanMovie", "movieId", id)))
            }
            HookKind::Plex => {
                let section = plex_section(answer, &path).ok_or_else(|| unknown("library"))?;
                let folder = path.rfind(['/', '\\']).map_or("", |at| &path[..at]);
                let url = format!(
                    "{}/library/sections/{}/refresh?path={}",
                    self.base(),
                    escaped(&section),
                    escaped(folder)
                );
                Ok(Some(Ask { method: "GET", url, headers: self.plex_key(), body: None }))
            }
            HookKind::Webhook | HookKind::Command | HookKind::Jellyfin => Ok(None),
        }
    }

    fn arr_key(&self) -> Vec<(&'static str, String)> {
        vec![("x-api-key", self.key())]
    }

    fn plex_key(&self) -> Vec<(&'static str, String)> {
        vec![("x-plex-token", self.key()), ("accept", "application/json".into())]
    }
}

/// Whether `path` lies in `folder`, or is it.
fn below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches(['/', '\\']);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
}

/// The series or film of a list whose folder `path` lies in, the innermost.
fn arr_item(list: &Value, path: &str) -> Option<i64> {
    let items = list
        .as_array()?
        .iter()
        .filter_map(|item| Some((item["path"].as_str()?, item["id"].as_i64()?)));
    let fits = items.filter(|(folder, _)| below(path, folder));
    fits.max_by_key(|(folder, _)| folder.len()).map(|(_, id)| id)
}

/// The key of the section that has the folder `path` lies in.
fn plex_section(answer: &Value, path: &str) -> Option<String> {
    let sections = answer["MediaContainer"]["Directory"].as_array()?;
    let places = sections.iter().flat_map(|section| {
        let key = section["key"].as_str();
        let places = section["Location"].as_array().into_iter().flatten();
        places.filter_map(move |place| Some((place["path"].as_str()?, key?)))
    });
    let fits = places.filter(|(folder, _)| below(path, folder));
    fits.max_by_key(|(folder, _)| folder.len()).map(|(_, key)| key.to_owned())
}

/// `text` as a part of a URL.
fn escaped(text: &str) -> String {
    let mut done = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                done.push(char::from(byte))
            }
            _ => {
                done.push('%');
                for digit in [byte >> 4, byte & 15] {
                    done.extend(
                        char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()),
                    );
                }
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hook(kind: &str, more: &str) -> Hook {
        let text = format!(
            "[[hook]]\nname='it'\nkind='{kind}'\nurl='http://host:1/'\nkey='secret'\n{more}"
        );
        Hooks::parse(&text, "hooks.toml").unwrap().hooks.remove(0)
    }

    fn event(path: &str) -> HookEvent {
        HookEvent {
            event: Happened::Converted,
            path: path.into(),
            old_path: None,
            preset: "hevc".into(),
            bytes_before: 9,
            bytes_after: Some(4),
            reason: None,
        }
    }

    #[test]
    fn paths_are_told_as_the_service_knows_them() {
        let mapped = hook("plex", "map={'/mnt/media'='/data','/mnt/media/tv/'='D:\\TV'}");
        assert_eq!(mapped.theirs("/mnt/media/films/a.mkv"), "/data/films/a.mkv");
        assert_eq!(mapped.theirs("/mnt/media/tv/x/a.mkv"), "D:\\TV\\x\\a.mkv");
        assert_eq!(mapped.theirs("/mnt/media2/a.mkv"), "/mnt/media2/a.mkv");
    }

    #[test]
    fn the_innermost_folder_is_the_one_meant() {
        let list = json!([{"id": 1, "path": "/tv"}, {"id": 2, "path": "/tv/Show"}, {"id": 3, "path": "/tv/Sho"}]);
        assert_eq!(arr_item(&list, "/tv/Show/S01/a.mkv"), Some(2));
        assert_eq!(arr_item(&list, "/films/a.mkv"), None);
        let unknown = hook("sonarr", "").then(&event("/films/a.mkv"), &list).unwrap_err();
        assert!(
            unknown.message.contains("it knows no series that /films/a.mkv lies in"),
            "{unknown}"
        );
    }

    #[test]
    fn a_command_gets_its_arguments_whole() {
        let hook =
            hook("command", "command=['run','{event}','--file={path}','{old_path}{x','{json}']");
        let args = hook.arguments(&event("/films/a {reason} $(b).mkv"));
        assert_eq!(
            args[..3],
            ["converted", "--file=/films/a {reason} $(b).mkv", "/films/a {reason} $(b).mkv{x"]
        );
        assert!(args[3].contains("\"bytes_after\":4"));
    }

    #[test]
    fn a_hook_that_lacks_something_is_told() {
        for (text, words) in [
            ("kind='sonarr'\nurl='http://x'", "needs 'key'"),
            ("kind='plex'\nkey='x'", "needs 'url'"),
            ("kind='webhook'\nurl='ftp://x'", "needs 'url'"),
            ("kind='command'", "needs 'command'"),
            ("kind='fax'", "fax"),
        ] {
            let error =
                Hooks::parse(&format!("[[hook]]\nname='it'\n{text}\n"), "hooks.toml").unwrap_err();
            assert!(error.message.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn hooks_are_called_for_what_they_are_meant_for() {
        let all = "[[hook]]\nname='a'\nkind='command'\ncommand=['a']\n\
                   [[hook]]\nname='b'\nkind='command'\ncommand=['b']\non=['failed']\n";
        let hooks = Hooks::parse(all, "hooks.toml").unwrap();
        let names =
            |happened| hooks.of(happened).map(|hook| hook.name.as_str()).collect::<Vec<_>>();
        assert_eq!((names(Happened::Converted), names(Happened::Failed)), (vec!["a"], vec!["b"]));
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_place_in_a_url(path in ".{0,40}") {
            let text = escaped(&path);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            prop_assert_eq!(crate::names::decode(&text), Some(path.into_bytes()));
        }
    }
}
