//! The daemon as a service: start, status, stop, its socket, its queue, and what it holds after many clients.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

use ipcd::internals::client::LeaseWait;
use ipcd::internals::protocol::{ChannelSpec, Exit, PROTOCOL_VERSION, Status};
use rustix::process::Signal;

use crate::conformance::here;
use crate::harness::{
    Daemon, NOBODY, PATIENCE, Peer, Process, SOON, Sandbox, another_user_can_run, eventually, is_root,
    not_tested, rounds, run, wait_until_measuring,
};

#[test]
fn a_daemon_starts_reports_its_status_and_stops() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        assert_eq!(daemon.socket, sandbox.socket(), "$IPCD_SOCKET");
        assert_eq!(fs::metadata(&daemon.socket).unwrap().mode() & 0o777, 0o600);

        let shown = sandbox.finish(&mut sandbox.ipcd(&["status"])).expect(Exit::Success);
        let pid = format!("process {}", daemon.pid);
        let version = format!("protocol version {PROTOCOL_VERSION}");
        for part in [&pid, &version, env!("CARGO_PKG_VERSION"), "uptime", "queue", "channels", "0 open"] {
            assert!(shown.stdout.contains(part), "no \"{part}\" in\n{}", shown.stdout);
        }
        let same = sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::Success);
        assert_eq!(same.stdout.lines().count(), shown.stdout.lines().count());
        let json = sandbox.finish(&mut sandbox.client(&["status", "--json"])).expect(Exit::Success);
        let status: Status = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((status.pid, status.protocol_version), (daemon.pid, PROTOCOL_VERSION));

        let stop = sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::Success);
        assert_eq!(stop.stdout, "", "a request is not a result");
        daemon.ends().expect(Exit::Success).says(&["ipcd: stopped"]);
        assert_eq!(sandbox.files(), Vec::<&Path>::new());
        let nobody = sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::NoDaemon);
        assert!(!nobody.stderr.contains("ipcd start"), "who stops one starts none: {}", nobody.stderr);
    });
}

#[test]
fn signals_end_it_in_time_with_open_channels_and_queued_clients() {
    run(|sandbox| {
        for signal in [Signal::INT, Signal::TERM] {
            let daemon = sandbox.daemon();
            let mut client = daemon.lease();
            let mut channels: Vec<_> = here()
                .map(|mechanism| client.open(&ChannelSpec::new(mechanism.info().name)).unwrap())
                .collect();
            for channel in &mut channels {
                rounds(channel, 5).unwrap();
            }
            let responders: Vec<_> =
                channels.iter().map(|channel| Peer::find(channel.responder_pid()).unwrap()).collect();
            let waiting = sandbox.start(&mut sandbox.client(&["bench", "-n", "10"]));
            daemon.wait_for_status("a client is queued", |status| status.queue == [waiting.pid()]);

            daemon.stop_by(signal).says(&["ipcd: stopped"]);
            assert!(responders.iter().all(|responder| responder.ends_within(SOON)));
            waiting.wait(SOON).expect(Exit::Broken).says(&["the daemon is stopping"]);
        }
    });
}

#[test]
fn stop_waits_until_the_daemon_has_cleaned_up() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let channel = client.open(&ChannelSpec::new("shmem")).unwrap();
        sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::Success);
        assert_eq!(sandbox.files(), Vec::<&Path>::new(), "when stop has returned");
        drop(channel);
        daemon.ends().expect(Exit::Success);
    });
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let second = sandbox.finish(&mut sandbox.ipcd(&["start"])).expect(Exit::AlreadyRunning);
        second.says(&[&format!("process {}", daemon.pid), &daemon.socket.display().to_string()]);
        daemon.serves("tcp");
    });
}

#[test]
fn a_daemon_that_does_not_answer_is_not_taken_for_dead() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        daemon.process().signal(Signal::STOP);
        sandbox.finish(&mut sandbox.ipcd(&["start"])).expect(Exit::AlreadyRunning);
        let status = sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::NotIpcd);
        status.says(&["sent nothing for", "a daemon that is stopped"]);
        daemon.process().signal(Signal::CONT);
        daemon.serves("tcp");
    });
}

#[test]
fn a_killed_daemons_socket_is_taken_over() {
    run(|sandbox| {
        sandbox.daemon().kill();
        assert!(sandbox.socket().exists());
        let found = sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::NoDaemon);
        found.says(&[&sandbox.socket().display().to_string(), "no process is listening", "ipcd start"]);
        sandbox.daemon().serves("pipe");
    });
}

