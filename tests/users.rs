//! Daemon and client of different users, in every mechanism: it works, or is refused with the reason and what to do.
//!
//! Needs root, which becomes three users with unused IDs: no account is created.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use ipcd::internals::client::{Channel, Client};
use ipcd::internals::protocol::{ChannelSpec, Exit};
use ipcd::internals::transports::{Delivery, Group, Mechanism, Reach};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::conformance::here;
use crate::exhaustion::skips;
use crate::harness::{Daemon, PATIENCE, Sandbox, another_user_can_run, eventually, not_tested, rounds, run};

/// Ids that neither distributions nor systemd give to anybody.
const UNUSED: RangeInclusive<u32> = 60_600..=61_183;

/// Who a program runs as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// A further group.
    pub(crate) group: Option<u32>,
}

const ROOT: User = User { uid: 0, gid: 0, group: None };

impl User {
    /// The same program with the same environment, run by this user.
    pub(crate) fn runs(self, command: &Command) -> Command {
        let mut run = Command::new("setpriv");
        run.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid));
        match self.group {
            Some(group) => run.arg(format!("--groups={group}")),
            None => run.arg("--clear-groups"),
        };
        run.arg("--").arg(command.get_program()).args(command.get_args());
        run.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run.current_dir(command.get_current_dir().unwrap());
        run
    }

    /// Does something in a thread that is this user, and no other thread is.
    pub(crate) fn does<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
                set_thread_groups(&self.group.map(Gid::from_raw).into_iter().collect::<Vec<_>>()).unwrap();
                set_thread_res_gid(gid, gid, gid).unwrap();
                set_thread_res_uid(uid, uid, uid).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// One who runs a daemon, one who is in its group as well, and one who is not.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) owner: User,
    pub(crate) member: User,
    pub(crate) stranger: User,
}

impl Users {
    fn pick() -> Self {
        Self::pick_after(0)
    }

    /// Others than those of tests that skip a number of them less by three: what is counted for a user is then one test's.
    pub(crate) fn pick_after(skipped: usize) -> Self {
        let taken = |file: &str, id: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| line.split(':').nth(2) == Some(&id.to_string()))
        };
        let free = UNUSED.filter(|id| !taken("/etc/passwd", *id) && !taken("/etc/group", *id));
        let mut free = free.skip(skipped);
        let mut next = |group| {
            let id = free.next().expect("some IDs are unused");
            User { uid: id, gid: id, group }
        };
        let owner = next(None);
        Self { owner, member: next(Some(owner.gid)), stranger: next(None) }
    }
}

/// The result that a client must get.
enum Outcome {
    Works,
    Refused(Exit, Vec<String>),
}

/// The start of the reason why a mechanism is unavailable between two users.
const ONE_USER: &str = "it works between processes of one user, and the daemon is of user ";

/// What the contract of a mechanism promises to a client that may use the control socket.
fn promised(mechanism: &dyn Mechanism, daemon: User, client: User) -> Outcome {
    let method = mechanism.info().name;
    let same_user = daemon.uid == client.uid;
    let in_group = daemon.uid == 0 || client.uid == 0 || client.group == Some(daemon.gid);
    match mechanism.info().reach {
        Reach::SameUser if !same_user => Outcome::Refused(
            Exit::Unavailable,
            vec![
                format!("{method} is unavailable"),
                format!("{ONE_USER}{}", daemon.uid),
                format!("the client of user {}", client.uid),
                "--private measures it".to_owned(),
            ],
        ),
        Reach::Group if !same_user && !in_group => Outcome::Refused(
            Exit::Permission,
            vec![
                format!("cannot connect to the {method} channel"),
                "Permission denied".to_owned(),
                "join the daemon's group, or use a private daemon (--private)".to_owned(),
            ],
        ),
        _ => Outcome::Works,
    }
}

/// A daemon of this user's, whose control socket has this mode.
fn serve(sandbox: &Sandbox, owner: User, mode: u32) -> Daemon {
    chown(sandbox.folder(), Some(owner.uid), Some(owner.gid)).unwrap();
    fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711)).unwrap();
    let daemon = Daemon::start(sandbox, owner.runs(&sandbox.ipcd(&["start"])));
    // As an administrator or a socket unit does.
    fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(mode)).unwrap();
    daemon
}

