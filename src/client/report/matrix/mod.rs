//! The matrix of CPUs: the median round trip for every ordered pair of them, as a heat map and as CSV.

pub(crate) mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize, Serializer};

use super::charts::{Heat, Levels};
use crate::client::host::placement::Placement;
use crate::client::stats::{Latency, median, median_interval};
use crate::protocol::Wait;
use crate::units::{counted, latency, size};

/// A page cannot show more CPUs than this.
const MOST_CPUS: usize = 512;

/// The width of a drawing that stands alone, in points; more for many CPUs.
const WIDTH: i32 = 960;

/// The CSV's columns: those of [`Subject`] and of [`Pair`].
const HEADER: [&str; 14] = [
    "method",
    "options",
    "size_bytes",
    "wait",
    "client_cpu",
    "server_cpu",
    "placement",
    "trials",
    "rounds",
    "min_ns",
    "p50_ns",
    "p50_95_low_ns",
    "p50_95_high_ns",
    "error",
];

/// Rows of a CSV, by client's and responder's CPU.
type Rows = BTreeMap<(u32, u32), Pair>;

/// The measurements of every ordered pair of CPUs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    /// What was measured.
    pub subject: Subject,
    /// Trials of each pair.
    pub trials: usize,
    /// If the run was interrupted: how many passes over all pairs were complete.
    pub complete: Option<usize>,
    /// The host, its CPUs and its kernel, as far as they are known.
    pub host: String,
    /// The CPUs, in ascending order.
    pub cpus: Vec<u32>,
    /// Every ordered pair of them: all pairs of the first client's CPU, then all of the next one's.
    pub pairs: Vec<Pair>,
}

/// What all pairs of a matrix have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// The mechanism.
    pub method: String,
    /// Its options that were set, as `name=value`, separated by spaces.
    pub options: String,
    /// Bytes carried each way in a round.
    pub size_bytes: u64,
    /// How both sides waited.
    pub wait: Wait,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.method, &self.options, &size(self.size_bytes), self.wait.name()].map(String::from);
        f.write_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
    }
}

/// The measurements of one client's and one responder's CPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// Where the client ran.
    pub client_cpu: u32,
    /// Where the responder ran.
    pub server_cpu: u32,
    /// How far apart they are, if the host reports it.
    pub placement: Option<Placement>,
    /// Completed trials.
    pub trials: usize,
    /// Rounds of all trials.
    pub rounds: u64,
    /// The shortest round trip of all trials.
    #[serde(serialize_with = "to_picosecond")]
    pub min_ns: Option<f64>,
    /// The median of the trials' medians.
    #[serde(serialize_with = "to_picosecond")]
    pub p50_ns: Option<f64>,
    /// The low end of its 95 % confidence interval, over trials; none for a single trial.
    #[serde(serialize_with = "to_picosecond")]
    pub p50_95_low_ns: Option<f64>,
    /// The high end.
    #[serde(serialize_with = "to_picosecond")]
    pub p50_95_high_ns: Option<f64>,
    /// What ended the pair's trials early.
    pub error: Option<String>,
}

/// A picosecond is finer than any clock.
fn to_picosecond<S: Serializer>(ns: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ns {
        Some(ns) => serializer.serialize_str(&format!("{ns:.3}")),
        None => serializer.serialize_none(),
    }
}

impl Pair {
    /// A pair before its first trial.
    pub(crate) fn new(client_cpu: u32, server_cpu: u32, placement: Option<Placement>) -> Self {
        Self {
            client_cpu,
            server_cpu,
            placement,
            trials: 0,
            rounds: 0,
            min_ns: None,
            p50_ns: None,
            p50_95_low_ns: None,
            p50_95_high_ns: None,
            error: None,
        }
    }