#[test]
fn a_deleted_socket_is_made_again() {
    run(|sandbox| {
        let metrics = sandbox.folder().join("metrics");
        let daemon = sandbox.daemon_with(&["--mode", "0640", "--metrics", metrics.to_str().unwrap()]);
        let lock = daemon.socket.with_extension("sock.lock");
        let _measuring = daemon.lease();
        for deleted in [vec![&daemon.socket], vec![&lock], vec![&lock, &daemon.socket], vec![&metrics]] {
            deleted.iter().for_each(|file| fs::remove_file(file).unwrap());
            let is_back = || deleted.iter().all(|file| file.exists()).then_some(());
            eventually("the files are back", PATIENCE, is_back);
            assert_eq!(daemon.status().pid, daemon.pid);
            assert_eq!(fs::metadata(&daemon.socket).unwrap().mode() & 0o777, 0o640);
            sandbox.finish(&mut sandbox.ipcd(&["start"])).expect(Exit::AlreadyRunning);
            assert_eq!(daemon.status().lease_holders, [std::process::id()], "its clients stay");
        }
    });
}

#[test]
fn stop_finds_a_daemon_without_its_socket_by_the_lock() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        // So that it cannot make its socket again.
        daemon.process().signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", daemon.pid);
        let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ").then_some(());
        eventually("it is stopped", PATIENCE, is_stopped);
        fs::remove_file(&daemon.socket).unwrap();
        let status = sandbox.finish(&mut sandbox.ipcd(&["status"])).expect(Exit::NoDaemon);
        status.says(&[&format!("process {} holds the lock", daemon.pid), "ipcd stop"]);

        let stop = sandbox.start(&mut sandbox.ipcd(&["stop"]));
        let proc = format!("/proc/{}/status", daemon.pid);
        eventually("it has the signal", PATIENCE, || {
            let status = fs::read_to_string(&proc).unwrap();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
            (u64::from_str_radix(pending.trim(), 16).unwrap() & 1 << 14 != 0).then_some(())
        });
        daemon.process().signal(Signal::CONT);
        stop.wait(SOON).expect(Exit::Success).says(&[&format!("process {} of ", daemon.pid)]);
        daemon.ends().expect(Exit::Success).says(&["ipcd: stopped"]);
        // The process that a lock file names must have that file open.
        fs::write(sandbox.socket().with_extension("sock.lock"), "1\n").unwrap();
        sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::NoDaemon);
        fs::remove_file(sandbox.socket().with_extension("sock.lock")).unwrap();
    });
}

#[test]
fn a_daemon_whose_name_another_has_taken_ends_and_leaves_it_its_files() {
    run(|sandbox| {
        let first = sandbox.daemon();
        first.process().signal(Signal::STOP);
        // With one of them left, the second would not start.
        for file in [first.socket.clone(), first.socket.with_extension("sock.lock")] {
            fs::remove_file(file).unwrap();
        }
        let second = sandbox.daemon();
        first.process().signal(Signal::CONT);
        let taken = format!("held by a running daemon, process {}; exiting", second.pid);
        first.ends().expect(Exit::Success).says(&[&taken]);
        second.serves("pipe");
    });
}

#[test]
fn the_socket_that_is_named_goes_before_the_environments() {
    run(|sandbox| {
        let named = sandbox.folder().join("named");
        let named_text = named.to_str().unwrap();
        let daemon = sandbox.daemon_with(&["--socket", named_text]);
        assert_eq!(daemon.socket, named);
        sandbox.finish(&mut sandbox.client(&["status", "--socket", named_text])).expect(Exit::Success);
        sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::NoDaemon);
    });
}

#[test]
fn without_a_named_socket_the_runtime_folder_is_the_place() {
    run(|sandbox| {
        let runtime = sandbox.folder().join("runtime");
        fs::create_dir(&runtime).unwrap();
        let mut start = sandbox.ipcd(&["start"]);
        start.env_remove("IPCD_SOCKET").env("XDG_RUNTIME_DIR", &runtime);
        let daemon = Daemon::start(sandbox, start);
        assert_eq!(daemon.socket, runtime.join("ipcd/ipcd.sock"));
        assert_eq!(fs::metadata(runtime.join("ipcd")).unwrap().mode() & 0o777, 0o700);
        let mut status = sandbox.client(&["status"]);
        status.env_remove("IPCD_SOCKET").env("XDG_RUNTIME_DIR", &runtime);
        sandbox.finish(&mut status).expect(Exit::Success);
    });
}

