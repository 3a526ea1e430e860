//! Where the daemon tells its metrics, and which results it tells beside its own counters.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{Found, Origin, values};

/// What a file of results is called in the service's state folder.
const RESULTS: &str = "results.prom";

/// A place to listen at for who asks for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    /// A TCP address, which every user of the host can reach if it is a loopback one, and others if it is not.
    Tcp(SocketAddr),
    /// A unix socket, for whom the control socket is for.
    Unix(PathBuf),
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return values::socket(text).map(Self::Unix);
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "an IP address with a port is needed, such as 127.0.0.1:9464 or [::1]:9464, or the absolute path of a unix \
             socket"
                .to_owned()
        })
    }
}

/// The flags of metrics.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct MetricsFlags {
    /// Tell metrics in Prometheus' format at http://ADDR/metrics, such as 127.0.0.1:9464 or `[::1]:9464`, or at a unix
    /// socket, by its absolute path [default: $IPCD_METRICS, else as configured, else nowhere].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub metrics: Option<MetricsAddress>,
    /// With --metrics: also the results in this file, which "ipc-client export --prometheus FILE" writes [default:
    /// results.prom in $STATE_DIRECTORY].
    #[arg(long, value_name = "FILE", value_parser = values::absolute)]
    pub metrics_results: Option<PathBuf>,
}

pub(super) fn address(text: &str) -> Result<MetricsAddress, String> {
    text.parse()
}

/// What the files say of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Section {
    pub(super) metrics: Option<Found<MetricsAddress>>,
    pub(super) results: Option<Found<PathBuf>>,
}

/// The keys.
pub(super) const KEYS: [&str; 2] = ["metrics", "metrics-results"];

/// Where metrics are told, and where each value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetricsSettings {
    /// Where; nowhere if `None`.
    pub metrics: Option<Found<MetricsAddress>>,
    /// The file of results; none if `None`.
    pub results: Option<Found<PathBuf>>,
}

impl MetricsSettings {
    /// What holds: the flags, the environment, the files, the defaults.
    ///
    /// # Errors
    /// `$IPCD_METRICS` is no address; why.
    pub(super) fn of(
        flags: &MetricsFlags,
        variable: &dyn Fn(&str) -> Option<OsString>,
        file: &Section,
    ) -> Result<Self, (String, String)> {
        fn found<T>(value: T, origin: Origin) -> Found<T> {
            Found { value, origin }
        }
        let told = |name: &'static str| Some((variable(name)?, Origin::Environment(name)));
        let metrics = match (&flags.metrics, told("IPCD_METRICS")) {
            (Some(address), _) => Some(found(address.clone(), Origin::Flag)),
            (None, Some((text, origin))) => {
                let text = text.to_string_lossy().into_owned();
                Some(found(text.parse().map_err(|why| (text, why))?, origin))
            }
            (None, None) => file.metrics.clone(),
        };
        // systemd gives several folders with colons between them.
        let state = || {
            let (list, origin) = told("STATE_DIRECTORY")?;
            Some(found(std::env::split_paths(&list).next()?.join(RESULTS), origin))
        };
        let flag = flags.metrics_results.clone().map(|path| found(path, Origin::Flag));
        Ok(Self { metrics, results: flag.or_else(|| file.results.clone()).or_else(state) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_ip_or_a_path() {
        for text in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:9464", "192.0.2.1:0", "/run/ipcd/metrics.sock"]
        {
            assert_eq!(text.parse::<MetricsAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "127.0.0.1:65536", "metrics.sock"] {
            assert!(text.parse::<MetricsAddress>().unwrap_err().contains("127.0.0.1:9464"), "{text}");
        }
    }

    #[test]
    fn the_nearest_says_where() {
        let file = Section {
            metrics: Some(Found { value: "/file".parse().unwrap(), origin: Origin::Default }),
            results: Some(Found { value: "/results".into(), origin: Origin::Default }),
        };
        let flags = MetricsFlags { metrics: "/flag".parse().ok(), metrics_results: None };
        let of = |flags: &MetricsFlags, variables: &[(&str, &str)], file: &Section| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            let settings = MetricsSettings::of(flags, &variable, file)?;
            Ok::<_, (String, String)>((
                settings.metrics.map(|it| it.value.to_string()).unwrap_or_default(),
                settings.results.map(|it| it.value.display().to_string()).unwrap_or_default(),
            ))
        };
        let all = [("IPCD_METRICS", "[::1]:1"), ("STATE_DIRECTORY", "/var/lib/ipcd:/var/lib/other")];
        let none = MetricsFlags::default();
        let told = |metrics: &str, results: &str| Ok((metrics.to_owned(), results.to_owned()));
        assert_eq!(of(&flags, &all, &file), told("/flag", "/results"));
        assert_eq!(of(&none, &all, &file), told("[::1]:1", "/results"));
        assert_eq!(of(&none, &all[1..], &file), told("/file", "/results"));
        assert_eq!(of(&none, &all[1..], &Section::default()), told("", "/var/lib/ipcd/results.prom"));
        assert_eq!(of(&none, &[], &Section::default()), told("", ""));
        let wrong = of(&none, &[("IPCD_METRICS", "9464")], &file).unwrap_err();
        assert!(wrong.0 == "9464" && wrong.1.contains("port"), "{wrong:?}");
    }
}