    /// With the figures over these trials.
    pub(crate) fn with_trials(mut self, trials: &[Latency]) -> Self {
        let medians: Vec<f64> = trials.iter().filter_map(|trial| trial.p50).collect();
        let interval = median_interval(&medians);
        self.trials = trials.len();
        self.rounds = trials.iter().map(|trial| trial.samples).sum();
        self.min_ns = trials.iter().filter_map(|trial| trial.min).reduce(f64::min);
        self.p50_ns = median(&medians);
        self.p50_95_low_ns = interval.map(|interval| interval.low);
        self.p50_95_high_ns = interval.map(|interval| interval.high);
        self
    }

    fn is_of_one_cpu(&self) -> bool {
        self.client_cpu == self.server_cpu
    }

    /// The median, its interval and the failure: for the table below a chart.
    pub(crate) fn words(&self) -> String {
        let mut words = self.p50_ns.map_or("–".to_owned(), latency);
        if let Some((low, high)) = self.p50_95_low_ns.zip(self.p50_95_high_ns) {
            words.push_str(&format!(" ({} to {})", latency(low), latency(high)));
        }
        if let Some(error) = &self.error {
            words.push_str(&format!(", failed: {error}"));
        }
        words
    }

    /// All of it on one line.
    fn line(&self) -> String {
        let Self { client_cpu, server_cpu, .. } = self;
        let mut line = format!("client on CPU {client_cpu}, responder on CPU {server_cpu}");
        if let Some(placement) = self.placement {
            line.push_str(&format!(" ({placement})"));
        }
        match self.p50_ns {
            Some(p50) => line.push_str(&format!(": median {}", latency(p50))),
            None if self.error.is_some() => {}
            None if self.trials == 0 => line.push_str(": not measured"),
            None => line.push_str(": too few rounds for a median"),
        }
        if let Some((low, high)) = self.p50_95_low_ns.zip(self.p50_95_high_ns) {
            line.push_str(&format!(", 95 % from {} to {}", latency(low), latency(high)));
        }
        if let Some(min) = self.min_ns {
            line.push_str(&format!(", min {}; {} rounds", latency(min), self.rounds));
        }
        if let Some(error) = &self.error {
            line.push_str(&format!("; failed: {error}"));
        }
        line
    }
}

impl Matrix {
    fn title(&self) -> String {
        format!("Median round trip: {}", self.subject)
    }

    /// How and on what it was measured.
    fn subtitle(&self) -> String {
        let mut trials = counted(self.trials as u64, "trial");
        if let Some(complete) = self.complete {
            trials = format!("partial: interrupted after {complete} of {trials}");
        }
        if self.host.is_empty() { trials } else { format!("{trials}; {}", self.host) }
    }

    /// The pairs of each client's CPU.
    fn rows(&self) -> impl Iterator<Item = (u32, &[Pair])> {
        // No CPUs, no pairs.
        self.cpus.iter().copied().zip(self.pairs.chunks(self.cpus.len().max(1)))
    }

    /// The levels of pairs of two CPUs. Both sides on one CPU alternate, which may be a thousand times slower or faster
    /// than all others, and have no level.
    fn levels(&self) -> Option<Levels> {
        Levels::between(self.pairs.iter().filter(|pair| !pair.is_of_one_cpu()).filter_map(|pair| pair.p50_ns))
    }

    /// The heat map.
    pub(crate) fn heat(&self, title: String) -> Heat {
        let cpus: Vec<String> = self.cpus.iter().map(u32::to_string).collect();
        Heat {
            title,
            heads: ("client's CPU", "responder's CPU"),
            rows: cpus.clone(),
            columns: cpus,
            values: self.pairs.iter().map(|pair| pair.p50_ns).collect(),
            levels: self.levels(),
            of_cpus: true,
            tips: self.pairs.iter().map(Pair::line).collect(),
        }
    }