#[test]
fn systemds_runtime_directory_goes_first() {
    run(|sandbox| {
        let mut start = sandbox.ipcd(&["start"]);
        start.env_remove("IPCD_SOCKET").env("XDG_RUNTIME_DIR", "/nowhere");
        start.env("RUNTIME_DIRECTORY", sandbox.folder());
        let daemon = Daemon::start(sandbox, start);
        assert_eq!(daemon.socket, sandbox.socket());
    });
}

#[test]
fn a_user_without_runtime_folders_has_one_in_the_temporary_folder() {
    run(|sandbox| {
        if is_root() && !another_user_can_run(sandbox) {
            return;
        }
        let temporary = sandbox.folder().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let uid = if is_root() {
            // Root would take /run/ipcd, which is not a test's to touch.
            fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(&temporary, Some(NOBODY), Some(NOBODY)).unwrap();
            NOBODY
        } else {
            rustix::process::geteuid().as_raw()
        };
        let as_user = |mut command: std::process::Command| {
            command.env_remove("IPCD_SOCKET").env("TMPDIR", &temporary);
            if is_root() {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let daemon = Daemon::start(sandbox, as_user(sandbox.ipcd(&["start"])));
        let folder = temporary.join(format!("ipcd-{uid}"));
        if daemon.socket.starts_with("/run") {
            return not_tested("run-folder", "this user may write to /run/ipcd");
        }
        assert_eq!(daemon.socket, folder.join("ipcd.sock"));
        let meta = fs::metadata(&folder).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid()), (0o700, uid));
        sandbox.finish(&mut as_user(sandbox.client(&["status"]))).expect(Exit::Success);
        drop(daemon);

        // Another user's folder of that name is not trusted, and does not keep this one from measuring.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = sandbox.finish(&mut as_user(sandbox.ipcd(&["start"]))).expect(Exit::Permission);
        refused.says(&["is not private", &folder.display().to_string()]);
        let none = sandbox.finish(&mut as_user(sandbox.client(&["status"]))).expect(Exit::NoDaemon);
        none.says(&["is not private", &folder.display().to_string()]);
        for arguments in [&["methods"][..], &["bench", "-m", "pipe", "-n", "10", "--trials", "1"]] {
            sandbox.finish(&mut as_user(sandbox.client(arguments))).expect(Exit::Success);
        }
    });
}

