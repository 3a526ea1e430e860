//! Where the history is: one rule for all commands.
//!
//! `--history`, else `$IPCD_HISTORY`, else `history.sqlite` in the service's state folder (`$STATE_DIRECTORY`, which
//! systemd sets), else `ipcd/history.sqlite` in `$XDG_STATE_HOME`, which is `~/.local/state` where it is not set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::HistoryError;

const NAME: &str = "history.sqlite";

/// The history's path by the rule above, from `--history` if given and this process's environment.
///
/// # Errors
/// [`HistoryError::NoPlace`]: nothing says where, and there is no home.
pub(crate) fn place(named: Option<&Path>) -> Result<PathBuf, HistoryError> {
    place_from(named, &|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn place_from(named: Option<&Path>, var: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, HistoryError> {
    if let Some(path) = named.map(Path::to_owned).or_else(|| var("IPCD_HISTORY").map(PathBuf::from)) {
        return Ok(path);
    }
    // systemd gives several folders with colons between them.
    let state = var("STATE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
    if let Some(folder) = state {
        return Ok(folder.join(NAME));
    }
    // The XDG rules: a relative path is to be ignored.
    let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    user.map(|folder| folder.join("ipcd").join(NAME)).ok_or(HistoryError::NoPlace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(named: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let var = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.into());
        place_from(named.map(Path::new), &var).ok().map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_nearest_rule_decides() {
        let all = [
            ("IPCD_HISTORY", "/own"),
            ("STATE_DIRECTORY", "/var/lib/ipcd:/var/lib/other"),
            ("XDG_STATE_HOME", "/state"),
            ("HOME", "/home/one"),
        ];
        for (named, variables, place) in [
            (Some("named"), &all[..], "named"),
            (None, &all[..], "/own"),
            (None, &all[1..], "/var/lib/ipcd/history.sqlite"),
            (None, &all[2..], "/state/ipcd/history.sqlite"),
            (None, &all[3..], "/home/one/.local/state/ipcd/history.sqlite"),
        ] {
            assert_eq!(placed(named, variables).as_deref(), Some(place));
        }
        assert_eq!(
            placed(None, &[("XDG_STATE_HOME", "here"), ("HOME", "/h")]).unwrap(),
            "/h/.local/state/ipcd/history.sqlite"
        );
        assert_eq!(placed(None, &[("HOME", "")]), None);
    }
}
