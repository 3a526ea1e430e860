//! Reading the configuration again while the daemon runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use ipcd::internals::client::{ClientError, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, OverLimit, Refusal, Resource};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use crate::config::{File, with};
use crate::harness::{Daemon, PATIENCE, eventually, run};

#[test]
fn a_hangup_reads_the_configuration_again() {
    run(|sandbox| {
        let file = File::new(sandbox, "ipcd.toml", "[daemon]\nmax-channels = 1\n");
        let notify = sandbox.folder().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let hear = || {
            let mut buffer = [0; 4096];
            let n = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..n].to_vec()).unwrap()
        };
        let mut start = with(sandbox.ipcd(&["start", "--max-connections", "50"]), &[&file]);
        let daemon = Daemon::start(sandbox, {
            start.env("NOTIFY_SOCKET", &notify);
            start
        });
        assert_eq!([hear(), hear()], ["READY=1\n", "STATUS=idle\n"]);
        let hangup = || {
            daemon.process().signal(Signal::HUP);
            let reloading = hear();
            let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it says when");
            assert!(usec.trim().parse::<u64>().unwrap() > 0);
            assert_eq!(hear(), "READY=1\n");
        };

        // Two in line are called up at once where there is room for three.
        let mut first = daemon.lease();
        let waiting =
            [(); 2].map(|()| sandbox.start(&mut sandbox.client(&["bench", "-m", "tcp", "-n", "1000000000"])));
        daemon.wait_for_status("two wait", |status| status.queue.len() == 2);
        let channel = first.open(&ChannelSpec::new("tcp")).unwrap();
        match first.open(&ChannelSpec::new("tcp")) {
            Err(ClientError::Refused(Refusal::OverLimit(OverLimit { limit: 1, .. }))) => {}
            other => panic!("{other:?}"),
        }
        while hear()
            != format!(
                "STATUS=measuring for user {}, process {}; 2 waiting\n",
                rustix::process::geteuid().as_raw(),
                std::process::id()
            )
        {}
        file.write("[daemon]\nmax-channels = 5\nmax-channels-per-user = 5\nmeasurements = 3\nmax-connections = 7\nmode = \"0640\"\nlog = \"debug\"\nsocket = \"/elsewhere\"\n");
        hangup();
        let status = daemon.wait_for_status("all three measure", |status| status.lease_holders.len() == 3);
        let limits =
            [Resource::Channels, Resource::Connections].map(|resource| status.limit(resource).unwrap().limit);
        assert_eq!(limits, [5, 50], "a flag overrides a file");
        assert_eq!(fs::metadata(&daemon.socket).unwrap().mode() & 0o777, 0o640);
        let second = first.open(&ChannelSpec::new("tcp")).unwrap();
        first.close(second).unwrap();
        first.close(channel).unwrap();
        drop(waiting);
        drop(first);
        drop(daemon.at_rest());
        while hear() != "STATUS=idle\n" {}

        // An invalid file changes nothing, and the reason is shown.
        file.write("[daemon]\nmax-channels = 0\nlog = \"off\"\nmode = \"0600\"\n");
        hangup();
        let printed = hear();
        let why = format!("{}:2: max-channels = 0: a number from 1 to 100000 is needed", file.path());
        assert_eq!(printed, format!("STATUS=idle; the configuration could not be changed: {why}\n"));
        assert_eq!(daemon.status().limit(Resource::Channels).unwrap().limit, 5);
        assert_eq!(fs::metadata(&daemon.socket).unwrap().mode() & 0o777, 0o640);
        daemon.serves("tcp");
        while hear() != printed {}
        file.write("");
        hangup();
        assert_eq!(hear(), "STATUS=idle\n");
        assert_eq!(daemon.status().limit(Resource::Channels).unwrap().limit, 128);

        let output = daemon.stop_by(Signal::TERM);
        fs::remove_file(&notify).unwrap();
        let log = output.stderr;
        assert!(log.contains(&why), "{log}");
        assert!(log.contains("DEBUG"), "the level has changed: {log}");
        // $IPCD_SOCKET named the socket, which overrides the file.
        assert!(!log.contains("takes effect after a restart"), "{log}");
    });
}

#[test]
fn a_socket_that_is_moved_stays_until_the_next_start_and_the_log_says_so() {
    run(|sandbox| {
        let socket = sandbox.socket();
        let file = File::new(sandbox, "ipcd.toml", &format!("[daemon]\nsocket = \"{}\"\n", socket.display()));
        let mut start = with(sandbox.ipcd(&["start"]), &[&file]);
        let daemon = Daemon::start(sandbox, {
            start.env_remove("IPCD_SOCKET");
            start
        });
        file.write("[daemon]\nsocket = \"/elsewhere/ipcd.sock\"\n");
        daemon.process().signal(Signal::HUP);
        eventually("it says so", PATIENCE, || {
            daemon
                .process()
                .has_said("the new address of the control socket takes effect after a restart")
                .then_some(())
        });
        daemon.connect().acquire(LeaseWait::No, |_| ()).unwrap();
    });
}

#[test]
fn a_file_that_never_ends_is_an_error_and_delays_nothing() {
    run(|sandbox| {
        let file = sandbox.folder().join("ipcd.toml");
        fs::write(&file, "[daemon]\nmax-channels = 5\nmax-channels-per-user = 5\n").unwrap();
        let mut start = sandbox.ipcd(&["start"]);
        let daemon = Daemon::start(sandbox, {
            start.env("IPCD_CONFIG", &file);
            start
        });
        let says = |why: &str, times: usize| {
            daemon.process().signal(Signal::HUP);
            let said = || (daemon.process().times_said(why) == times).then_some(());
            eventually("it says so", PATIENCE, said);
            assert_eq!(daemon.status().limit(Resource::Channels).unwrap().limit, 5);
            fs::remove_file(&file).unwrap();
        };
        fs::remove_file(&file).unwrap();
        mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();
        says("it is a pipe, which only a start reads", 1);
        symlink("/dev/zero", &file).unwrap();
        says("it is longer than 1 MiB", 1);
        fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        says("it is longer than 1 MiB", 2);
        // A start does not fill the memory either.
        symlink("/dev/zero", &file).unwrap();
        let output = sandbox.finish(sandbox.ipcd(&["start", "--config"]).arg(&file)).expect(Exit::Usage);
        output.says(&["it is longer than 1 MiB"]);
        fs::remove_file(&file).unwrap();
    });
}