#[test]
fn both_programs_pass_over_a_place_that_cannot_be_used() {
    run(|sandbox| {
        if Path::new("/run/ipcd/ipcd.sock").exists() {
            return not_tested("no-daemon", "this host has a daemon");
        }
        let long = sandbox.folder().join("x".repeat(100));
        let open = sandbox.folder().join("open");
        fs::create_dir_all(open.join("ipcd")).unwrap();
        fs::set_permissions(open.join("ipcd"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&long).unwrap();
        let bench: &[&str] = &["bench", "-m", "null", "-n", "10"];
        for (variable, folder, why) in [
            ("XDG_RUNTIME_DIR", &long, "107 at most"),
            ("TMPDIR", &long, "107 at most"),
            ("XDG_RUNTIME_DIR", &open, "is not private"),
        ] {
            let with = |mut command: std::process::Command| {
                command.env_remove("IPCD_SOCKET").env(variable, folder);
                sandbox.finish(&mut command)
            };
            with(sandbox.client(bench)).expect(Exit::Success).says(&["no daemon: a private daemon"]);
            for command in ["methods", "explain"] {
                with(sandbox.client(&[command])).expect(Exit::Success).says(&["no daemon answers"]);
            }
            for command in [sandbox.client(&["status"]), sandbox.ipcd(&["status"]), sandbox.ipcd(&["stop"])] {
                with(command).expect(Exit::NoDaemon).says(&[
                    why,
                    folder.to_str().unwrap(),
                    "/run/ipcd/ipcd.sock",
                ]);
            }
            // What has no other place to go to serves and is found in the next one.
            if variable == "TMPDIR" {
                continue;
            }
            let mut start = sandbox.ipcd(&["start"]);
            start.env("RUNTIME_DIRECTORY", folder.join("missing")).env(variable, folder);
            start.env_remove("IPCD_SOCKET").env("TMPDIR", sandbox.folder());
            if is_root() {
                // Root would take /run/ipcd, which is not a test's to touch.
                continue;
            }
            let daemon = Daemon::start(sandbox, start);
            with(sandbox.client(&["status"])).expect(Exit::Success);
            drop(daemon);
        }
        fs::remove_dir_all(open).unwrap();
        fs::remove_dir_all(long).unwrap();
    });
}

#[test]
fn a_missing_daemon_is_reported_with_every_path_that_was_tried() {
    run(|sandbox| {
        if Path::new("/run/ipcd/ipcd.sock").exists() {
            return not_tested("no-daemon", "this host has a daemon");
        }
        let mut status = sandbox.client(&["status"]);
        status.env_remove("IPCD_SOCKET").env("XDG_RUNTIME_DIR", "/x").env("RUNTIME_DIRECTORY", "/r");
        let output = sandbox.finish(&mut status).expect(Exit::NoDaemon);
        assert_eq!(output.stdout, "");
        let own = sandbox.folder().join(format!("ipcd-{}/ipcd.sock", rustix::process::geteuid().as_raw()));
        output.says(&[
            "/r/ipcd.sock (nothing there)",
            "/x/ipcd/ipcd.sock (nothing there)",
            "/run/ipcd/ipcd.sock (nothing there)",
            &format!("{} (nothing there)", own.display()),
            "ipcd start",
        ]);
    });
}

#[test]
fn without_a_daemon_bench_starts_one_and_methods_describes_this_host() {
    run(|sandbox| {
        if Path::new("/run/ipcd/ipcd.sock").exists() {
            return not_tested("no-daemon", "this host has a daemon");
        }
        let mut bench = sandbox.client(&["bench", "--method", "tcp", "-n", "1000"]);
        let output = sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        assert!(output.stdout.starts_with("IPC method - tcp\n\t1000 cycles completed in "), "{output:?}");
        output.says(&["ipc-client: no daemon: a private daemon, process "]);

        let mut methods = sandbox.client(&["methods"]);
        let output = sandbox.finish(methods.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        for mechanism in ipcd::internals::transports::ALL {
            let names = std::iter::once(&mechanism.info().name).chain(mechanism.info().aliases);
            assert!(names.into_iter().all(|name| output.stdout.contains(name)), "{}", output.stdout);
        }
        // A daemon that was named and is not there is an error, not a reason to start another.
        sandbox.finish(&mut sandbox.client(&["bench", "-n", "10"])).expect(Exit::NoDaemon);
    });
}

fn bench(sandbox: &Sandbox, more: &[&str]) -> Process {
    sandbox.start(&mut sandbox.client(&[&["bench", "--method", "tcp", "-n"], more].concat()))
}

#[test]
fn clients_wait_in_a_queue_and_learn_their_position() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let first = bench(sandbox, &["1000000000"]);
        daemon.wait_for_status("the first measures", |status| status.lease_holders == [first.pid()]);
        let second = bench(sandbox, &["100"]);
        second.wait_for_line("ipc-client: another measurement is running; position 1 in the queue");
        let third = bench(sandbox, &["1000000000"]);
        third.wait_for_line("ipc-client: another measurement is running; position 2 in the queue");
        let fourth = bench(sandbox, &["100"]);
        fourth.wait_for_line("ipc-client: another measurement is running; position 3 in the queue");
        assert_eq!(daemon.status().queue, [second.pid(), third.pid(), fourth.pid()]);

        let busy = bench(sandbox, &["100", "--no-wait"]).wait(PATIENCE).expect(Exit::Busy);
        assert_eq!(busy.stdout, "");
        busy.says(&[&format!("process {}", first.pid()), "--no-wait"]);

        // The holder is killed, then one in line ends: each time the next one's turn comes.
        first.signal(Signal::KILL);
        second.wait(PATIENCE).expect(Exit::Success);
        daemon.wait_for_status("the third measures", |status| status.lease_holders == [third.pid()]);
        fourth.wait_for_line("ipc-client: another measurement is running; position 1 in the queue");
        third.signal(Signal::INT);
        fourth.wait(PATIENCE).expect(Exit::Success);
        daemon.is_at_rest();
    });
}

#[test]
fn a_stopped_client_loses_the_lease_to_the_next() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--revoke-after", "1s"]);
        // Each ends differently for a client that is continued: by the end of a stream, by a tick in a call, by one while spinning.
        for (method, wait) in [("tcp", "block"), ("udp", "block"), ("shmem", "spin")] {
            let holder = ["bench", "-m", method, "--wait", wait, "--interval", "50ms", "--duration", "1h"];
            let holder = sandbox.start(&mut sandbox.client(&holder));
            wait_until_measuring(&holder);
            holder.signal(Signal::STOP);
            let second = bench(sandbox, &["100"]);
            let third = bench(sandbox, &["100"]);
            second.wait(PATIENCE).expect(Exit::Success);
            third.wait(PATIENCE).expect(Exit::Success);
            daemon.is_at_rest();
            holder.signal(Signal::CONT);
            let revoked = holder.wait(PATIENCE).expect(Exit::Broken);
            revoked.says(&["the daemon revoked the lease: this process made no progress for 1s"]);
        }
        drop(daemon);
    });
}

