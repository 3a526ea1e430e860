//! How many file descriptors this process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process so many descriptors beside the few that any has, as far as the hard limit goes. The soft limit is
/// low for the sake of programs that use `select`, of which this is none.
pub fn allow_descriptors(count: u64) {
    let wanted = count.saturating_add(64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where it fails, the descriptor that is missing is told of.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        allow_descriptors(0);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        allow_descriptors(u64::MAX);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current.and(before.maximum));
    }
}
