//! Metrics over HTTP: what is exported, at which addresses, and how malformed requests are answered.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipcd::internals::protocol::{ChannelSpec, Exit};
use ipcd::internals::transports::usage;
use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, SOON, Sandbox, eventually, responders, rounds, run};
use crate::history::Place;

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A daemon that serves metrics at a loopback port, and their address.
fn telling(sandbox: &Sandbox, more: &[&str]) -> (Daemon, String) {
    let daemon = sandbox.daemon_with(&[&["--metrics", "127.0.0.1:0"], more].concat());
    let url = daemon.process().wait_for_line("ipcd: metrics at ");
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{url}")).to_owned();
    (daemon, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the end.
fn rest(stream: &mut impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The answer to these bytes: its code, and its head and body.
fn ask(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    split(&rest(&mut stream))
}

fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no code: {head:?}")), head.to_owned(), body.to_owned())
}

fn metrics(address: &str) -> String {
    let (code, head, body) = ask(address, GET);
    assert!(code == 200 && head.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    body
}

/// A metric's value.
fn value(text: &str, metric: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {metric} in\n{text}")).parse().unwrap()
}

#[test]
fn what_the_service_does_is_counted() {
    run(|sandbox| {
        let limits = ["--max-channels-per-user", "1", "--max-queue", "3"];
        let (daemon, address) = telling(sandbox, &limits);
        let text = metrics(&address);
        let start = value(&text, "process_start_time_seconds");
        assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
        assert_eq!(value(&text, "ipcd_service_channels_opened_total{method=\"tcp\"}"), 0.0);
        assert_eq!(value(&text, "ipcd_service_queue_limit"), 3.0);

        let mut client = daemon.lease();
        let mut channel = client.open(&ChannelSpec::new("tcp")).unwrap();
        rounds(&mut channel, 5).unwrap();
        client.open(&ChannelSpec::new("pipe")).unwrap_err();
        client.open(&ChannelSpec::new("carrier-pigeon")).unwrap_err();
        let text = metrics(&address);
        for (metric, expected) in [
            ("ipcd_service_connections", 1.0),
            ("ipcd_service_connections_accepted_total", 1.0),
            ("ipcd_service_measuring", 1.0),
            ("ipcd_service_measurements_total", 1.0),
            ("ipcd_service_queue_length", 0.0),
            ("ipcd_service_channels", 1.0),
            ("ipcd_service_channels_opened_total{method=\"tcp\"}", 1.0),
            ("ipcd_service_channels_broken_total{method=\"tcp\"}", 0.0),
            ("ipcd_service_refusals_total{reason=\"max-channels-per-user\"}", 1.0),
            ("ipcd_service_refusals_total{reason=\"unknown-method\"}", 1.0),
            ("ipcd_service_refusals_total{reason=\"busy\"}", 0.0),
            ("ipcd_service_http_responses_total{code=\"200\"}", 2.0),
            ("ipcd_service_config_ok", 1.0),
            ("process_start_time_seconds", start),
        ] {
            assert_eq!(value(&text, metric), expected, "{metric}");
        }
        assert!(!text.contains("ipcd_service_results_up"), "no file was named");

        let responder = crate::harness::Peer::find(responders(daemon.pid)[0]).unwrap();
        responder.signal(Signal::KILL);
        eventually("the end is counted", PATIENCE, || {
            let broken = value(&metrics(&address), "ipcd_service_channels_broken_total{method=\"tcp\"}");
            (broken == 1.0).then_some(())
        });
        drop((channel, client));
        daemon.is_at_rest();
    });
}

#[test]
fn results_of_the_history_are_exported_with_it() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let file = place.file("results.prom").display().to_string();
        let (daemon, address) = telling(sandbox, &["--metrics-results", &file]);
        assert_eq!(value(&metrics(&address), "ipcd_service_results_up"), 0.0, "there is none yet");
        let bench =
            ["bench", "-m", "tcp,pipe", "-n", "300", "--trials", "2", "--record", "--label", "nightly"];
        sandbox.finish(&mut place.client(sandbox, &bench)).expect(Exit::Success);
        let export = |file: &str| {
            sandbox
                .finish(&mut place.client(sandbox, &["export", "--prometheus", file]))
                .expect(Exit::Success)
        };
        export(&file).says(&[&format!("2 results exported to {file}")]);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        let text = metrics(&address);
        assert_eq!(value(&text, "ipcd_service_results_up"), 1.0);
        assert!(text.ends_with(&fs::read_to_string(&file).unwrap()), "as the file has it");
        assert_eq!(export("-").stdout, fs::read_to_string(&file).unwrap());
        for part in ["label=\"nightly\"", "ipcd_round_trip_seconds{", "method=\"pipe\"", "quantile=\"0.5\""] {
            assert!(text.contains(part), "{part}");
        }
        // Only the head, with the length of the whole.
        let (code, head, body) = ask(&address, "HEAD /metrics HTTP/1.0\r\n\r\n");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        assert!(
            code == 200 && body.is_empty() && length.parse::<usize>().unwrap() > text.len() / 2,
            "{head}"
        );

        fs::write(&file, "this is not a metric\n").unwrap();
        let text = metrics(&address);
        assert_eq!(value(&text, "ipcd_service_results_up"), 0.0);
        assert!(!text.contains("this is"), "one wrong line would spoil all");
        let said = daemon.stop_by(Signal::TERM);
        said.says(&[&format!("the results in {file} are not exported: line 1 is not a valid metric")]);
    });
}

