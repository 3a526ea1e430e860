//! Invalid input: each error is one paragraph on stderr with a distinct exit code, and stdout
//! stays empty.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use ipcd::internals::protocol::{
    Confinement, End, Event, Exit, GREETING_LEN, Greeting, Link, PROTOCOL_VERSION, Reply, Request, Status,
    Unavailable, encode,
};
use ipcd::internals::protocol::{MAX_BODY, frame};

use ipcd::internals::transports::{ALL, states};

use crate::conformance::here;
use crate::harness::{
    NOBODY, Output, PATIENCE, Sandbox, another_user_can_run, eventually, is_root, not_tested, run,
};

/// Checks that a command fails as it should.
#[track_caller]
fn refused(sandbox: &Sandbox, command: &mut Command, exit: Exit, parts: &[&str]) -> Output {
    let output = sandbox.finish(command).expect(exit).says(parts);
    assert_eq!(output.stdout, "", "stdout carries results only");
    // What clap says, it says its own way, with its usage under it.
    let said = output.stderr.trim_end();
    assert_ne!(said, "");
    assert!(said.starts_with("error: ") || !said.contains("\n\n"), "not one paragraph:\n{said}");
    output
}

#[test]
fn an_unknown_method_names_the_known_ones() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        let known: Vec<_> = ALL.iter().map(|mechanism| mechanism.info().name).collect();
        for methods in ["carrier-pigeon", "tcp,carrier-pigeon", "all,carrier-pigeon"] {
            let mut bench = sandbox.client(&["bench", "--method", methods, "-n", "10"]);
            refused(sandbox, &mut bench, Exit::Usage, &["\"carrier-pigeon\"", &known.join(", ")]);
        }
        for methods in ["", " ", ","] {
            refused(sandbox, &mut sandbox.client(&["bench", "--method", methods]), Exit::Usage, &["method"]);
        }
    });
}

#[test]
fn numbers_that_make_no_sense_are_refused_before_anything_is_done() {
    run(|sandbox| {
        // No daemon: it would be missed if one were looked for.
        for n in ["0", "-5", "1e6", "1.5", "", "many", "18446744073709551616", "1000000000001", "٣"] {
            let n = format!("-n={n}");
            refused(sandbox, &mut sandbox.client(&["bench", &n]), Exit::Usage, &["--rounds <N>"]);
        }
        refused(
            sandbox,
            &mut sandbox.client(&["bench", "-n", "-5"]),
            Exit::Usage,
            &["'-5' for '--rounds <N>'"],
        );
        for (option, value) in [
            ("--size", "0x8"),
            ("--size", "-8"),
            ("--size", "99999999999"),
            ("--trials", "0"),
            ("--duration", "0s"),
            ("--duration", "forever"),
            ("--warmup", "-1"),
            ("--precision", "0"),
            ("--wait", "never"),
            ("--placement", "moon"),
            ("--rate", "0/s"),
            ("--gap", "1y"),
            ("--timing", "batch:0"),
            ("--clock", "sundial"),
            ("--nodelay", "perhaps"),
            ("--format", "pdf"),
        ] {
            let argument = format!("{option}={value}");
            refused(sandbox, &mut sandbox.client(&["bench", &argument]), Exit::Usage, &[option]);
        }
        for option in ["--max-connections", "--max-channels-per-user", "--measurements"] {
            refused(sandbox, &mut sandbox.ipcd(&["start", option, "0"]), Exit::Usage, &["1 to 100000"]);
        }
        refused(sandbox, &mut sandbox.ipcd(&["start", "--max-memory", "0"]), Exit::Usage, &["64M or 2G"]);
        refused(sandbox, &mut sandbox.client(&["bench", "--no-such-option"]), Exit::Usage, &[]);
        refused(sandbox, &mut sandbox.client(&["no-such-command"]), Exit::Usage, &[]);
    });
}

