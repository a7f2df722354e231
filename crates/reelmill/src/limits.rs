//! What the system allows this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are enough for everybody.
const ENOUGH: u64 = 65_536;

/// Raises the number of files and connections that may be open at once as far
/// as the system lets us, and yields it. What shells and services usually set
/// is too few for a thousand clients.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(ENOUGH);
    let now = current.unwrap_or(u64::MAX);
    if now >= wanted {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, now, "cannot raise the number of open files");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_open_as_many_files_as_the_system_lets_it() {
        let most = raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current.unwrap_or(u64::MAX), most);
        assert!(most >= maximum.unwrap_or(u64::MAX).min(ENOUGH));
    }
}
