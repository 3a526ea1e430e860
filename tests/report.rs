//! Reports as their users have them: from the history, from files, several runs in one, and what they are refused for.
//! `tests/report/check.py` opens one in a browser.

use std::fs;

use ipcd::protocol::Exit;

use crate::harness::run;
use crate::history::Place;

#[test]
fn runs_of_the_history_and_of_files_are_one_report() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let file = place.file("other.json");
        fs::write(&file, serde_json::to_string(&place.report(sandbox, &["--size", "64"])).unwrap()).unwrap();
        let (page, file) = (place.file("report.html"), file.to_str().unwrap());
        // Without a history, a file is enough.
        let arguments = ["report", file, "-o", page.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Success);
        let one = fs::read_to_string(&page).unwrap();
        assert!(one.contains("<td>64 B</td>") || one.contains("size 64 B"), "{one}");

        let bench = [
            "bench",
            "-m",
            "null",
            "-n",
            "5000",
            "--trials",
            "2",
            "--private",
            "--record",
            "--label",
            "mine",
        ];
        let mut bench = place.client(sandbox, &bench);
        sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        let arguments = ["report", "mine", "last", file, "-o", page.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Success);
        let both = fs::read_to_string(&page).unwrap();
        assert_eq!(both.matches("<p class=\"run\">").count(), 2, "a run that is named twice is there once");
        assert!(both.contains("<td>run 1 (mine)</td>") && both.contains(&format!("<td>{file}</td>")));
        let table = both.split("id=\"cells\"").nth(1).unwrap().split("</table>").next().unwrap();
        assert_eq!(table.matches("<th scope=\"row\">").count(), 2);

        let mut to_stdout = place.client(sandbox, &["report", "mine", file, "-o", "-"]);
        assert_eq!(sandbox.finish(&mut to_stdout).expect(Exit::Success).stdout, both);
        let mut narrow = place.client(sandbox, &["report", "mine", file, "--size", "64"]);
        let narrow = sandbox.finish(&mut narrow).expect(Exit::Success).stdout;
        assert!(!narrow.contains("run 1 (mine)"), "the other run has no such cell");
    });
}

#[test]
fn what_cannot_be_reported_is_said() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let page = place.file("report.html");
        let refused = |arguments: &[&str], exit: Exit, said: &str| {
            let arguments = [&["report", "-o", page.to_str().unwrap()], arguments].concat();
            let output = sandbox.finish(&mut place.client(sandbox, &arguments)).expect(exit);
            assert!(output.stderr.contains(said), "{arguments:?}: {}", output.stderr);
            assert!(!page.exists(), "{arguments:?}");
        };
        refused(&[], Exit::Nothing, "there is no history at");
        refused(&["./missing.json"], Exit::Failure, "./missing.json cannot be read");
        let file = place.file("other.json");
        fs::write(&file, "{}").unwrap();
        refused(&[file.to_str().unwrap()], Exit::Failure, "it is no report of \"bench --format json\"");
        let matrix = place.file("matrix.csv");
        fs::write(&matrix, "method,size\n").unwrap();
        refused(&["--matrix", matrix.to_str().unwrap()], Exit::Failure, "it has no column options");
        let lines = place.file("none.ndjson");
        fs::write(&lines, "").unwrap();
        let mut import = place.client(sandbox, &["history", "import", lines.to_str().unwrap()]);
        sandbox.finish(&mut import).expect(Exit::Success);
        refused(&[], Exit::Nothing, "last");
        refused(&["12"], Exit::Nothing, "12");
        refused(&["a b"], Exit::Usage, "`a b` names no run");
        fs::write(&file, serde_json::to_string(&place.report(sandbox, &[])).unwrap()).unwrap();
        refused(
            &[file.to_str().unwrap(), "--size", "3"],
            Exit::Nothing,
            "no run that was named has such cells",
        );
        let mut nowhere =
            place.client(sandbox, &["report", file.to_str().unwrap(), "-o", "/missing/report.html"]);
        sandbox.finish(&mut nowhere).expect(Exit::Failure);
    });
}
