//! A matrix read back from the CSV that it was written to.

use std::collections::BTreeMap;
use std::fmt;

use super::levels::Levels;
use crate::units::{latency, size};

/// More CPUs than this are no matrix that a page could show.
const MOST_CPUS: usize = 512;

/// What one file, or one of the matrices in it, tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// What was measured, in a line.
    pub title: String,
    /// The CPUs, in ascending order.
    pub cpus: Vec<u32>,
    pairs: BTreeMap<(u32, u32), MeasuredPair>,
}

/// What it tells of a client's and a responder's CPU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MeasuredPair {
    /// The median.
    pub p50_ns: Option<f64>,
    /// Its 95 % confidence interval.
    pub p50_95_ns: Option<(f64, f64)>,
    /// What ended its trials early.
    pub error: Option<String>,
}

impl fmt::Display for MeasuredPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.p50_ns {
            Some(ns) => f.write_str(&latency(ns))?,
            None => f.write_str("–")?,
        }
        if let Some((low, high)) = self.p50_95_ns {
            write!(f, " ({} to {})", latency(low), latency(high))?;
        }
        match &self.error {
            Some(error) => write!(f, ", failed: {error}"),
            None => Ok(()),
        }
    }
}

impl Measured {
    /// Every ordered pair of the CPUs, all of the first client's CPU, then all of the next one's; `None` for one that the
    /// file does not tell of.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = Option<&MeasuredPair>> {
        let pair = |client, server| self.pairs.get(&(client, server));
        self.cpus.iter().flat_map(move |client| self.cpus.iter().map(move |server| pair(*client, *server)))
    }

    /// As for a matrix that was just measured: one CPU taking turns has no level.
    pub(in crate::client) fn levels(&self) -> Option<Levels> {
        let pairs = self.pairs.iter().filter(|((client, server), _)| client != server);
        Levels::between(pairs.filter_map(|(_, pair)| pair.p50_ns))
    }

    /// The matrices of a CSV, in their order: several, if it has rows of several methods or sizes.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub(crate) fn read(text: &str) -> Result<Vec<Self>, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?.clone();
        let column = |name: &str| {
            let at = header.iter().position(|head| head == name);
            at.ok_or_else(|| format!("it has no column {name}, as \"matrix --format csv\" writes it"))
        };
        let (method, options) = (column("method")?, column("options")?);
        let (size_bytes, wait) = (column("size_bytes")?, column("wait")?);
        let (client, server, error) = (column("client_cpu")?, column("server_cpu")?, column("error")?);
        let (p50, low) = (column("p50_ns")?, column("p50_95_low_ns")?);
        let high = column("p50_95_high_ns")?;
        let mut all: Vec<Self> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            let text = |at: usize| record.get(at).unwrap_or_default();
            let wrong = |at: usize| format!("line {line}: `{}` is no {}", text(at), &header[at]);
            let cpu = |at: usize| text(at).parse::<u32>().map_err(|_| wrong(at));
            let ns = |at: usize| match text(at) {
                "" => Ok(None),
                told => match told.parse::<f64>() {
                    Ok(ns) if ns.is_finite() && ns >= 0.0 => Ok(Some(ns)),
                    _ => Err(wrong(at)),
                },
            };
            let bytes = text(size_bytes).parse::<u64>().map_err(|_| wrong(size_bytes))?;
            let parts = [text(method), text(options), &size(bytes), text(wait)].map(str::to_owned);
            let title = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            let at = all.iter().position(|matrix| matrix.title == title).unwrap_or_else(|| {
                all.push(Self { title, cpus: Vec::new(), pairs: BTreeMap::new() });
                all.len() - 1
            });
            let pair = MeasuredPair {
                p50_ns: ns(p50)?,
                p50_95_ns: ns(low)?.zip(ns(high)?),
                error: Some(text(error).to_owned()).filter(|error| !error.is_empty()),
            };
            let cpus = (cpu(client)?, cpu(server)?);
            for cpu in [cpus.0, cpus.1] {
                if let Err(place) = all[at].cpus.binary_search(&cpu) {
                    all[at].cpus.insert(place, cpu);
                }
            }
            if all[at].cpus.len() > MOST_CPUS {
                return Err(format!("it has more than {MOST_CPUS} CPUs"));
            }
            if all[at].pairs.insert(cpus, pair).is_some() {
                return Err(format!("line {line}: CPUs {} and {} again", cpus.0, cpus.1));
            }
        }
        if all.is_empty() { Err("it has no pair of CPUs".to_owned()) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv::write;
    use super::super::fixture::{two_cpus, two_sockets};
    use super::super::{Matrix, Pair};
    use super::*;

    fn text(matrix: &Matrix) -> String {
        let mut out = Vec::new();
        write(matrix, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_matrix_comes_back_from_its_csv() {
        for matrix in [two_cpus(), two_sockets()] {
            let read = Measured::read(&text(&matrix)).unwrap();
            assert_eq!((read.len(), read[0].title.as_str()), (1, "shmem, 8 B, adaptive"));
            assert_eq!(read[0].cpus, matrix.cpus);
            let medians: Vec<_> = read[0].pairs().map(|pair| pair.unwrap().p50_ns).collect();
            assert_eq!(medians, matrix.pairs.iter().map(Pair::p50_ns).collect::<Vec<_>>());
            assert_eq!(read[0].levels(), Levels::of(&matrix));
        }
        let read = Measured::read(&text(&two_cpus())).unwrap().remove(0);
        let told: Vec<String> = read.pairs().map(|pair| pair.unwrap().to_string()).collect();
        assert!(told[0].starts_with("2.51 µs (2."), "{told:?}");
        assert_eq!(told[2], "228 ns, failed: the \"shmem\" channel broke off");
    }

    #[test]
    fn several_matrices_in_one_file_stay_apart() {
        let other = Matrix { method: "tcp".to_owned(), ..two_cpus() };
        let rows = text(&other);
        let rows = rows.split_once('\n').unwrap().1;
        let read = Measured::read(&format!("{}{rows}", text(&two_cpus()))).unwrap();
        let titles: Vec<_> = read.iter().map(|matrix| matrix.title.as_str()).collect();
        assert_eq!(titles, ["shmem, 8 B, adaptive", "tcp, 8 B, adaptive"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = text(&two_cpus());
        let row = good.lines().nth(1).unwrap();
        for (csv, expected) in [
            (String::new(), "it has no column method"),
            ("method,p50\nshmem,1\n".to_owned(), "it has no column options"),
            (good.lines().next().unwrap().to_owned(), "it has no pair of CPUs"),
            (good.replace(",0,0,", ",x,0,"), "line 2: `x` is no client_cpu"),
            (good.replace("2512.000", "fast"), "line 2: `fast` is no p50_ns"),
            (good.replace("2512.000", "NaN"), "line 2: `NaN` is no p50_ns"),
            (format!("{good}{row}\n"), "line 6: CPUs 0 and 0 again"),
            (format!("{good}shmem,short\n"), "found record with 2 fields"),
        ] {
            let error = Measured::read(&csv).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
