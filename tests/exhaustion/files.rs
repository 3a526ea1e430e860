//! File systems: /dev/shm is full; the folder for what has a name is full, or can only be read.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::Mechanism;

use super::{Bystander, daemon_in, entries, may_unshare, skips, under};
use crate::conformance::here;
use crate::harness::{Daemon, Output, Sandbox, run};

const MOUNTS: [&str; 3] = ["--mount", "--propagation", "private"];

/// A daemon with private file systems, and operations on them.
struct Mounted<'a> {
    sandbox: &'a Sandbox,
    daemon: Daemon,
}

impl<'a> Mounted<'a> {
    /// `place` is where the daemon makes what has a name; `mount` mounts it, or /dev/shm.
    fn start(sandbox: &'a Sandbox, place: &str, mount: &str) -> Self {
        let mut command = sandbox.ipcd(&["start"]);
        command.env("RUNTIME_DIRECTORY", place).env("TMPDIR", place);
        Self { sandbox, daemon: daemon_in(sandbox, &MOUNTS, mount, command) }
    }

    /// Runs a program of the sandbox where the daemon is.
    fn inside(&self, program: &[&str], arguments: &[&str]) -> Output {
        let pid = self.daemon.pid.to_string();
        let starter = [&["nsenter", "--mount", "--target", &pid, "--"][..], program].concat();
        self.sandbox.finish(&mut under(&starter, &self.sandbox.client(arguments)))
    }

    /// Measures a group, shortly.
    fn group(&self, group: &str, arguments: &[&str]) -> Output {
        let short = ["bench", "-n", "3", "--trials", "1", "--warmup", "1", "--method", group];
        self.inside(&[], &[&short[..], arguments].concat())
    }

    fn shell(&self, script: &str) {
        self.inside(&["sh", "-c", script, "sh"], &[]).expect(Exit::Success);
    }

    fn bench(&self, mechanism: &dyn Mechanism, size: usize) -> Output {
        let can = mechanism.capabilities();
        let size = size.clamp(can.min_size, can.max_size).to_string();
        let method = mechanism.info().name;
        self.inside(
            &[],
            &["bench", "--method", method, "--size", &size, "-n", "3", "--trials", "1", "--warmup", "1"],
        )
    }

    /// The entries of one of the daemon's folders.
    fn entries(&self, folder: &str) -> Vec<String> {
        entries(&PathBuf::from(format!("/proc/{}/root{folder}", self.daemon.pid)))
    }
}

/// Tries mechanisms with a payload of this size; returns those that are refused, and checks that the errors contain `expected`.
fn refused(
    mounted: &Mounted<'_>,
    among: impl Fn(&str) -> bool,
    size: usize,
    expected: &[&str],
) -> Vec<&'static str> {
    let mut refused = Vec::new();
    for mechanism in here().filter(|mechanism| among(mechanism.info().name)) {
        let output = mounted.bench(mechanism, size);
        if !output.status.success() {
            output.expect(Exit::Unavailable).says(expected);
            refused.push(mechanism.info().name);
        }
    }
    refused
}

#[test]
fn a_full_dev_shm_is_reported_when_the_channel_is_opened() {
    run(|sandbox| {
        if !may_unshare(&MOUNTS) {
            return;
        }
        let place = sandbox.folder().display().to_string();
        let mounted = Mounted::start(sandbox, &place, "mount -t tmpfs -o size=256k ipcd-test /dev/shm");
        let mut bystander = Bystander::of(&mounted.daemon);
        let full = refused(&mounted, |_| true, 1 << 20, &["/dev/shm", "No space left", "262144"]);
        assert!(full.contains(&"shmem") && !full.contains(&"memfd"), "{full:?}");
        eprintln!("a /dev/shm of 256 KiB: {full:?} refused for 1 MiB");
        assert_eq!(mounted.entries("/dev/shm"), Vec::<String>::new());
        bystander.goes_on();
        // What fits, fits: no round of it ends by SIGBUS.
        for mechanism in here().filter(|mechanism| mechanism.info().name == "shmem") {
            mounted.bench(mechanism, 100_000).expect(Exit::Success);
            mounted.shell("head -c 262144 /dev/zero > /dev/shm/full");
            mounted.bench(mechanism, 8).expect(Exit::Unavailable).says(&["0 of 262144 are left"]);
            skips(&mounted.group("memory", &[]), "shmem", &["0 of 262144 are left"], "memfd");
            mounted.shell("rm /dev/shm/full && mount -o remount,size=64m /dev/shm");
        }
        assert_eq!(refused(&mounted, |method| full.contains(&method), 1 << 20, &[]), Vec::<&str>::new());
        assert_eq!(mounted.entries("/dev/shm"), Vec::<String>::new());
        bystander.finishes();
        mounted.daemon.is_at_rest();
    });
}

