//! The daemon's loop over one connection, fed whatever the input is: it ends when its client goes, whatever that said.
//!
//! No channel is allowed, so that no process is started: an [`Open`](ipcd::internals::protocol::Request::Open) goes as far as
//! the limits. Input: whether a greeting comes first, then what the client sends before it closes its side.
#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ipcd::internals::daemon::{Limit, Limits, serve_client};
use ipcd::internals::protocol::Greeting;
use libfuzzer_sys::fuzz_target;

/// What a socket takes without anybody reading.
const MOST: usize = 4096;

/// The client's other half, which reads what the daemon says. A thread for all inputs: starting one takes longer than most
/// of them.
struct Reader {
    sockets: SyncSender<UnixStream>,
    done: Receiver<()>,
}

impl Reader {
    fn start() -> Self {
        let (sockets, to_read) = sync_channel::<UnixStream>(1);
        let (told, done) = sync_channel(1);
        thread::spawn(move || {
            let mut said = Vec::new();
            for mut client in to_read {
                said.clear();
                // A daemon that closes with requests unread resets the connection.
                let _ = client.read_to_end(&mut said);
                assert!(said.starts_with(&Greeting::OURS.to_bytes()), "the daemon greets first");
                if told.send(()).is_err() {
                    break;
                }
            }
        });
        Self { sockets, done }
    }
}

thread_local! {
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Some((greets, stream)) = data.split_first() else { return };
    let (mut client, server) = UnixStream::pair().expect("a socket pair");
    server.set_nonblocking(true).expect("it is open");
    if greets & 1 == 1 {
        client.write_all(&Greeting::OURS.to_bytes()).expect("there is room");
    }
    client.write_all(&stream[..stream.len().min(MOST)]).expect("there is room");
    client.shutdown(Shutdown::Write).expect("it is open");
    let limits = Limits { channels: Limit::of_one(0), ..Limits::default() };
    READER.with_borrow_mut(|reader| {
        let reader = reader.get_or_insert_with(Reader::start);
        reader.sockets.send(client).expect("it reads on");
        serve_client(server.into(), limits).expect("the system does not fail");
        reader.done.recv().expect("it has read all");
    });
});