/// Runs a daemon as one user, whose control socket has this mode, and every mechanism as another.
fn measure(
    whose: impl Fn(&Users) -> (User, User) + Send + 'static,
    mode: u32,
    expected: impl Fn(&dyn Mechanism, User, User) -> Outcome + Send + 'static,
) {
    run(move |sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let users = Users::pick();
        let (owner, client) = whose(&users);
        let daemon = serve(sandbox, owner, mode);

        let states = daemon.connect().methods().unwrap();
        for mechanism in here() {
            let method = mechanism.info().name;
            let state = states.iter().find(|state| state.name == method).unwrap();
            // Asked by root: what is said of root itself is none of the host's.
            let lacking = state.unavailable.as_ref().filter(|reason| !reason.0.starts_with(ONE_USER));
            if let Some(reason) = lacking {
                not_tested(method, format!("user {} has it not: {reason}", owner.uid));
                continue;
            }
            let output = bench(sandbox, client, method);
            match expected(mechanism, owner, client) {
                Outcome::Works => {
                    let output = output.expect(Exit::Success);
                    assert!(output.stdout.contains("50 cycles completed"), "{output:#?}");
                }
                Outcome::Refused(exit, expected_parts) => {
                    let expected_parts: Vec<_> = expected_parts.iter().map(String::as_str).collect();
                    let output = output.expect(exit).says(&expected_parts);
                    assert!(!output.stdout.contains("round trip"), "{output:#?}");
                }
            }
        }
        daemon.is_at_rest();
    });
}

fn bench(sandbox: &Sandbox, user: User, method: &str) -> crate::harness::Output {
    let arguments = ["bench", "--method", method, "-n", "50", "--trials", "1"];
    sandbox.finish(&mut user.runs(&sandbox.client(&arguments)))
}

#[test]
fn an_ordinary_user_measures_everything_with_its_own_daemon() {
    measure(|users| (users.owner, users.owner), 0o600, promised);
}

#[test]
fn a_member_of_the_daemons_group_measures_what_crosses_users() {
    measure(|users| (users.owner, users.member), 0o660, promised);
}

#[test]
fn who_is_not_in_the_group_is_refused_at_the_control_socket() {
    measure(
        |users| (users.owner, users.stranger),
        0o660,
        |_, daemon, client| {
            let expected_parts = [
                format!("ipc-client: user {}", client.uid),
                " may not use the socket ".to_owned(),
                format!(", which is for members of the group {}", daemon.gid),
                "ask for membership in the group that owns the socket and log in again".to_owned(),
                "--private".to_owned(),
            ];
            Outcome::Refused(Exit::Permission, expected_parts.to_vec())
        },
    );
}

#[test]
fn who_is_not_in_the_group_and_may_connect_is_refused_what_has_a_name() {
    measure(|users| (users.owner, users.stranger), 0o666, promised);
}

#[test]
fn who_is_not_in_the_group_measures_the_rest_of_all_methods() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let Users { owner, stranger, .. } = Users::pick();
        let daemon = serve(sandbox, owner, 0o666);
        let listed = sandbox.finish(&mut stranger.runs(&sandbox.client(&["methods", "--json"])));
        let listed: Vec<serde_json::Value> =
            serde_json::from_str(&listed.expect(Exit::Success).stdout).unwrap();
        let output = bench(sandbox, stranger, "all");
        for mechanism in here().filter(|mechanism| mechanism.info().group != Group::Tool) {
            let method = mechanism.info().name;
            if let Outcome::Refused(_, expected_parts) = promised(mechanism, owner, stranger) {
                // It is skipped and not refused, for the same reason.
                let reason: Vec<_> = expected_parts[1..].iter().map(String::as_str).collect();
                skips(&output, method, &reason, "tcp");
                let state = listed.iter().find(|state| state["name"] == method).unwrap();
                let reason = state["unavailable_because"].as_str().unwrap();
                assert!(reason.contains("--private"), "{method}: {reason}");
            }
        }
        // What crosses users is measured: here, all that needs no name.
        for method in ["tcp", "shmem", "memfd", "pipe"] {
            assert!(!output.stderr.contains(&format!("skipping {method}: ")), "{output:#?}");
        }
        daemon.is_at_rest();
    });
}

#[test]
fn a_daemon_of_root_serves_an_ordinary_user() {
    measure(|users| (ROOT, users.stranger), 0o666, promised);
}

#[test]
fn root_measures_with_the_daemon_of_an_ordinary_user() {
    measure(|users| (users.owner, ROOT), 0o600, promised);
}