    /// Writes the heat map as an SVG document. A pointer shows the figures of each pair.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_svg(&self, out: &mut dyn Write) -> io::Result<()> {
        let heat = self.heat(self.title());
        let width = WIDTH.max(self.cpus.len() as i32 * 14);
        out.write_all(heat.draw_document(width, &self.subtitle()).as_bytes())
    }

    /// Writes CSV: a header, and a row for each pair. A figure that is missing is empty.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_csv(&self, out: impl Write) -> io::Result<()> {
        let mut out = csv::WriterBuilder::new().has_headers(false).from_writer(out);
        out.write_record(HEADER)?;
        for pair in &self.pairs {
            out.serialize((&self.subject, pair))?;
        }
        out.flush()
    }

    /// The matrices of such a CSV, in their order: several, if it has rows of several methods or sizes. A pair without a
    /// row has no figures.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub(crate) fn read_csv(text: &str) -> Result<Vec<Self>, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?.clone();
        if let Some(missing) = HEADER.into_iter().find(|name| !header.iter().any(|head| head == *name)) {
            return Err(format!("it has no column {missing}, as \"matrix --format csv\" writes it"));
        }
        let mut found: Vec<(Subject, Rows)> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            let wrong = |error: csv::Error| match error.kind() {
                csv::ErrorKind::Deserialize { err, .. } => {
                    let at = err.field().unwrap_or_default() as usize;
                    let (name, value) = (header.get(at), record.get(at));
                    let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
                    format!("line {line}: invalid {name} `{value}`: {}", err.kind())
                }
                _ => error.to_string(),
            };
            let subject: Subject = record.deserialize(Some(&header)).map_err(wrong)?;
            let pair: Pair = record.deserialize(Some(&header)).map_err(wrong)?;
            let figures = [pair.min_ns, pair.p50_ns, pair.p50_95_low_ns, pair.p50_95_high_ns];
            if let Some(ns) = figures.into_iter().flatten().find(|ns| !ns.is_finite() || *ns < 0.0) {
                return Err(format!("line {line}: invalid latency `{ns}`"));
            }
            let at = found.iter().position(|(other, _)| *other == subject).unwrap_or_else(|| {
                found.push((subject, BTreeMap::new()));
                found.len() - 1
            });
            let (client, server) = (pair.client_cpu, pair.server_cpu);
            if found[at].1.insert((client, server), pair).is_some() {
                return Err(format!("line {line}: CPUs {client} and {server} again"));
            }
        }
        if found.is_empty() {
            return Err("it has no pair of CPUs".to_owned());
        }
        found.into_iter().map(|(subject, rows)| Self::of_rows(subject, rows)).collect()
    }

    fn of_rows(subject: Subject, mut rows: Rows) -> Result<Self, String> {
        let cpus: BTreeSet<u32> = rows.keys().flat_map(|(client, server)| [*client, *server]).collect();
        if cpus.len() > MOST_CPUS {
            return Err(format!("it has more than {MOST_CPUS} CPUs"));
        }
        let all = cpus.iter().flat_map(|client| cpus.iter().map(move |server| (*client, *server)));
        let pair = |cpus| rows.remove(&cpus).unwrap_or_else(|| Pair::new(cpus.0, cpus.1, None));
        let pairs: Vec<Pair> = all.map(pair).collect();
        let trials = pairs.iter().map(|pair| pair.trials).max().unwrap_or(0);
        let cpus = cpus.into_iter().collect();
        Ok(Self { subject, trials, complete: None, host: String::new(), cpus, pairs })
    }
}