#[test]
fn sizes_that_a_method_cannot_carry_are_refused_and_not_clamped() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in here() {
            let (method, can) = (mechanism.info().name, mechanism.capabilities());
            for size in [can.min_size - 1, can.max_size + 1, 0] {
                let size_text = size.to_string();
                let arguments = ["bench", "--method", method, "-n", "10", "--size", &size_text];
                let carries = match can.min_size == can.max_size {
                    true => format!("{} and no other", can.min_size),
                    false => format!("{} to {}", can.min_size, can.max_size),
                };
                let what = format!("a size of {size} bytes; it carries {carries}");
                refused(sandbox, &mut sandbox.client(&arguments), Exit::Unavailable, &[method, &what]);
            }
        }
        assert_eq!(daemon.status().totals.channels_opened, 0);
    });
}

#[test]
fn options_that_no_method_has_are_refused() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        let mut bench = sandbox.client(&["bench", "--method", "udp,pipe", "--nodelay", "false"]);
        refused(sandbox, &mut bench, Exit::Usage, &["--nodelay"]);
    });
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        for side in ["--client-cpu", "--server-cpu"] {
            let mut bench = sandbox.client(&["bench", "--method", "pipe", "-n", "10", side, "100000"]);
            refused(sandbox, &mut bench, Exit::Unavailable, &["100000"]);
        }
    });
}

/// Every command that needs a daemon.
fn asking(sandbox: &Sandbox) -> [Command; 4] {
    [
        sandbox.client(&["bench", "-n", "10"]),
        sandbox.client(&["status"]),
        sandbox.ipcd(&["status"]),
        sandbox.ipcd(&["stop"]),
    ]
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    run(|sandbox| {
        let path = sandbox.socket().display().to_string();
        for mut command in asking(sandbox) {
            // Who stops one starts none.
            let stop = command.get_args().any(|argument| argument == "stop");
            let advice = if stop { "another socket" } else { "ipcd start" };
            refused(sandbox, &mut command, Exit::NoDaemon, &[&path, "nothing there", advice]);
        }
    });
}

#[test]
fn a_file_that_is_not_a_socket_is_reported_as_such() {
    run(|sandbox| {
        fs::write(sandbox.socket(), "precious").unwrap();
        let path = sandbox.socket().display().to_string();
        for mut command in asking(sandbox) {
            refused(sandbox, &mut command, Exit::NoDaemon, &[&path, "not a socket"]);
        }
        refused(sandbox, &mut sandbox.ipcd(&["start"]), Exit::Usage, &[&path, "is not a socket"]);
        assert_eq!(fs::read(sandbox.socket()).unwrap(), b"precious");
        fs::remove_file(sandbox.socket()).unwrap();
    });
}

#[test]
fn a_path_too_long_for_a_socket_is_called_that() {
    run(|sandbox| {
        let long = sandbox.folder().join("x".repeat(120));
        for mut command in asking(sandbox).into_iter().chain([sandbox.ipcd(&["start"])]) {
            command.arg("--socket").arg(&long);
            refused(sandbox, &mut command, Exit::Usage, &["107 at most"]);
        }
    });
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    run(|sandbox| {
        let path = sandbox.folder().join("nowhere/ipcd.sock");
        let mut start = sandbox.ipcd(&["start", "--socket", path.to_str().unwrap()]);
        refused(sandbox, &mut start, Exit::Failure, &["nowhere cannot be used"]);
    });
}

#[test]
fn a_user_without_permission_for_the_socket_gets_the_reason() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let daemon = sandbox.daemon();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = daemon.socket.display().to_string();
        for mut command in asking(sandbox) {
            command.uid(NOBODY).gid(NOBODY);
            refused(sandbox, &mut command, Exit::Permission, &[&format!("user {NOBODY}"), &path]);
        }
        let elsewhere = sandbox.folder().join("elsewhere");
        let mut start = sandbox.ipcd(&["start", "--socket", elsewhere.to_str().unwrap()]);
        refused(sandbox, start.uid(NOBODY).gid(NOBODY), Exit::Permission, &["Permission denied"]);
        daemon.serves("tcp");
    });
}

