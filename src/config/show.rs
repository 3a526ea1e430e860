//! What holds, as a file that would say the same, and where each value comes from.

use super::daemon::known_keys;
use super::{Config, Found, Origin, Settings, limits};

impl Config {
    /// The settings and the profiles as TOML, each with its origin.
    #[must_use]
    pub(crate) fn show(&self, settings: &Settings) -> String {
        let mut text = String::new();
        for (path, there) in self.files() {
            line(&mut text, &format!("# {}: {}", path.display(), if there { "read" } else { "not there" }));
        }
        line(&mut text, "\n[daemon]");
        for key in known_keys() {
            match settings.shown(key) {
                Some((value, origin)) => line(&mut text, &format!("{key} = {value}  # {origin}")),
                None => line(&mut text, &format!("# {key}: {}", absent(key))),
            }
        }
        for (name, profile) in &self.profiles {
            let name = if name.contains('.') { quoted(name) } else { name.clone() };
            line(&mut text, &format!("\n[profile.{name}]"));
            for (key, values, origin) in profile.entries() {
                let quoted: Vec<_> = values.iter().map(|value| quoted(value)).collect();
                let value = match &quoted[..] {
                    [one] => one.clone(),
                    several => format!("[{}]", several.join(", ")),
                };
                line(&mut text, &format!("{key} = {value}  # {origin}"));
            }
        }
        text
    }
}

impl Settings {
    /// A key's value as TOML has it; `None` if it has none.
    fn shown(&self, key: &str) -> Option<(String, &Origin)> {
        fn found<T>(found: &Found<T>, show: impl Fn(&T) -> String) -> (String, &Origin) {
            (show(&found.value), &found.origin)
        }
        match key {
            "socket" => self.socket.as_ref().map(|it| found(it, |path| quoted(&path.display().to_string()))),
            "group" => self.group.as_ref().map(|it| found(it, |group| quoted(group))),
            "mode" => Some(found(&self.mode, |mode| quoted(&format!("{mode:04o}")))),
            "measurements" => Some(found(&self.measurements, usize::to_string)),
            "idle-exit" => self
                .idle_exit
                .as_ref()
                .map(|it| found(it, |time| quoted(&humantime::format_duration(*time).to_string()))),
            "log" => Some(found(&self.log, |filter| quoted(filter))),
            "metrics" => self.metrics.metrics.as_ref().map(|it| found(it, |at| quoted(&at.to_string()))),
            "metrics-results" => {
                let results = self.metrics.results.as_ref();
                results.map(|it| found(it, |path| quoted(&path.display().to_string())))
            }
            other => {
                let place = limits::place(other).unwrap_or_else(|| unreachable!("{other} is not shown"));
                Some(found(self.limits.found(place), |value| limits::show(place, *value)))
            }
        }
    }
}

/// What a key without a value means.
fn absent(key: &str) -> &'static str {
    match key {
        "socket" => "not set: the first place that can be used (see ipcd start --help)",
        "idle-exit" => "not set: never",
        "metrics" => "not set: nowhere",
        "metrics-results" => "not set: no results, the daemon's own counters alone",
        _ => "not set",
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