#[test]
fn bad_requests_are_rejected_and_do_not_disturb_others() {
    run(|sandbox| {
        let (daemon, address) = telling(sandbox, &[]);
        let mut half = connect(&address);
        half.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
        let mut silent = connect(&address);
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100_000));
        for (request, code) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 405),
            ("GET /metrics HTTP/1.1\r\n\r\n", 400),
            ("\0\0\0\0", 400),
            ("GET /metrics HTTP/3\r\n\r\n", 505),
            (&long, 431),
        ] {
            let (status, head, body) = ask(&address, request);
            assert_eq!(status, code, "{head}");
            assert!(body.contains("metrics are at /metrics") && head.contains("Connection: close"), "{head}");
            assert_eq!(head.contains("Allow: GET, HEAD"), code == 405, "{head}");
        }
        // A client of another protocol gets an answer too.
        daemon.serves("tcp");
        for stream in [&mut half, &mut silent] {
            assert_eq!(split(&rest(stream)).0, 408);
        }
        assert_eq!(value(&metrics(&address), "ipcd_service_http_responses_total{code=\"408\"}"), 2.0);
        daemon.is_at_rest();
    });
}

#[test]
fn many_who_ask_are_turned_away_and_the_others_served() {
    run(|sandbox| {
        let (daemon, address) = telling(sandbox, &[]);
        let mut first: Vec<_> = (0..8).map(|_| connect(&address)).collect();
        let mut more: Vec<_> = (0..300).map(|_| connect(&address)).collect();
        for stream in &mut more {
            let (code, head, _) = split(&rest(stream));
            assert!(code == 503 && head.contains("Retry-After: 1"), "{head}");
        }
        daemon.serves("tcp");
        let mut served = 0;
        for stream in &mut first {
            // Its deadline may have passed: then it has the answer that says so.
            let _ = stream.write_all(GET.as_bytes());
            served += usize::from(split(&rest(stream)).0 == 200);
        }
        // Where the time of all of them was over: there is room again.
        let again = || (ask(&address, GET).0 == 200).then_some(());
        if served == 0 {
            eventually("a scraper is served", PATIENCE, again);
        }
        daemon.is_at_rest();
    });
}

/// An answer that no socket takes at once.
fn large(place: &Place) -> String {
    let file = place.file("large.prom");
    let line = format!("ipcd_large{{a=\"{}\"}} 1\n", "b".repeat(1000));
    fs::write(&file, line.repeat(7000)).unwrap();
    file.display().to_string()
}