/// A listener at a sandbox's socket that is not a daemon.
struct Impostor {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    /// Does `act` with each connection, and keeps it open until the client closes its end.
    fn listen(sandbox: &Sandbox, act: impl Fn(&mut UnixStream) + Send + 'static) -> Self {
        let path = sandbox.socket();
        let listener = UnixListener::bind(&path).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                act(&mut stream);
                // Broken off by the client's end, or closed by `act`.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        Self { path, over, thread: Some(thread) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Checks what every command that needs a daemon says to an impostor.
fn meets(sandbox: &Sandbox, act: impl Fn(&mut UnixStream) + Send + 'static, exit: Exit, parts: &[&str]) {
    let _impostor = Impostor::listen(sandbox, act);
    let path = sandbox.socket().display().to_string();
    for mut command in asking(sandbox) {
        refused(sandbox, &mut command, exit, &[&[path.as_str()], parts].concat());
    }
}

/// Sends bytes to a peer that may have gone.
fn say(stream: &mut UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn hang_up(stream: &UnixStream) {
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_server_of_another_kind_is_called_that() {
    run(|sandbox| {
        let web = |stream: &mut UnixStream| say(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        meets(sandbox, web, Exit::NotIpcd, &["not ipcd", "HTTP/1.1"]);
        let short = |stream: &mut UnixStream| say(stream, b"\x1b[");
        meets(sandbox, short, Exit::NotIpcd, &["not ipcd", "\\x1b["]);
    });
}

#[test]
fn a_silent_server_is_called_that() {
    run(|sandbox| meets(sandbox, |_| (), Exit::NotIpcd, &["sent nothing for"]));
}

#[test]
fn a_server_that_closes_is_called_that() {
    run(|sandbox| {
        meets(sandbox, |stream| hang_up(stream), Exit::NotIpcd, &["closed the connection"]);
        let midway = |stream: &mut UnixStream| {
            say(stream, &Greeting::OURS.to_bytes()[..10]);
            hang_up(stream);
        };
        meets(sandbox, midway, Exit::NotIpcd, &["not ipcd"]);
    });
}

#[test]
fn a_daemon_of_another_protocol_version_is_called_that() {
    run(|sandbox| {
        for version in [PROTOCOL_VERSION + 1, 0, u16::MAX] {
            let greet = move |stream: &mut UnixStream| say(stream, &Greeting { version }.to_bytes());
            let theirs = format!("speaks protocol version {version},");
            let ours = format!("speaks version {PROTOCOL_VERSION}");
            meets(sandbox, greet, Exit::Version, &[&theirs, &ours, "same release"]);
        }
    });
}

#[test]
fn a_daemon_that_breaks_the_protocol_is_called_that() {
    run(|sandbox| {
        let lengths = u32::try_from(MAX_BODY).unwrap() + 1;
        for (answer, part) in [
            (frame(&[0xff; 100]), "a frame of 100 bytes is not a known message"),
            (frame(&[]), "a frame of 0 bytes is not a known message"),
            (lengths.to_le_bytes().to_vec(), "65536 bytes at most"),
        ] {
            let _impostor = Impostor::listen(sandbox, move |stream| {
                say(stream, &[&Greeting::OURS.to_bytes(), &answer[..]].concat());
            });
            for mut command in asking(sandbox) {
                refused(sandbox, &mut command, Exit::NotIpcd, &[part]);
            }
        }
    });
}

#[test]
fn a_daemon_that_reports_without_end_is_an_error_and_no_memory() {
    run(|sandbox| {
        let ended = |channel| Reply::Event(Event::Ended { channel, end: End::Exited(0) });
        let _impostor = Impostor::listen(sandbox, move |stream| {
            say(stream, &Greeting::OURS.to_bytes());
            let mut events = (0..).map(|channel| frame(&encode(&ended(channel)).unwrap()));
            while stream.write_all(&events.next().unwrap()).is_ok() {}
        });
        for arguments in [&["bench", "-n", "10"][..], &["status"]] {
            let said = &["does not match the request", "Ended"];
            refused(sandbox, &mut sandbox.client(arguments), Exit::NotIpcd, said);
        }
    });
}

#[test]
fn text_of_a_daemon_drives_no_terminal() {
    run(|sandbox| {
        let ipcd = sandbox.daemon_with(&["--socket", sandbox.folder().join("real.sock").to_str().unwrap()]);
        let status = Status { version: "\x1b]0;title\x07".to_owned(), ..ipcd.status() };
        let mut methods = states();
        methods[0].unavailable = Some(Unavailable("\x1b]0;title\x07".to_owned()));
        let _impostor = Impostor::listen(sandbox, move |stream| {
            let mut link = Link::new(stream.try_clone().unwrap().into());
            link.greet(PATIENCE).unwrap();
            while let Ok(request) = link.receive(Some(PATIENCE)) {
                let reply = match request {
                    Request::Methods => Reply::Methods(methods.clone()),
                    Request::Confinement => Reply::Confinement(Confinement::default()),
                    _ => Reply::Status(status.clone()),
                };
                link.send(&reply, &[]).unwrap();
            }
        });
        for mut command in
            [sandbox.ipcd(&["status"]), sandbox.client(&["status"]), sandbox.client(&["methods"])]
        {
            let output = sandbox.finish(&mut command).expect(Exit::Success);
            assert!(output.stdout.contains("title"), "{output:#?}");
            assert!(!output.stdout.contains(['\x1b', '\x07']), "{output:#?}");
        }
    });
}

#[test]
fn a_socket_of_another_user_in_a_folder_for_all_is_not_trusted() {
    run(|sandbox| {
        if !is_root() {
            return not_tested("root", "this needs root, which may make another user's socket");
        }
        let _impostor = Impostor::listen(sandbox, |stream| say(stream, &Greeting::OURS.to_bytes()));
        chown(sandbox.socket(), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o1777)).unwrap();
        for mut command in asking(sandbox) {
            let said = &["any user may write to", "65534"];
            refused(sandbox, &mut command, Exit::Permission, said);
        }
    });
}

#[test]
fn a_daemon_that_greets_and_goes_is_lost() {
    run(|sandbox| {
        let _impostor = Impostor::listen(sandbox, |stream| {
            say(stream, &Greeting::OURS.to_bytes());
            // Not before the client has greeted, which it would notice while it greets.
            let _ = stream.read_exact(&mut [0; GREETING_LEN]);
            hang_up(stream);
        });
        for arguments in [&["bench", "-n", "10"][..], &["status"]] {
            refused(sandbox, &mut sandbox.client(arguments), Exit::Broken, &["the daemon is lost"]);
        }
        for arguments in [["status"], ["stop"]] {
            refused(sandbox, &mut sandbox.ipcd(&arguments), Exit::NotIpcd, &["closed the connection"]);
        }
    });
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for arguments in
            [&["bench", "-n", "100"][..], &["bench", "-n", "100", "--json"], &["methods"], &["status"]]
        {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut child = sandbox.client(arguments).stdout(writer).spawn().unwrap();
            let status = eventually("it ends", PATIENCE, || child.try_wait().unwrap());
            assert_eq!(status.code(), Some(0), "{arguments:?}");
        }
        daemon.is_at_rest();
    });
}

#[test]
fn help_lists_every_exit_code() {
    run(|sandbox| {
        for mut command in [sandbox.client(&["--help"]), sandbox.ipcd(&["--help"])] {
            let help = sandbox.finish(&mut command).expect(Exit::Success).stdout;
            for exit in Exit::ALL {
                assert!(help.contains(exit.meaning()), "{help}");
            }
        }
    });
}