#[test]
fn a_size_that_does_not_fit_is_left_out_whatever_its_place_in_the_list() {
    run(|sandbox| {
        if !may_unshare(&MOUNTS) {
            return;
        }
        let place = sandbox.folder().display().to_string();
        let mounted = Mounted::start(sandbox, &place, "mount -t tmpfs -o size=64k ipcd-test /dev/shm");
        for daemon in [&[][..], &["--private"]] {
            let measured = ["8,1M", "1M,8"].map(|sizes| {
                let output =
                    mounted.group("memory", &[&["--size", sizes, "--format", "csv"], daemon].concat());
                output.says(&["skipping shmem with 1 MiB: "]).expect(Exit::Success).stdout
            });
            let cell = |line: &str| line.split(',').next().map(str::to_owned);
            let [first, second] = measured.map(|csv| csv.lines().filter_map(cell).collect::<BTreeSet<_>>());
            assert_eq!(first, second);
            let measures = |cell: &str| first.iter().any(|it| it.starts_with(cell));
            assert!(measures("shmem:8B:") && measures("memfd:1048576B:"), "{first:?}");
            assert!(!measures("shmem:1048576B:"), "{first:?}");
        }
    });
}

#[test]
fn a_read_only_dev_shm_is_reported_before_a_channel_is_opened() {
    run(|sandbox| {
        if !may_unshare(&MOUNTS) {
            return;
        }
        let place = sandbox.folder().display().to_string();
        let mounted = Mounted::start(sandbox, &place, "mount -t tmpfs -o ro ipcd-test /dev/shm");
        let mut bystander = Bystander::of(&mounted.daemon);
        let expected =
            ["making a shared memory segment in /dev/shm failed: /dev/shm can only be read", "remount,rw"];
        let refused = refused(&mounted, |_| true, 8, &expected);
        assert!(refused.iter().all(|method| ["shmem", "iceoryx2"].contains(method)), "{refused:?}");
        skips(&mounted.group("memory", &[]), "shmem", &expected, "memfd");
        bystander.goes_on();
        mounted.shell("mount -o remount,rw /dev/shm");
        assert_eq!(self::refused(&mounted, |method| refused.contains(&method), 8, &[]), Vec::<&str>::new());
        assert_eq!(mounted.entries("/dev/shm"), Vec::<String>::new());
        bystander.finishes();
        mounted.daemon.is_at_rest();
    });
}