#[test]
fn who_does_not_read_is_cut_and_who_reads_slowly_gets_all() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let file = large(&place);
        let (daemon, address) = telling(sandbox, &["--metrics-results", &file]);
        let mut deaf: Vec<_> = (0..5).map(|_| connect(&address)).collect();
        for stream in &mut deaf {
            stream.write_all(GET.as_bytes()).unwrap();
        }
        let mut slow = connect(&address);
        slow.write_all(GET.as_bytes()).unwrap();
        let mut gone = connect(&address);
        gone.write_all(GET.as_bytes()).unwrap();
        drop(gone);
        let mut half_closed = connect(&address);
        half_closed.write_all(GET.as_bytes()).unwrap();
        half_closed.shutdown(Shutdown::Write).unwrap();
        daemon.serves("pipe");
        let size = fs::metadata(&file).unwrap().len() as usize;
        for stream in [&mut slow, &mut half_closed] {
            let mut all = Vec::new();
            let mut part = [0; 50_000];
            while let n @ 1.. = stream.read(&mut part).unwrap() {
                all.extend_from_slice(&part[..n]);
            }
            assert!(all.len() > size, "{} of {size}", all.len());
        }
        // What was on its way arrives; the rest does not.
        eventually("the others are cut", PATIENCE, || {
            let (code, ..) = ask(&address, "GET / HTTP/1.0\r\n\r\n");
            (code == 404 && deaf.iter().all(|stream| is_over(daemon.pid, stream))).then_some(())
        });
        for stream in &mut deaf {
            let mut all = Vec::new();
            // It may end with a reset.
            let _ = stream.read_to_end(&mut all);
            assert!(all.len() < size, "{} of {size}", all.len());
        }
        let memory = value(&metrics(&address), "process_resident_memory_bytes");
        assert!(memory < 40e6, "one copy of the file for all: {memory}");
        daemon.is_at_rest();
    });
}

/// Whether a daemon has no socket any more that leads to this one's port: by its own port in the kernel's table.
fn is_over(daemon: u32, stream: &TcpStream) -> bool {
    let port = format!(":{:04X} ", stream.local_addr().unwrap().port());
    let table = fs::read_to_string(format!("/proc/{daemon}/net/tcp")).unwrap();
    // Its end with a process has an inode.
    !table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| format!("{remote} ").ends_with(&port))
            && fields.get(9) != Some(&"0")
    })
}

#[test]
fn between_two_who_ask_nothing_wakes_the_daemon() {
    run(|sandbox| {
        let (daemon, address) = telling(sandbox, &[]);
        for _ in 0..3 {
            metrics(&address);
        }
        let used = || usage(Some(daemon.pid)).unwrap();
        let mut once = used();
        eventually("it rests", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(300));
            let now = used();
            let rests = now.since(&std::mem::replace(&mut once, now)).voluntary_switches == 0;
            rests.then_some(())
        });
        std::thread::sleep(Duration::from_secs(1));
        let since = used().since(&once);
        assert_eq!((since.voluntary_switches, since.cpu_ns), (0, 0), "an idle daemon is not woken");
    });
}

