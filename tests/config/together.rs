//! What goes against each other, or cannot be on any host, is wrong; what only this host lacks is a warning.

use ipcd::internals::protocol::Exit;

use super::{File, finish, with};
use crate::harness::run;

#[test]
fn conflicting_settings_are_reported_by_the_check() {
    run(|sandbox| {
        let long = format!("/tmp/{}", "x".repeat(120));
        let file = File::new(
            sandbox,
            "file.toml",
            &format!(
                "[daemon]\nsocket = \"{long}\"\nmetrics = \"{long}\"\nmax-channels = 5\nmax-channels-per-user = 10\n\
                 max-connections = 2\nmeasurements = 100\ngroup = \"no-such-group\"\nmax-memory-per-user = \"2G\"\n\
                 [profile.a]\nmethod = [\"udp\", \"tcp\"]\nsize = [8, \"1M\"]\n\
                 [profile.b]\nmethod = \"futex\"\nnodelay = true\nwait = [\"block\", \"adaptive\"]\n\
                 [profile.c]\nmethod = \"queues\"\nsize = \"2048M\"\n\
                 [profile.d]\ntiming = \"batch:1000\"\nrounds = 10\n"
            ),
        );
        let checked = finish(sandbox, sandbox.ipcd(&["config", "check", file.path()]), Exit::Usage);
        let expected = [
            (2, "socket = \"/tmp/xxxxx".to_owned()),
            (3, "metrics = \"/tmp/xxxxx".to_owned()),
            (
                5,
                format!(
                    "max-channels-per-user = 10: it cannot be more than max-channels, which is 5 ({}:4)",
                    file.path()
                ),
            ),
            (
                7,
                format!(
                    "measurements = 100: it cannot be more than max-connections, which is 2 ({}:6): each",
                    file.path()
                ),
            ),
            (7, "measurements = 100: it cannot be more than max-channels, which is 5 (".to_owned()),
            (8, "this host has no group \"no-such-group\"".to_owned()),
            (
                9,
                "max-memory-per-user = \"2G\": it cannot be more than max-memory, which is \"1G\" (default)"
                    .to_owned(),
            ),
            (12, "size = 1M: udp cannot do that: a size of 1048576 bytes; it carries 8 to 65507".to_owned()),
            (15, "nodelay: none of the methods of [profile.b] has this option".to_owned()),
            (16, "wait = adaptive: futex cannot do that; it can block".to_owned()),
            (19, "size = 2048M: none of the methods of [profile.c] carries it".to_owned()),
            (22, "rounds = 10: timing = \"batch:1000\" in [profile.d] needs 1000 at least".to_owned()),
        ];
        let printed: Vec<_> = checked.stderr.lines().collect();
        assert_eq!(printed.len(), expected.len(), "{}", checked.stderr);
        for (printed, (line, what)) in printed.iter().zip(expected) {
            let start = format!("{}:{line}: {what}", file.path());
            assert!(printed.starts_with(&start), "not \"{start}\":\n{printed}");
        }
        assert!(printed[0].ends_with("it has 125 bytes, and a socket's path 107 at most"), "{}", printed[0]);
        finish(sandbox, with(sandbox.ipcd(&["start"]), &[&file]), Exit::Usage)
            .says(&["file.toml:2: socket = ", "file.toml:5: max-channels-per-user = 10"]);

        // Flags can be wrong in the same way.
        let flags = [
            "start",
            "--measurements",
            "3",
            "--max-connections",
            "2",
            "--max-channels",
            "4",
            "--max-channels-per-user",
            "5",
        ];
        finish(sandbox, sandbox.ipcd(&flags), Exit::Usage)
            .says(&[
                "max-channels-per-user = 5: it cannot be more than max-channels, which is 4 (flag)\n",
                "measurements = 3: it cannot be more than max-connections, which is 2: each client that measures has at least one (flag)",
            ]);
    });
}

#[test]
fn doubtful_settings_for_this_host_are_warnings() {
    run(|sandbox| {
        let file = File::new(
            sandbox,
            "file.toml",
            "[profile.a]\nclient-cpu = 9999\nserver-cpu = 0\nlabel = \"night\"\n[profile.b]\nlabel = \"x\"\nrecord = true\n\
             [profile.c]\nmethod = \"mq\"\nsize = \"16M\"\n",
        );
        let checked = finish(sandbox, sandbox.ipcd(&["config", "check", file.path()]), Exit::Success);
        assert_eq!(checked.stdout, format!("{}: ok\n", file.path()));
        let printed: Vec<_> = checked.stderr.lines().collect();
        let cpu = format!("{}:2: warning: client-cpu = 9999: this host has no such CPU", file.path());
        assert_eq!(printed[0], cpu, "{}", checked.stderr);
        let label = format!("{}:4: warning: label = night: it has no effect in [profile.a]", file.path());
        assert!(printed[1].starts_with(&label), "{}", checked.stderr);
        // No host that anybody knows lets a message be so large.
        let size =
            format!("{}:10: warning: size = 16M: mq cannot do that on this host: a size of", file.path());
        assert!(printed[2].starts_with(&size), "{}", checked.stderr);
        assert_eq!(printed.len(), 3, "{}", checked.stderr);
    });
}