/// Mounts a private file system on the folder of named resources.
fn with_place(options: &str, test: impl FnOnce(&Mounted<'_>, &str) + Send + 'static) {
    let options = options.to_owned();
    run(move |sandbox| {
        if !may_unshare(&MOUNTS) {
            return;
        }
        let place = sandbox.folder().join("place").display().to_string();
        fs::create_dir(&place).unwrap();
        let mounted =
            Mounted::start(sandbox, &place, &format!("mount -t tmpfs -o {options} ipcd-test {place}"));
        let mut bystander = Bystander::of(&mounted.daemon);
        test(&mounted, &place);
        bystander.goes_on();
        assert_eq!(mounted.entries(&place), Vec::<String>::new());
        bystander.finishes();
        mounted.daemon.is_at_rest();
    });
}

/// What has a name in a folder until both ends are open.
const NAMED: [&str; 6] = ["unix", "unix-seqpacket", "unix-dgram", "mmap", "fifo", "local-socket"];

#[test]
fn a_read_only_folder_is_reported() {
    with_place("ro", |mounted, place| {
        let expected =
            format!("making a file for the channel failed: {place} can only be read; name another");
        let refused = refused(mounted, |_| true, 8, &[&expected, "$TMPDIR"]);
        for method in NAMED {
            assert!(refused.contains(&method), "{method} is not among {refused:?}");
        }
        assert!(!refused.contains(&"tcp") && !refused.contains(&"memfd"), "{refused:?}");
        skips(&mounted.group("sockets", &[]), "unix", &[&expected, "$TMPDIR"], "tcp");
        skips(&mounted.group("pipes", &[]), "fifo", &[&expected, "$TMPDIR"], "pipe");
        // What has another name needs no folder.
        mounted.group("sockets", &["--namespace", "abstract"]).expect(Exit::Success);
        mounted.group("local-socket", &["--namespace", "abstract"]).expect(Exit::Success);
        eprintln!("a folder that can only be read: {refused:?} refused");
        mounted.shell(&format!("mount -o remount,rw {place}"));
        assert_eq!(self::refused(mounted, |method| refused.contains(&method), 8, &[]), Vec::<&str>::new());
    });
}

#[test]
fn a_full_folder_is_reported_at_every_step() {
    // Its root is one; then there is room for nothing, and for one file, while a fifo's channel needs two at once.
    with_place("nr_inodes=1", |mounted, place| {
        let mut steps = 0;
        for inodes in [1, 2] {
            mounted.shell(&format!("mount -o remount,nr_inodes={inodes} {place}"));
            let among = |method: &str| inodes == 1 || NAMED.contains(&method);
            let refused = refused(mounted, among, 8, &["no room is left in ", place, "$TMPDIR"]);
            match inodes {
                1 => assert!(NAMED.iter().all(|method| refused.contains(method)), "{refused:?}"),
                _ => assert_eq!(refused, ["fifo"]),
            }
            assert_eq!(mounted.entries(place), Vec::<String>::new());
            steps += refused.len();
        }
        eprintln!("a full folder: {steps} refusals");
        // Room for names, and too little for what is mapped.
        mounted.shell(&format!("mount -o remount,nr_inodes=100,size=256k {place}"));
        let named = |method: &str| NAMED.contains(&method);
        let refused = refused(
            mounted,
            named,
            1 << 20,
            &["reserving blocks for the file failed: ", "of 262144 are left"],
        );
        assert_eq!(refused, ["mmap"]);
        mounted.shell(&format!("mount -o remount,size=64m {place}"));
        assert_eq!(self::refused(mounted, |method| method == "mmap", 1 << 20, &[]), Vec::<&str>::new());
    });
}

#[test]
fn a_daemon_without_room_for_its_socket_says_so_and_leaves_nothing() {
    run(|sandbox| {
        if !may_unshare(&MOUNTS) {
            return;
        }
        let place = sandbox.folder().join("place").display().to_string();
        fs::create_dir(&place).unwrap();
        let socket = format!("{place}/s");
        for (options, expected) in [
            ("ro", "Read-only file system"),
            ("nr_inodes=1", "No space left on device"),
            ("nr_inodes=2", "No space left on device"),
        ] {
            let script = format!(
                "mount -t tmpfs -o {options} ipcd-test {place} && (\"$@\"; echo $? > {place}/../code) && ls -A {place}"
            );
            let starter = [&["unshare"][..], &MOUNTS, &["sh", "-c", &script, "sh"]].concat();
            let start = sandbox.ipcd(&["start", "--socket", &socket]);
            let output =
                sandbox.finish(&mut under(&starter, &start)).expect(Exit::Success).says(&[&place, expected]);
            assert_eq!(output.stdout, "", "{options}: it has left something");
            let code = fs::read_to_string(sandbox.folder().join("code")).unwrap();
            assert_eq!(code.trim(), Exit::Failure.code().to_string(), "{options}");
        }
        fs::remove_file(sandbox.folder().join("code")).unwrap();
    });
}
