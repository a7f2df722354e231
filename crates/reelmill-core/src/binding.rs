//! Which key speaks for which worker: a worker belongs to the key with which it
//! first joined, so that nobody takes its place with another.

/// A worker of the coordinator's own process belongs to no key that anybody has.
pub const HOUSE: &str = "house";

/// The key that is given by configuration, and kept nowhere.
pub const FIXED: &str = "fixed";

/// Who speaks for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// The server asks nobody for a key.
    Anybody,
    /// A worker of the coordinator's own process.
    House,
    /// Whoever may do everything, with this key.
    Admin(String),
    /// Somebody with this worker's key.
    Worker(String),
}

impl Speaker {
    /// To whom a worker belongs that joins so, and belongs to nobody yet.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Anybody => None,
            Self::House => Some(HOUSE),
            Self::Admin(key) | Self::Worker(key) => Some(key),
        }
    }

    /// Whether this one may speak for a worker that belongs to `bound`, if its key
    /// still opens anything (`live`; those that are no keys in the store always do).
    #[must_use]
    pub fn may_speak(&self, bound: Option<&str>, live: bool) -> bool {
        match (self, bound) {
            (Self::Anybody | Self::House | Self::Admin(_), _) | (_, None) => true,
            (Self::Worker(_), Some(HOUSE | FIXED)) => false,
            (Self::Worker(key), Some(bound)) => key == bound || !live,
        }
    }
}

impl Speaker {
    /// Whether a worker of this one's may analyse and finish jobs: that reads the
    /// whole source and writes the output, which one key of many must not decide.
    #[must_use]
    pub fn may_keep_house(&self) -> bool {
        !matches!(self, Self::Worker(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_spoken_for_by_the_key_that_it_belongs_to_and_by_admins() {
        let key = |id: &str| Speaker::Worker(id.to_owned());
        assert!(key("a").may_speak(Some("a"), true));
        assert!(!key("b").may_speak(Some("a"), true));
        assert!(key("b").may_speak(Some("a"), false), "a revoked key holds nothing");
        assert!(key("b").may_speak(None, true));
        assert!(!key("b").may_speak(Some(HOUSE), false) && !key("b").may_speak(Some(FIXED), false));
        for all in [Speaker::Anybody, Speaker::House, Speaker::Admin("c".to_owned())] {
            assert!(all.may_speak(Some("a"), true) && all.may_speak(Some(HOUSE), true));
        }
    }
}
