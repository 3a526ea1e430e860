//! The commands that query the history.

/// A command, and whether it has a target; reading all of a history takes as long as that is large, but no more memory.
pub(crate) struct Query {
    pub(crate) what: &'static str,
    pub(crate) has_target: bool,
    /// Its words; `SINCE` and `UNTIL` delimit the second quarter of the runs; `BACK` is an old run.
    words: &'static str,
}

impl Query {
    /// The command line for a history whose second quarter this is.
    pub(crate) fn arguments<'a>(&self, since: &'a str, until: &'a str, back: &'a str) -> Vec<&'a str> {
        let word = |word: &'static str| match word {
            "SINCE" => since,
            "UNTIL" => until,
            "BACK" => back,
            word => word,
        };
        self.words.split(' ').map(word).collect()
    }
}

const fn query(what: &'static str, words: &'static str) -> Query {
    Query { what, has_target: true, words }
}

pub(crate) const QUERIES: [Query; 16] = [
    query("history", "history"),
    query("history --host", "history --host host3"),
    query("history --label", "history --label hundredth"),
    // This host has the labelled runs.
    query("history --host --label", "history --host host1 --label hundredth"),
    query("history --since --until, of the second quarter", "history --since SINCE --until UNTIL"),
    query("history --method --size", "history -m null --size 64"),
    query(
        "history --method --size --host --since --until, of the same",
        "history -m null --size 64 --host host3 --since SINCE --until UNTIL",
    ),
    query("history --method --size --label", "history -m null --size 64 --label hundredth"),
    query("history show last~1000 (or the first)", "history show BACK"),
    query("trend --method --size --host", "trend -m null --size 64 --host host3"),
    query("trend, of all cells of all hosts", "trend"),
    query("trend --label, of all cells of all hosts", "trend --label hundredth"),
    query("compare last~4 last, of 20 cells", "compare last~4 last"),
    query("export --prometheus, of 80 cells and a baseline", "export --prometheus -"),
    Query { what: "history -n 0 --json", has_target: false, words: "history -n 0 --json" },
    Query {
        what: "history show --label, the sum of all such",
        has_target: false,
        words: "history show --label hundredth",
    },
];
