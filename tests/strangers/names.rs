//! Names of channels' resources: no process can guess or take one, and nothing keeps one for longer than it needs it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::{Mechanism, Naming, unique_name};

use super::{MANY, attacked, every_door};
use crate::harness::{Announced, NOBODY, files, is_root, run};

/// The only ones that keep a name until their client has proved itself: libraries find each other by it.
fn keeps_a_name(mechanism: &dyn Mechanism) -> bool {
    mechanism.info().name == "zeromq" || mechanism.info().naming == Naming::SharedFolder
}

#[test]
fn an_announced_channel_has_no_name_that_another_process_could_find() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        let before = files(sandbox.folder());
        attacked(&daemon, || {
            for (mechanism, spec) in every_door().filter(|(mechanism, _)| !keeps_a_name(*mechanism)) {
                let method = mechanism.info().name;
                let announced = Announced::by(&daemon, &spec);
                assert_eq!(files(sandbox.folder()), before, "{method}");
                let bound = fs::read_to_string("/proc/net/unix").unwrap();
                let by_name =
                    bound.lines().filter(|line| line.contains("@ipcd-") && line.contains("00010000"));
                assert_eq!(by_name.count(), 0, "{method} listens");
                announced.serves_its_client();
            }
        });
    });
}

#[test]
fn what_killed_daemons_have_left_is_removed_and_nothing_else() {
    run(|sandbox| {
        let old = SystemTime::now() - Duration::from_secs(3600);
        let plant = |path: PathBuf, time: SystemTime| {
            let file = File::create(&path).unwrap();
            file.set_modified(time).unwrap();
            // As all that has such a name.
            file.set_permissions(Permissions::from_mode(0o600)).unwrap();
            path
        };
        let name = |end: &str| format!("{}{end}", unique_name().unwrap());
        let (own, shared) = (sandbox.folder(), PathBuf::from("/dev/shm"));
        let dead = [
            plant(own.join(name("")), old),
            plant(own.join(name("-ping")), old),
            plant(shared.join(name("")), old),
            // It is not locked, however young it is.
            plant(shared.join(name("-lock")), SystemTime::now()),
        ];
        let mut alive = vec![
            plant(own.join(name("")), SystemTime::now()),
            plant(own.join("ipcd-of-another-kind"), old),
            plant(own.join(format!("{}x", &name("")[..20])), old),
        ];
        if is_root() {
            let path = plant(own.join(name("")), old);
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            alive.push(path);
        }
        let private = ["bench", "--private", "-m", "pipe", "-n", "10", "--trials", "1"];
        sandbox.finish(&mut sandbox.client(&private)).expect(Exit::Success);
        let left: Vec<_> = dead.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
        let gone: Vec<_> = alive.iter().filter(|path| !path.exists()).collect();
        assert!(gone.is_empty(), "{gone:?}");
        alive.iter().for_each(|path| fs::remove_file(path).unwrap());
    });
}

/// The daemon's process and its channels' numbers, which any process can find out, are in no name.
#[test]
fn no_name_follows_from_another() {
    let names: Vec<_> = (0..1000).map(|_| unique_name().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len());
    assert_ne!(sorted, names, "they are not in order");
}