#[test]
fn a_slow_client_keeps_the_lease_and_others_need_not_wait_for_ever() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--revoke-after", "2s"]);
        for more in [&["--parallel", "1"], &["--parallel", "3"]] {
            let holder =
                [&["bench", "-m", "tcp", "-n", "100", "--warmup", "1", "--gap", "5s"], &more[..]].concat();
            let holder = sandbox.start(&mut sandbox.client(&holder));
            daemon.wait_for_status("it measures", |status| status.channels.len().to_string() == more[1]);
            let waited = bench(sandbox, &["100", "--wait-at-most", "4s"]).wait(PATIENCE).expect(Exit::Busy);
            waited.says(&["position 1 in the queue", "another measurement is still running after 4s"]);
            assert_eq!(daemon.status().lease_holders, [holder.pid()]);
            assert!(daemon.status().queue.is_empty());
            holder.signal(Signal::KILL);
            holder.wait(SOON).expect_signal(Signal::KILL);
        }
        // By the library, whose connection goes on.
        let holder = daemon.lease();
        let mut client = daemon.connect();
        let limit = std::time::Duration::from_millis(50);
        let error = client.acquire(LeaseWait::AtMost(limit), |_| ()).unwrap_err();
        assert_eq!(error.exit(), Exit::Busy, "{error}");
        drop(holder);
        client.acquire(LeaseWait::AtMost(PATIENCE), |_| ()).unwrap();
    });
}

#[test]
fn a_queued_client_that_is_killed_leaves_the_queue() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut holder = daemon.lease();
        let killed = bench(sandbox, &["100"]);
        killed.wait_for_line("ipc-client: another measurement is running; position 1 in the queue");
        let next = bench(sandbox, &["100"]);
        next.wait_for_line("ipc-client: another measurement is running; position 2 in the queue");
        killed.signal(Signal::KILL);
        next.wait_for_line("ipc-client: another measurement is running; position 1 in the queue");
        holder.release().unwrap();
        next.wait(PATIENCE).expect(Exit::Success);
        drop(holder);
        daemon.is_at_rest();
    });
}

/// What a daemon holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    resident_kib: u64,
}

impl Held {
    fn by(daemon: &Daemon) -> Self {
        // Its own connection stays for as long as is counted: no other is there, not even one on its way out.
        let _only = daemon.at_rest();
        let proc = Path::new("/proc").join(daemon.pid.to_string());
        let count = |folder: &str| fs::read_dir(proc.join(folder)).unwrap().count();
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

#[test]
fn two_hundred_clients_leave_the_daemon_as_ten_do() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let methods: Vec<_> = here().map(|mechanism| mechanism.info().name).collect();
        let serve = |count: usize| {
            for index in 0..count {
                daemon.serves(methods[index % methods.len()]);
            }
        };
        serve(10);
        let after_ten = Held::by(&daemon);
        serve(190);
        let after_all = Held::by(&daemon);
        assert_eq!(
            (after_all.descriptors, after_all.threads),
            (after_ten.descriptors, after_ten.threads),
            "{after_ten:?} {after_all:?}"
        );
        assert!(after_all.resident_kib * 10 <= after_ten.resident_kib * 11, "{after_ten:?} {after_all:?}");
    });
}

#[test]
fn an_idle_daemon_does_not_run() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let _idle = daemon.lease();
        daemon.status();
        let used = || ipcd::internals::transports::usage(Some(daemon.pid)).unwrap();
        let before = eventually("it has come to rest", PATIENCE, || {
            let once = used();
            std::thread::sleep(std::time::Duration::from_millis(50));
            (used().since(&once).voluntary_switches == 0).then_some(once)
        });
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let since = used().since(&before);
        assert_eq!((since.voluntary_switches, since.cpu_ns), (0, 0), "an idle daemon is not woken");
    });
}

#[test]
fn a_responder_writes_no_log_and_leaves_no_core() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let channel = client.open(&ChannelSpec::new("semaphore")).unwrap();
        let proc = format!("/proc/{}", channel.responder_pid());
        // What its libraries say when a peer has spoilt their memory would pass the daemon's own measure of lines.
        assert_eq!(fs::read_link(format!("{proc}/fd/2")).unwrap(), Path::new("/dev/null"));
        let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
        let core: Vec<_> = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .unwrap()
            .split_whitespace()
            .collect();
        // The kernel pipes a core to the program of core_pattern despite a limit of 0, and not with this one.
        assert_eq!(core[..2], ["1", "1"]);
        client.close(channel).unwrap();
    });
}
