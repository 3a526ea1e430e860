//! The metric of hosts: what makes two of them one class, or not.

use std::collections::BTreeMap;

use crate::client::history::Newest;
use crate::client::host::Environment;
use crate::exposition::Family;

/// A metric for each host, of the environment of its newest result.
pub(super) fn family<'a>(results: impl Iterator<Item = (&'a Newest, &'a Environment)>) -> Family {
    let mut hosts: BTreeMap<&str, (u64, &Environment)> = BTreeMap::new();
    for (newest, environment) in results {
        let host = hosts.entry(&newest.series.host).or_insert((newest.started_unix_s, environment));
        if newest.started_unix_s > host.0 {
            *host = (newest.started_unix_s, environment);
        }
    }
    let mut family = Family::gauge("ipcd_host_info", "What the host was at its newest result.");
    for (host, (_, environment)) in hosts {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let governors: Vec<_> = environment.power.governors.iter().cloned().collect();
        let labels = [
            ("architecture", text(&environment.architecture)),
            ("cpu_model", text(&environment.cpu.model)),
            ("kernel", text(&environment.kernel.release)),
            ("governor", governors.join(",")),
            ("hypervisor", text(&environment.machine.hypervisor)),
            ("ipcd_version", environment.build.version.clone()),
        ];
        let mut all = vec![("host", host)];
        all.extend(labels.iter().map(|(name, value)| (*name, value.as_str())));
        family.add(&all, 1.0);
    }
    family
}
