//! Members of a daemon's group who do not trust each other: what one finds of another's channel between its announcement and
//! its client's proof, when its name is still there.
//!
//! Needs root, which becomes users with unused ids.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::PathBuf;

use ipcd::internals::protocol::{Refusal, Reply, Token};
use ipcd::internals::transports::{Exposure, Mechanism, Naming, Reach};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::doors::sysv_queue;
use super::{MANY, attacked, carrying, spec};
use crate::harness::{
    Announced, Daemon, Sandbox, another_user_can_run, connected, datagrams, exposure, files, info, run,
};
use crate::users::{User, Users};

/// A daemon of an ordinary user whose control socket its group may use, and two members of that group.
fn daemon_of_a_group(sandbox: &Sandbox) -> (Daemon, [User; 2]) {
    let Users { owner, member, stranger } = Users::pick_after(50);
    chown(sandbox.folder(), Some(owner.uid), Some(owner.gid)).unwrap();
    set_permissions(sandbox.folder(), Permissions::from_mode(0o711)).unwrap();
    let daemon = Daemon::start(sandbox, owner.runs(&sandbox.ipcd(&[&["start"], &MANY[..]].concat())));
    set_permissions(&daemon.socket, Permissions::from_mode(0o660)).unwrap();
    (daemon, [member, User { group: Some(owner.gid), ..stranger }])
}

/// What has a channel's name.
fn named(sandbox: &Sandbox) -> Vec<PathBuf> {
    let is_named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("ipcd-");
    let memory = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path());
    files(sandbox.folder()).into_iter().chain(memory).filter(is_named).collect()
}

/// What a stranger may open of these.
fn opened(named: &[PathBuf]) -> Vec<&PathBuf> {
    let may =
        |path: &&PathBuf| [Access::READ_OK, Access::WRITE_OK].iter().any(|how| access(*path, *how).is_ok());
    named.iter().filter(may).collect()
}

/// Of a channel that one member has opened, another can open nothing but sockets, where it is dropped with no answer but the
/// hello.
#[test]
fn a_member_of_the_group_gets_at_nothing_of_anothers_channel() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let (daemon, [client, other]) = daemon_of_a_group(sandbox);
        attacked(&daemon, || {
            for mechanism in carrying() {
                between(sandbox, &daemon, mechanism, client, other);
            }
        });
    });
}

fn between(sandbox: &Sandbox, daemon: &Daemon, mechanism: &dyn Mechanism, client: User, other: User) {
    let method = mechanism.info().name;
    let announced = match client.does(|| Announced::try_by(daemon, &spec(mechanism))) {
        Ok(announced) => announced,
        Err(reply) => {
            let refused = matches!(*reply, Reply::Refused(Refusal::Unavailable { .. }));
            assert!(refused && mechanism.info().reach == Reach::SameUser, "{method}: {reply:?}");
            return eprintln!("{method}: not between two users");
        }
    };
    let address = announced.endpoint.address.clone();
    let named = named(sandbox);
    let (sockets, files): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|path| path.metadata().is_ok_and(|there| there.file_type().is_socket()));
    let (queue, stranger) = other.does(|| {
        assert_eq!(opened(&files), Vec::<&PathBuf>::new(), "{method}");
        let stranger = match exposure(method) {
            Exposure::Connections(_) => Some(connected(method, &address).unwrap()),
            Exposure::Datagrams => Some(datagrams(&address).unwrap()),
            _ => None,
        };
        if let Some(stranger) = &stranger {
            send(stranger, &[7; Token::HALF_LEN], SendFlags::NOSIGNAL).unwrap();
        }
        let is_queue = info(method).naming == Naming::Key;
        let queue = is_queue.then(|| sysv_queue(&address).map(drop).map_err(|error| error.raw_os_error()));
        (queue, stranger)
    });
    let denied = Some(Errno::ACCESS.raw_os_error());
    assert!(queue.is_none_or(|opened| opened == Err(denied)), "{method}");
    eprintln!(
        "{method}: {} sockets, where a stranger is dropped; {} files that it may not open",
        sockets.len(),
        files.len()
    );
    let token = announced.settings.token;
    client.does(|| announced.serves_its_client());
    // ZeroMQ greets every peer.
    if let Some(stranger) = stranger.filter(|_| method != "zeromq") {
        let mut answer = [0; 64];
        let len = recv(&stranger, &mut answer, RecvFlags::DONTWAIT).map_or(0, |(len, _)| len);
        assert!(
            len == 0 || answer[..len] == *token.hello(),
            "{method}: an unauthenticated peer gets an answer"
        );
    }
}