#[test]
fn a_unix_socket_is_for_whom_the_control_socket_is_for() {
    run(|sandbox| {
        let path = sandbox.folder().join("metrics.sock");
        let daemon = sandbox.daemon_with(&["--metrics", path.to_str().unwrap(), "--mode", "0640"]);
        daemon.process().wait_for_line(&format!("ipcd: metrics at {}", path.display()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(GET.as_bytes()).unwrap();
        assert_eq!(split(&rest(&mut stream)).0, 200);
        // Another daemon does not take it over; a dead one's is taken.
        let other = sandbox.folder().join("other.sock");
        let start = ["start", "--metrics", path.to_str().unwrap(), "--socket", other.to_str().unwrap()];
        let refused = sandbox.finish(&mut sandbox.ipcd(&start)).expect(Exit::AlreadyRunning);
        refused.says(&["metrics.sock is held by a running daemon"]);
        daemon.kill();
        let daemon = sandbox.daemon_with(&["--metrics", path.to_str().unwrap()]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(daemon);
        assert!(!path.exists(), "it goes with its daemon");
    });
}

#[test]
fn a_socket_that_the_service_manager_hands_over_is_used() {
    run(|sandbox| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Who asks before there is a daemon is answered by the one that comes.
        let mut early = connect(&address);
        early.write_all(GET.as_bytes()).unwrap();
        let start = |socket: OwnedFd, names: &str| {
            let script =
                "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" start --idle-exit 300ms";
            let daemon = sandbox.ipcd(&[]);
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script).arg(daemon.get_program()).env_clear().env("LISTEN_FDNAMES", names);
            shell.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
            sandbox.start_with_stdin(shell.current_dir(sandbox.folder()), Stdio::from(socket))
        };
        let process = start(listener.try_clone().unwrap().into(), "metrics");
        process.wait_for_line(&format!("ipcd: metrics at http://{address}/metrics"));
        assert_eq!(split(&rest(&mut early)).0, 200);
        // Who asks keeps it; then it ends, and its socket stays.
        for _ in 0..10 {
            metrics(&address);
            std::thread::sleep(Duration::from_millis(50));
        }
        process.wait(SOON).expect(Exit::Success).says(&["idle timeout reached"]);
        let file = fs::File::open("/dev/null").unwrap();
        start(file.into(), "metrics").wait(PATIENCE).expect(Exit::Usage).says(&["for metrics", "not"]);
        let stream = UnixStream::pair().unwrap().0;
        start(stream.into(), "metrics").wait(PATIENCE).expect(Exit::Usage).says(&["does not listen"]);
    });
}

#[test]
fn an_address_that_cannot_be_is_named() {
    run(|sandbox| {
        for address in ["9464", "localhost:9464", "127.0.0.1", "metrics.sock", "[::1]", ""] {
            let start = ["start", "--metrics", address];
            sandbox.finish(&mut sandbox.ipcd(&start)).expect(Exit::Usage).says(&[address, "127.0.0.1:9464"]);
        }
        let mut start = sandbox.ipcd(&["start"]);
        let output = sandbox.finish(start.env("IPCD_METRICS", "9464")).expect(Exit::Usage);
        output.says(&["$IPCD_METRICS is \"9464\""]);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let output = sandbox.finish(&mut sandbox.ipcd(&["start", "--metrics", &address]));
        output.expect(Exit::Failure).says(&[&format!("cannot serve metrics at {address}"), "in use"]);
        assert!(!sandbox.socket().exists(), "and nothing stays");
    });
}

#[test]
fn who_opens_it_to_other_hosts_is_warned() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--metrics", "0.0.0.0:0"]);
        daemon.process().wait_for_line("ipcd: the metrics address is not a loopback address: other hosts");
        let (closed, _) = {
            drop(daemon);
            telling(sandbox, &[])
        };
        assert!(!closed.process().has_said("other hosts"));
        // It stays where it is; a reload says so.
        let config = sandbox.folder().join("ipcd.toml");
        drop(closed);
        fs::write(&config, "[daemon]\nmetrics = \"127.0.0.1:0\"\n").unwrap();
        let daemon = sandbox.daemon_with(&["--config", config.to_str().unwrap()]);
        fs::write(&config, "[daemon]\n").unwrap();
        daemon.process().signal(Signal::HUP);
        eventually("the log asks for a restart", SOON, || {
            daemon.process().has_said("the new settings of metrics take effect after a restart").then_some(())
        });
        drop(daemon);
        fs::remove_file(&config).unwrap();
    });
}

#[test]
fn an_export_without_results_says_so_and_changes_nothing() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let file = place.file("results.prom");
        fs::write(&file, "old").unwrap();
        let export = |arguments: &[&str], exit| {
            let mut export = place.client(sandbox, &[&["export"], arguments].concat());
            sandbox.finish(&mut export).expect(exit)
        };
        let to_file = ["--prometheus", file.to_str().unwrap()];
        export(&to_file, Exit::Nothing).says(&["no history at"]);
        export(&[], Exit::Usage).says(&["--prometheus"]);
        let bench = ["bench", "-m", "null", "-n", "100", "--private", "--record"];
        let mut bench = place.client(sandbox, &bench);
        sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        let none = [&to_file[..], &["--label", "nightly"]].concat();
        export(&none, Exit::Nothing).says(&["no matching runs"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        let missing = place.file("missing/results.prom");
        let missing = missing.to_str().unwrap();
        export(&["--prometheus", missing], Exit::Failure).says(&[missing, "No such file"]);
        export(&["--prometheus", "/proc"], Exit::Failure).says(&["/proc"]);
        export(&to_file, Exit::Success);
        assert!(fs::read_to_string(&file).unwrap().starts_with("# HELP ipcd_"));
        let others: Vec<_> = fs::read_dir(Path::new(&file).parent().unwrap()).unwrap().collect();
        assert!(others.iter().flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
    });
}