#[test]
fn a_responder_of_root_has_its_clients_rights_and_nothing_else() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let secret = sandbox.folder().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711)).unwrap();
        let mut shell = Command::new("sh");
        let start = sandbox.ipcd(&["start"]);
        shell
            .args(["-c", "exec 9<secret; exec \"$@\"", "sh"])
            .arg(start.get_program())
            .args(start.get_args());
        shell.env_clear().current_dir(sandbox.folder());
        shell.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let daemon = Daemon::start(sandbox, shell);
        fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
        let Users { member, .. } = Users::pick();
        for mechanism in here() {
            // Without messages, a client does not know how far its responder is.
            let is_silent = mechanism.info().delivery == Delivery::None;
            if is_silent || matches!(promised(mechanism, ROOT, member), Outcome::Refused(..)) {
                continue;
            }
            let method = mechanism.info().name;
            let inspect = || {
                let mut client = daemon.lease();
                let mut channel = client.open(&ChannelSpec::new(method)).unwrap();
                rounds(&mut channel, 3).unwrap();
                let proc = format!("/proc/{}", channel.responder_pid());
                let status = fs::read_to_string(format!("{proc}/status")).unwrap();
                client.close(channel).unwrap();
                status
            };
            let status = member.does(inspect);
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(field("Uid:"), vec![member.uid.to_string(); 4], "{method}");
            assert_eq!(field("Gid:"), vec![member.gid.to_string(); 4], "{method}");
            assert_eq!(field("Groups:"), Vec::<String>::new(), "{method}");
            assert_eq!(
                (field("CapEff:"), field("NoNewPrivs:")),
                (vec!["0".repeat(16)], vec!["1".to_owned()])
            );
        }
        // What its starter has left open is not the responder's.
        let mut client = daemon.lease();
        let channel = client.open(&ChannelSpec::new("tcp")).unwrap();
        let open = fs::read_dir(format!("/proc/{}/fd", channel.responder_pid())).unwrap();
        let open: Vec<_> = open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
        assert!(!open.contains(&secret), "{open:?}");
        client.close(channel).unwrap();
        drop(client);
        fs::remove_file(secret).unwrap();
    });
}

/// Has a member open a channel of this method, and calls `inspect` with that user, the responder and what lets the member go
/// on to `end`.
fn with_channel_of_a_member(
    sandbox: &Sandbox,
    method: &str,
    end: impl FnOnce(&mut Client, Channel) + Send,
    inspect: impl FnOnce(&Daemon, &User, u32, mpsc::Sender<()>),
) {
    let Users { owner, member, .. } = Users::pick();
    let daemon = &serve(sandbox, owner, 0o660);
    thread::scope(|scope| {
        let (open, opened) = mpsc::channel();
        let (go_on, waiting) = mpsc::channel();
        scope.spawn(move || {
            member.does(move || {
                let mut client = daemon.lease();
                let mut channel = client.open(&ChannelSpec::new(method)).unwrap();
                rounds(&mut channel, 3).unwrap();
                open.send(channel.responder_pid()).unwrap();
                // An error, too, means that the inspection is over.
                let _ = waiting.recv();
                end(&mut client, channel);
            });
        });
        inspect(daemon, &member, opened.recv().unwrap(), go_on);
    });
}

#[test]
fn pipes_belong_to_the_client_that_may_enlarge_them() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let end = |client: &mut Client, channel| client.close(channel).unwrap();
        with_channel_of_a_member(sandbox, "pipe", end, |_, member, responder, _go_on| {
            for end in [0, 1] {
                let pipe = fs::metadata(format!("/proc/{responder}/fd/{end}")).unwrap();
                assert_eq!(pipe.uid(), member.uid, "what it takes counts for the user who made it");
            }
        });
    });
}

#[test]
fn memory_that_a_client_enlarges_is_taken_back_when_another_asks() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        // Its own request finds it as another's does.
        let end = |client: &mut Client, _channel| {
            let other = client.open(&ChannelSpec::new("tcp")).unwrap();
            client.close(other).unwrap();
        };
        with_channel_of_a_member(sandbox, "shmem", end, |daemon, _, responder, go_on| {
            let maps = fs::read_dir(format!("/proc/{responder}/map_files")).unwrap();
            let memory = maps
                .map(|entry| entry.unwrap().path())
                .find(|path| fs::read_link(path).is_ok_and(|target| target.starts_with("/dev/shm")));
            // As the client can, which was handed it.
            let memory = fs::OpenOptions::new().write(true).open(memory.expect("it has mapped it")).unwrap();
            fallocate(&memory, FallocateFlags::empty(), 0, 1 << 20).unwrap();
            go_on.send(()).unwrap();
            eventually("its channel ends", PATIENCE, || {
                daemon.process().has_said("its client has made its memory larger").then_some(())
            });
            eventually("its memory is free", PATIENCE, || {
                (memory.metadata().unwrap().blocks() == 0).then_some(())
            });
        });
    });
}