/// Made-up matrices.
#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// A matrix of these CPUs, each pair with three trials around its median.
    pub(in crate::client::report) fn matrix(
        cpus: &[u32],
        p50_ns: impl Fn(u32, u32) -> (Placement, f64),
    ) -> Matrix {
        let pair = |client_cpu, server_cpu| {
            let (placement, p50) = p50_ns(client_cpu, server_cpu);
            Pair::new(client_cpu, server_cpu, Some(placement))
                .with_trials(&[1.0, 0.99, 1.02].map(|factor| trial(p50 * factor)))
        };
        Matrix {
            subject: Subject {
                method: "shmem".to_owned(),
                options: String::new(),
                size_bytes: 8,
                wait: Wait::Adaptive,
            },
            trials: 3,
            complete: None,
            host: "lab <1>, CPUs & Sons 3000, Linux 6.12".to_owned(),
            cpus: cpus.to_vec(),
            pairs: cpus.iter().flat_map(|client| cpus.iter().map(|server| pair(*client, *server))).collect(),
        }
    }

    fn trial(p50: f64) -> Latency {
        Latency { samples: 1000, min: Some(p50 * 0.9), p50: Some(p50), ..Latency::default() }
    }

    /// Without any figure.
    pub(in crate::client::report) fn clear(matrix: &mut Matrix) {
        for pair in &mut matrix.pairs {
            *pair = Pair::new(pair.client_cpu, pair.server_cpu, pair.placement);
        }
    }

    /// Two cores; one direction failed in its second trial.
    pub(in crate::client::report) fn two_cpus() -> Matrix {
        let mut matrix = matrix(&[0, 1], |client, server| match (client, server) {
            (0, 1) => (Placement::CrossCore, 214.0),
            (1, 0) => (Placement::CrossCore, 228.0),
            _ => (Placement::SameCore, 2_512.0),
        });
        matrix.pairs[2] = matrix.pairs[2].clone().with_trials(&[trial(228.0)]);
        matrix.pairs[2].error = Some("the \"shmem\" channel failed".to_owned());
        matrix
    }

    /// Two sockets of 32 CPUs each, numbered one after the other.
    pub(in crate::client::report) fn two_sockets() -> Matrix {
        let cpus: Vec<u32> = (0..64).collect();
        matrix(&cpus, |client, server| match (client, server) {
            (client, server) if client == server => (Placement::SameCore, 2_400.0),
            (client, server) if client / 32 != server / 32 => (Placement::CrossSocket, 420.0),
            (client, server) if client / 8 != server / 8 => (Placement::CrossCore, 210.0),
            _ => (Placement::CrossCore, 105.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{clear, matrix, two_cpus, two_sockets};
    use super::*;
    use crate::client::report::golden::assert_golden;

    fn csv(matrix: &Matrix) -> String {
        let mut out = Vec::new();
        matrix.write_csv(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn svg(matrix: &Matrix) -> String {
        let mut out = Vec::new();
        matrix.write_svg(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pairs_figures_are_those_over_its_trials() {
        let matrix = two_cpus();
        let pair = &matrix.pairs[1];
        assert_eq!((pair.p50_ns, pair.rounds), (Some(214.0), 3000));
        let (low, high) = (pair.p50_95_low_ns.unwrap(), pair.p50_95_high_ns.unwrap());
        assert!(low < 214.0 && high > 214.0, "{low} {high}");
        assert!(
            pair.line()
                .starts_with("client on CPU 0, responder on CPU 1 (cross-core): median 214 ns, 95 % from ")
        );
    }

    #[test]
    fn too_few_rounds_and_failures_are_reported_instead_of_a_median() {
        let pair = Pair::new(0, 0, Some(Placement::SameCore));
        let few = Latency { samples: 3, min: Some(5.0), ..Latency::default() };
        let mut pair = pair.with_trials(&[few]);
        assert!(pair.line().contains("too few rounds for a median"), "{}", pair.line());
        pair = pair.with_trials(&[]);
        pair.error = Some("no such CPU".to_owned());
        assert_eq!(pair.line(), "client on CPU 0, responder on CPU 0 (same-core); failed: no such CPU");
    }

    #[test]
    fn one_cpu_does_not_stretch_the_range_of_levels() {
        assert_eq!(two_sockets().levels(), Some(Levels { low: 105.0, high: 420.0 }));
        assert_eq!(matrix(&[3], |_, _| (Placement::SameCore, 50.0)).levels(), None);
        let mut two = two_cpus();
        clear(&mut two);
        assert_eq!(two.levels(), None);
    }

    #[test]
    fn two_cpus_are_drawn_to_the_byte() {
        assert_golden("matrix.svg", svg(&two_cpus()).as_bytes());
    }

    #[test]
    fn every_ordered_pair_is_drawn_with_its_figures() {
        let svg = svg(&two_sockets());
        assert_eq!(svg.matches("<title>client on CPU").count(), 64 * 64);
        assert!(svg.contains("client on CPU 63, responder on CPU 0 (cross-socket): median 420 ns"));
        assert!(!svg.contains("\n105 ns\n"), "64 columns of words would be too wide to read");
    }

    #[test]
    fn a_matrix_without_a_figure_is_drawn_nevertheless() {
        let mut matrix = two_cpus();
        clear(&mut matrix);
        let svg = svg(&matrix);
        assert_eq!(svg.matches(": not measured").count(), 4);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn two_cpus_are_written_to_the_byte() {
        assert_golden("matrix.csv", csv(&two_cpus()).as_bytes());
        assert_eq!(csv(&two_sockets()).lines().count(), 1 + 64 * 64, "every ordered pair has a row");
    }

    #[test]
    fn a_matrix_comes_back_from_its_csv() {
        for matrix in [two_cpus(), two_sockets()] {
            let read = Matrix::read_csv(&csv(&matrix)).unwrap().remove(0);
            assert_eq!((&read.subject, &read.cpus), (&matrix.subject, &matrix.cpus));
            assert_eq!(read.subject.to_string(), "shmem, 8 B, adaptive");
            let medians = |matrix: &Matrix| matrix.pairs.iter().map(|pair| pair.p50_ns).collect::<Vec<_>>();
            assert_eq!(medians(&read), medians(&matrix));
            assert_eq!(read.levels(), matrix.levels());
            assert_eq!(csv(&read), csv(&matrix));
        }
        let read = Matrix::read_csv(&csv(&two_cpus())).unwrap().remove(0);
        assert!(read.pairs[0].words().starts_with("2.51 µs (2."), "{read:?}");
        assert_eq!(read.pairs[2].words(), "228 ns, failed: the \"shmem\" channel failed");
    }

    #[test]
    fn several_matrices_in_one_file_stay_apart() {
        let mut other = two_cpus();
        other.subject.method = "tcp".to_owned();
        let rows = csv(&other);
        let rows = rows.split_once('\n').unwrap().1;
        let read = Matrix::read_csv(&format!("{}{rows}", csv(&two_cpus()))).unwrap();
        let subjects: Vec<_> = read.iter().map(|matrix| matrix.subject.to_string()).collect();
        assert_eq!(subjects, ["shmem, 8 B, adaptive", "tcp, 8 B, adaptive"]);
        let short: Vec<&str> = rows.lines().take(2).collect();
        let short = Matrix::read_csv(&format!("{}\n{}\n", HEADER.join(","), short.join("\n"))).unwrap();
        assert_eq!(short[0].pairs.iter().filter(|pair| pair.p50_ns.is_some()).count(), 2, "of four");
    }

    #[test]
    fn an_invalid_csv_is_refused_with_the_line_and_the_column() {
        let good = csv(&two_cpus());
        let row = good.lines().nth(1).unwrap();
        for (csv, expected) in [
            (String::new(), "it has no column method"),
            ("method,p50\nshmem,1\n".to_owned(), "it has no column options"),
            (good.lines().next().unwrap().to_owned(), "it has no pair of CPUs"),
            (good.replace(",0,0,", ",x,0,"), "line 2: invalid client_cpu `x`"),
            (good.replace("2512.000", "fast"), "line 2: invalid p50_ns `fast`"),
            (good.replace("2512.000", "NaN"), "line 2: invalid latency `NaN`"),
            (format!("{good}{row}\n"), "line 6: CPUs 0 and 0 again"),
            (format!("{good}shmem,short\n"), "found record with 2 fields"),
        ] {
            let error = Matrix::read_csv(&csv).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
